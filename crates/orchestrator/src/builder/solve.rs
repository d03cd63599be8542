//! What a request says, in BuildKit's words.
//!
//! Everything in a request has a meaning for a daemon, or is refused with the reason: nothing is left out silently.
//! Attributes are those of the frontend `dockerfile.v0` and of BuildKit's exporters and caches.

use std::collections::BTreeMap;

use archway_buildkit::{Solve, session::Secret, solve::Entry};
use archway_engine::Scope;
use archway_graph::{Entitlement, Graph, Network, NoCache, Node, Op, ResourceLimit};
use archway_layer::Compression;
use archway_oci::{Platform, Reference};
use archway_sandbox::Private;

use crate::{
    cache::{Bucket, CacheTo, Inline, Location},
    request::BuildRequest,
    resolve::Bases,
    source::named::Remote,
};

/// The name of the Dockerfile in the directory that is made for it.
pub(super) const DOCKERFILE: &str = "Dockerfile";
/// The build argument that chooses a frontend.
const SYNTAX: &str = "BUILDKIT_SYNTAX";
/// The directories of every build.
pub(super) const CONTEXT_DIRECTORY: &str = "context";
pub(super) const DOCKERFILE_DIRECTORY: &str = "dockerfile";

/// Something was asked for that daemons cannot do, or that cannot be said to them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be had from the builder `{builder}`: {why}")]
pub struct Unsupported {
    /// The flag.
    pub what: String,
    /// Whose daemons.
    pub builder: String,
    /// Why.
    pub why: &'static str,
}

/// Refuses what daemons cannot do.
pub(crate) fn check(request: &BuildRequest, builder: &str) -> Result<(), Unsupported> {
    let refuse =
        |what: &str, why| Err(Unsupported { what: what.to_owned(), builder: builder.to_owned(), why });
    if request.resources.is_limited() {
        return refuse(
            "a limit of memory or processors (--memory, --cpus)",
            "BuildKit limits its workers, not steps; set limits where the daemons run",
        );
    }
    let is_here = |platform| request.builders.is_here(platform);
    if request.jobs.is_some() && !request.platforms.iter().any(is_here) {
        return refuse(
            "--jobs",
            "it is for steps of this machine; daemons have `max-parallelism` in their configuration",
        );
    }
    if request.allowed.contains(&Entitlement::Device) {
        return refuse("--allow device", "daemons are not told of the devices of this machine");
    }
    if request.attestations.provenance.is_some() {
        return refuse(
            "--provenance",
            "which commits and files its steps fetched, only the daemon knows; build with `--builder embedded`",
        );
    }
    if let Some(name) = request.named_contexts.layouts().next() {
        return refuse(
            &format!("the context `{name}` in an OCI layout"),
            "daemons read images from registries; push it, and use docker-image://",
        );
    }
    if let Some(name) = request.named_contexts.unusual_repositories().next() {
        return refuse(
            &format!("the context `{name}` with options in its git URL"),
            "a daemon takes a reference and a directory: URL#REF:DIRECTORY",
        );
    }
    let caches = request.cache.from.iter().chain(request.cache.to.iter().map(|to| &to.location));
    if caches.into_iter().any(|location| matches!(location, Location::Local { .. })) {
        return refuse(
            "a build cache in a directory (type=local)",
            "use type=registry, type=s3 or type=inline",
        );
    }
    Ok(())
}

/// What of a request must not go over a connection that others can read.
pub(super) fn confidential(request: &BuildRequest) -> Option<&'static str> {
    let caches = request.cache.from.iter().chain(request.cache.to.iter().map(|to| &to.location));
    let has_key = |location: &Location| match location {
        Location::S3(bucket) => bucket.secret_access_key.is_some() || bucket.session_token.is_some(),
        Location::Registry(_) | Location::Local { .. } => false,
    };
    if caches.into_iter().any(has_key) {
        return Some("keys of an S3 build cache");
    }
    (!request.lent.secrets.is_empty()).then_some("secrets")
}

/// The values of secrets, as daemons are given them.
pub(crate) fn secrets(
    request: &BuildRequest,
    builder: &str,
) -> Result<BTreeMap<String, Secret>, Unsupported> {
    let secret = |(id, value): (&String, &Private)| {
        let secret = Secret::new(value.bytes()).map_err(|error| Unsupported {
            what: format!("the secret `{id}` of {} bytes", error.size),
            builder: builder.to_owned(),
            why: "a daemon takes at most 500 KiB",
        });
        Ok((id.clone(), secret?))
    };
    request.lent.secrets.iter().map(secret).collect()
}

/// What the daemon is asked for: an image of `platform`, with these exports.
pub(super) fn solve(
    request: &BuildRequest,
    platform: &Platform,
    graph: &Graph,
    bases: &Bases,
    exports: Vec<Entry>,
) -> Solve {
    Solve {
        frontend: frontend(request, platform),
        exports,
        cache_from: cache_from(request, platform),
        cache_to: cache_to(request, platform),
        entitlements: entitlements(request),
        pins: pins(graph, platform, bases),
    }
}

fn frontend(request: &BuildRequest, platform: &Platform) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let mut set = |key: &str, value: String| attributes.insert(key.to_owned(), value);
    set("platform", platform.to_string());
    set("filename", DOCKERFILE.to_owned());
    // The daemon's own frontend reads the Dockerfile, whatever `# syntax=` says: another one would be an image that each
    // daemon resolves for itself.
    set("cmdline", "dockerfile.v0".to_owned());
    if let Some(target) = &request.target {
        set("target", target.clone());
    }
    for (name, value) in request.build_args.all_for(platform) {
        if name == SYNTAX {
            continue;
        }
        set(&format!("build-arg:{name}"), value);
    }
    for (name, value) in &request.labels {
        set(&format!("label:{name}"), value.clone());
    }
    match &request.no_cache {
        NoCache::Nowhere => {}
        NoCache::Everywhere => drop(set("no-cache", String::new())),
        NoCache::Stages(stages) => drop(set("no-cache", stages.join(","))),
    }
    if request.pull {
        set("image-resolve-mode", "pull".to_owned());
    }
    match request.network {
        None => {}
        Some(Network::Host) => drop(set("force-network-mode", "host".to_owned())),
        Some(Network::None) => drop(set("force-network-mode", "none".to_owned())),
    }
    let settings = &request.run_settings;
    if !settings.hosts.is_empty() {
        let hosts = settings.hosts.iter().map(|host| format!("{}={}", host.name, host.address));
        set("add-hosts", hosts.collect::<Vec<_>>().join(","));
    }
    if let Some(size) = settings.shm_size {
        set("shm-size", size.to_string());
    }
    if !settings.limits.is_empty() {
        set("ulimit", settings.limits.iter().map(limit).collect::<Vec<_>>().join(","));
    }
    if let Some(hostname) = &settings.hostname {
        set("hostname", hostname.clone());
    }
    for (given, looked_up, context) in request.named_contexts.remote() {
        let value = match context {
            Remote::Directory => format!("local:{}", named_directory(given)),
            Remote::Other(text) => text,
        };
        set(&format!("context:{looked_up}"), value);
    }
    attributes
}

/// The name of the directory of a named context.
pub(super) fn named_directory(name: &str) -> String {
    format!("context:{name}")
}

fn limit(limit: &ResourceLimit) -> String {
    let value = |value: Option<u64>| value.map_or_else(|| "-1".to_owned(), |value| value.to_string());
    format!("{}={}:{}", limit.resource, value(limit.soft), value(limit.hard))
}

fn entitlements(request: &BuildRequest) -> Vec<String> {
    let mut names: Vec<String> = Entitlement::NAMES
        .iter()
        .filter(|(_, entitlement)| request.allowed.contains(entitlement))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let host = "network.host".to_owned();
    if request.network == Some(Network::Host) && !names.contains(&host) {
        names.push(host);
    }
    names
}

/// Base images by the names that the daemon will ask for, and the digests that all platforms use.
fn pins(graph: &Graph, platform: &Platform, bases: &Bases) -> Vec<(String, String)> {
    let output = graph.outputs.iter().position(|output| output.platform == *platform);
    let serves = |node: &&Node| output.is_some_and(|output| node.serves.contains(&output));
    let mut pins: Vec<(String, String)> = graph
        .nodes
        .iter()
        .filter(serves)
        .filter_map(|node| match &node.op {
            Op::Image(image) if image.reference.digest.is_none() => {
                let (name, top) = (&image.reference, bases.top(&image.name, &image.manifest));
                Some((format!("docker-image://{name}"), format!("docker-image://{name}@{top}")))
            }
            _ => None,
        })
        .collect();
    pins.sort();
    pins.dedup();
    pins
}

/// The exporter that pushes to a repository by digest; `is_insecure`: over plain HTTP, or TLS that nobody verifies.
pub(super) fn push(
    request: &BuildRequest,
    platform: &Platform,
    repository: &Reference,
    is_insecure: bool,
) -> Entry {
    let mut attributes = image(request, platform);
    if is_insecure {
        attributes.insert("registry.insecure".to_owned(), "true".to_owned());
    }
    attributes.insert("name".to_owned(), repository.repository_name());
    attributes.insert("push".to_owned(), "true".to_owned());
    attributes.insert("push-by-digest".to_owned(), "true".to_owned());
    // The daemon need not keep it: what it built is in its cache.
    attributes.insert("store".to_owned(), "false".to_owned());
    Entry { kind: "image".to_owned(), attributes }
}

/// The exporter that sends an OCI layout.
pub(super) fn send(request: &BuildRequest, platform: &Platform) -> Entry {
    Entry { kind: "oci".to_owned(), attributes: image(request, platform) }
}

fn image(request: &BuildRequest, platform: &Platform) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let mut set = |key: &str, value: String| attributes.insert(key.to_owned(), value);
    set("oci-mediatypes", "true".to_owned());
    compression(request.compression, &mut set);
    if request.rewrite_timestamps.unwrap_or(request.build_args.get("SOURCE_DATE_EPOCH").is_some()) {
        set("rewrite-timestamp", "true".to_owned());
    }
    for (key, value) in request.annotations.manifest(platform) {
        set(&format!("annotation-manifest.{key}"), value);
    }
    attributes
}

fn compression(wanted: Compression, set: &mut impl FnMut(&str, String) -> Option<String>) {
    let (kind, level) = match wanted {
        Compression::None => ("uncompressed", None),
        Compression::Gzip { level } => ("gzip", Some(level)),
        Compression::Zstd { level } => ("zstd", Some(level)),
    };
    set("compression", kind.to_owned());
    if let Some(level) = level {
        set("compression-level", level.to_string());
    }
}

fn cache_from(request: &BuildRequest, platform: &Platform) -> Vec<Entry> {
    let mut entries = Vec::new();
    for location in &request.cache.from {
        match location {
            // What other tools wrote, and what was written for this platform here.
            Location::Registry(reference) => {
                entries.push(registry(&own(reference, platform)));
                entries.push(registry(reference));
            }
            Location::S3(bucket) => {
                entries.push(s3(&own_bucket(bucket, platform)));
                entries.push(s3(bucket));
            }
            Location::Local { .. } => unreachable!("refused before"),
        }
    }
    entries
}

fn cache_to(request: &BuildRequest, platform: &Platform) -> Vec<Entry> {
    let mut entries: Vec<Entry> = request.cache.to.iter().map(|to| export(to, platform)).collect();
    if request.cache.inline != Inline::No {
        entries.push(Entry { kind: "inline".to_owned(), attributes: BTreeMap::new() });
    }
    entries
}

fn export(to: &CacheTo, platform: &Platform) -> Entry {
    let mut entry = match &to.location {
        Location::Registry(reference) => registry(&own(reference, platform)),
        Location::S3(bucket) => s3(&own_bucket(bucket, platform)),
        Location::Local { .. } => unreachable!("refused before"),
    };
    let mut set = |key: &str, value: String| entry.attributes.insert(key.to_owned(), value);
    set("mode", if to.scope == Scope::Everything { "max" } else { "min" }.to_owned());
    if let Some(wanted) = to.compression {
        compression(wanted, &mut set);
    }
    if to.force_compression {
        set("force-compression", "true".to_owned());
    }
    if to.ignore_error {
        set("ignore-error", "true".to_owned());
    }
    entry
}

/// The name of a platform's own cache: BuildKit's caches do not merge, and whoever writes last would win.
fn own(reference: &Reference, platform: &Platform) -> Reference {
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let own = format!("{tag}-{}", platform.specifier().replace('/', "-"));
    reference.with_tag(&own).unwrap_or_else(|_| reference.clone())
}

/// The same in a bucket.
fn own_bucket(bucket: &Bucket, platform: &Platform) -> Bucket {
    let name = format!("{}-{}", bucket.name, platform.specifier().replace('/', "-"));
    Bucket { name, ..bucket.clone() }
}

fn registry(reference: &Reference) -> Entry {
    let attributes = BTreeMap::from([("ref".to_owned(), reference.to_string())]);
    Entry { kind: "registry".to_owned(), attributes }
}

fn s3(bucket: &Bucket) -> Entry {
    let mut attributes = BTreeMap::new();
    let mut set = |key: &str, value: &str| attributes.insert(key.to_owned(), value.to_owned());
    set("bucket", &bucket.bucket);
    set("name", &bucket.name);
    set("prefix", &bucket.prefix);
    set("blobs_prefix", &bucket.blobs_prefix);
    set("manifests_prefix", &bucket.manifests_prefix);
    set("region", bucket.region.as_deref().unwrap_or("us-east-1"));
    let optional = [
        ("endpoint_url", &bucket.endpoint),
        ("access_key_id", &bucket.access_key_id),
        ("secret_access_key", &bucket.secret_access_key),
        ("session_token", &bucket.session_token),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            set(key, value);
        }
    }
    if bucket.use_path_style {
        set("use_path_style", "true");
    }
    Entry { kind: "s3".to_owned(), attributes }
}
