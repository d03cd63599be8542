//! How an image came to be: what the graph and the engine know of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use archway_attest::{
    DigestSet,
    provenance::{Dependency, Facts, Lent, Source, Step},
    purl::{self, ImageSource},
};
use archway_dockerfile::{ast::SourceText, secret_name::names_a_secret};
use archway_engine::{Built, Pinned};
use archway_graph::{
    BuildArgs, ContextName, CopySource, Graph, MountSource, Network, Node, NodeId, Op, RunOp, is_proxy,
};
use archway_oci::{Platform, Sha256Writer, reference::ImageLocation};
use archway_remote::GitSource;
use archway_sandbox::emulation::Emulation;
use jiff::Timestamp;
use serde_json::Value;

use super::url::{without_credentials, without_credentials_in};
use crate::{
    Context, Error, Prepared,
    request::BuildRequest,
    resolve::Bases,
    source::{ContextOrigin, ContextSpec, DockerfileSpec},
};

/// Stands for the value of a secret.
const MASK: &str = "***";
/// The names of directories that BuildKit gives to those of every build.
const CONTEXT: &str = "context";
const DOCKERFILE: &str = "dockerfile";
/// On a base image: the manifest for the platform, where the digest is that of an index.
const MANIFEST: &str = "manifest";

/// What is known of the image of `built`.
pub(super) async fn facts(
    context: &Context,
    request: &BuildRequest,
    prepared: &Prepared,
    built: &Built,
    timestamps: bool,
) -> Result<Facts, Error> {
    let graph = &prepared.graph;
    let output = graph.outputs.iter().position(|output| output.platform == built.platform);
    let output = output.expect("every platform that was built has an output");
    let nodes: Vec<&Node> = graph.nodes.iter().filter(|node| node.serves.contains(&output)).collect();
    let runs: Vec<&RunOp> = nodes.iter().filter_map(|node| run(node)).collect();
    let (source, of_context) = source(request, prepared.origin()).await?;
    let results = built.results.as_ref().expect("provenance of other builders is refused before the build");
    let pinned = results.pinned().await?;
    let mut dependencies: Vec<Dependency> = of_context.into_iter().collect();
    let locals = locals(request, prepared.origin(), &nodes);
    for (context, hash) in results.copied().await? {
        let name = directory_name(&context);
        if locals.iter().any(|local| local == name) {
            dependencies.push(Dependency::named(name, DigestSet::of_directory(&hash)));
        }
    }
    for dependency in nodes.iter().filter_map(|node| dependency(node, &prepared.bases, &pinned)) {
        if !dependencies.contains(&dependency) {
            dependencies.push(dependency);
        }
    }
    Ok(Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source,
        arguments: arguments(request, &built.platform),
        secrets: lent(runs.iter().flat_map(|run| secrets(run))),
        ssh: lent(runs.iter().flat_map(|run| agents(run))),
        locals,
        platform: built.platform.clone(),
        builder_platform: Platform::host(),
        strategy: graph.outputs[output].strategy.to_string(),
        emulators: emulators(&runs, context.engine.sandbox.emulation()),
        dependencies,
        network: runs.iter().any(|run| run.network != Network::None),
        steps: steps(graph, output, built, &prepared.dockerfile.source, &request.build_args),
        dockerfile: prepared.dockerfile.source.text.to_string(),
        times: timestamps.then(|| (prepared.began.to_string(), Timestamp::now().to_string())),
    })
}

fn run<'a>(node: &&'a Node) -> Option<&'a RunOp> {
    match &node.op {
        Op::Run(run) => Some(run),
        _ => None,
    }
}

/// Where the Dockerfile and the context come from; and the context, if others can have it.
async fn source(
    request: &BuildRequest,
    origin: &ContextOrigin,
) -> Result<(Source, Option<Dependency>), Error> {
    let path = dockerfile(request);
    let found = match origin {
        ContextOrigin::Here => None,
        ContextOrigin::Repository { source, revision } => {
            let subdir = source.subdir.as_ref().map(|subdir| format!(":{subdir}")).unwrap_or_default();
            let uri = repository(source, &revision.name);
            Some((format!("{uri}{subdir}"), uri, DigestSet::of_commit(revision.commit())))
        }
        ContextOrigin::Download { url, file } => {
            let uri = without_credentials(url);
            Some((uri.clone(), uri, sha256(file.clone()).await?))
        }
        ContextOrigin::Bundle { location: ImageLocation::Registry(reference), digest } => {
            let uri = format!("oci-source://{reference}");
            Some((uri.clone(), uri, digest.into()))
        }
        ContextOrigin::Bundle { digest, .. } => {
            let source = Source { uri: None, digest: digest.into(), path };
            return Ok((source, None));
        }
    };
    let Some((config, uri, digest)) = found else { return Ok((Source { path, ..Source::default() }, None)) };
    let dependency = Dependency::at(uri, digest.clone());
    Ok((Source { uri: Some(config), digest, path }, Some(dependency)))
}

/// A repository at a ref. Where a commit was named, that is the ref.
fn repository(source: &GitSource, reference: &str) -> String {
    format!("{}#{reference}", without_credentials(&source.remote))
}

async fn sha256(file: PathBuf) -> Result<DigestSet, Error> {
    let hashed = tokio::task::spawn_blocking(move || {
        let hash = || -> io::Result<DigestSet> {
            let mut hash = Sha256Writer::new(io::sink());
            io::copy(&mut File::open(&file)?, &mut hash)?;
            Ok((&hash.finish().0).into())
        };
        hash().map_err(Error::read(&file))
    });
    hashed.await.expect("hashing does not panic")
}

/// The Dockerfile, as a path in its context. Where a file is on this machine is nobody's business: of one that
/// is not in the context, the name is left.
fn dockerfile(request: &BuildRequest) -> String {
    let shown = |path: &Path| path.display().to_string();
    match (&request.dockerfile, &request.context) {
        (DockerfileSpec::Default, _) => "Dockerfile".to_owned(),
        (DockerfileSpec::Stdin, _) => "-".to_owned(),
        (DockerfileSpec::Url(url), _) => without_credentials(url),
        (DockerfileSpec::File(path), ContextSpec::Directory(context)) => match path.strip_prefix(context) {
            Ok(inside) => shown(inside),
            Err(_) if *context == Path::new(".") && path.is_relative() => shown(path),
            Err(_) => path.file_name().map(|name| shown(name.as_ref())).unwrap_or_default(),
        },
        (DockerfileSpec::File(path), _) if path.is_absolute() => {
            path.file_name().map(|name| shown(name.as_ref())).unwrap_or_default()
        }
        (DockerfileSpec::File(path), _) => shown(path),
    }
}

/// What a node was made from that comes from elsewhere.
fn dependency(node: &Node, bases: &Bases, pinned: &BTreeMap<NodeId, Pinned>) -> Option<Dependency> {
    match (&node.op, pinned.get(&node.id)) {
        (Op::Image(image), _) => {
            let from = match crate::source::named::location(&image.name) {
                Some(_) => ImageSource::Layout,
                None => ImageSource::Registry,
            };
            let top = bases.top(&image.name, &image.manifest);
            let manifest =
                (top != &image.manifest).then(|| (MANIFEST.to_owned(), image.manifest.to_string()));
            Some(Dependency {
                annotations: manifest.into_iter().collect(),
                ..Dependency::at(purl::image(from, &image.reference, &image.platform), top)
            })
        }
        (Op::Git(source), Some(Pinned::Commit(revision))) => {
            Some(Dependency::at(repository(source, &revision.name), DigestSet::of_commit(revision.commit())))
        }
        (Op::Http(source), Some(Pinned::File(checksum))) => Some(Dependency::at(
            without_credentials(&source.url),
            DigestSet::of(checksum.algorithm.name(), &checksum.hex),
        )),
        _ => None,
    }
}

/// What was asked for, as BuildKit names it. Proxy settings are about the machine, and change nothing.
fn arguments(request: &BuildRequest, platform: &Platform) -> BTreeMap<String, String> {
    let args = &request.build_args;
    let given = args.all_for(platform).into_iter().filter(|(name, _)| !is_proxy(name));
    let mut arguments: BTreeMap<String, String> = given
        .map(|(name, value)| {
            let value = match names_a_secret(&name) {
                true => MASK.to_owned(),
                false => args.mask(&without_credentials_in(&value)),
            };
            (format!("build-arg:{name}"), value)
        })
        .collect();
    arguments.extend(
        request
            .labels
            .iter()
            .map(|(key, value)| (format!("label:{key}"), args.mask(&without_credentials_in(value)))),
    );
    arguments.extend(request.target.iter().map(|target| ("target".to_owned(), target.clone())));
    if request.network == Some(Network::None) {
        arguments.insert("force-network-mode".to_owned(), "none".to_owned());
    }
    arguments
}

/// Names of the directories of this machine that files were taken from.
fn locals(request: &BuildRequest, origin: &ContextOrigin, nodes: &[&Node]) -> Vec<String> {
    let is_here = !matches!(
        origin,
        ContextOrigin::Repository { .. }
            | ContextOrigin::Download { .. }
            | ContextOrigin::Bundle { location: ImageLocation::Registry(_), .. }
    );
    let of_dockerfile = match &request.dockerfile {
        DockerfileSpec::Default => is_here,
        DockerfileSpec::File(path) => is_here || path.is_absolute(),
        DockerfileSpec::Stdin => true,
        DockerfileSpec::Url(_) => false,
    };
    let mut locals = BTreeSet::new();
    if of_dockerfile {
        locals.insert(DOCKERFILE.to_owned());
    }
    let copies = nodes.iter().filter_map(|node| match &node.op {
        Op::Copy(copy) => Some(&copy.sources),
        _ => None,
    });
    for source in copies.flatten() {
        match source {
            CopySource::Context { context, .. } if is_here || *context != ContextName::Main => {
                locals.insert(directory_name(context).to_owned());
            }
            _ => {}
        }
    }
    locals.into_iter().collect()
}

fn directory_name(context: &ContextName) -> &str {
    match context {
        ContextName::Main => CONTEXT,
        ContextName::Named(name) => name,
    }
}

fn secrets(run: &RunOp) -> Vec<Lent> {
    let mounted = run.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Secret { id, required, .. } => Some(Lent { id: id.clone(), optional: !required }),
        _ => None,
    });
    let variables =
        run.secret_env.iter().map(|secret| Lent { id: secret.id.clone(), optional: !secret.required });
    mounted.chain(variables).collect()
}

fn agents(run: &RunOp) -> Vec<Lent> {
    let mounted = run.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Ssh { id, required, .. } => Some(Lent { id: id.clone(), optional: !required }),
        _ => None,
    });
    mounted.collect()
}

/// Each id once; it is optional if no step needs it.
fn lent(all: impl Iterator<Item = Lent>) -> Vec<Lent> {
    let mut optional: BTreeMap<String, bool> = BTreeMap::new();
    for one in all {
        *optional.entry(one.id).or_insert(true) &= one.optional;
    }
    optional.into_iter().map(|(id, optional)| Lent { id, optional }).collect()
}

/// The programs that ran processes of other architectures, by file name.
fn emulators(runs: &[&RunOp], emulation: &Emulation) -> Vec<String> {
    let programs = runs.iter().filter_map(|run| {
        let program = emulation.for_platform(&run.platform).ok()??.path;
        Some(program.file_name()?.to_string_lossy().into_owned())
    });
    programs.collect::<BTreeSet<String>>().into_iter().collect()
}

fn steps(
    graph: &Graph,
    output: usize,
    built: &Built,
    dockerfile: &SourceText,
    build_args: &BuildArgs,
) -> Vec<Step> {
    let name = |id: NodeId| format!("step{}", id.0);
    let shown = |text: &str| build_args.mask(&without_credentials_in(text));
    let made = &graph.outputs[output].layers;
    let layers = built.image.as_ref().map(|image| image.layers.as_slice()).unwrap_or_default();
    // Those of the base come first.
    let of_steps = &layers[layers.len().saturating_sub(made.len())..];
    let layers: BTreeMap<NodeId, _> = made.iter().copied().zip(of_steps).collect();
    let nodes = graph.nodes.iter().filter(|node| node.serves.contains(&output));
    nodes
        .map(|node| {
            let mut operation = serde_json::to_value(&node.op).expect("operations are plain data");
            mask(&mut operation, build_args);
            Step {
                id: name(node.id),
                name: node.label.as_ref().map(|label| shown(&label.to_string())).unwrap_or_default(),
                inputs: node.op.inputs().into_iter().map(name).collect(),
                operation,
                lines: node.span.map(|span| dockerfile.lines(span)),
                layers: layers.get(&node.id).map(|layer| layer.descriptor.clone()).into_iter().collect(),
            }
        })
        .collect()
}

/// Masks the values of secret arguments, wherever they stand, and of variables (`NAME=value`) whose names
/// say that they are secrets. URLs lose what gives access.
fn mask(value: &mut Value, build_args: &BuildArgs) {
    match value {
        Value::String(text) => {
            let is_secret = |name: &str| {
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                name.bytes().all(is_name) && names_a_secret(name)
            };
            *text = match text.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
                _ => build_args.mask(&without_credentials_in(text)),
            };
        }
        Value::Array(values) => values.iter_mut().for_each(|value| mask(value, build_args)),
        Value::Object(values) => values.values_mut().for_each(|value| mask(value, build_args)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::fixtures;

    #[test]
    fn arguments_are_said_without_secrets() {
        let mut request = fixtures::request(&["linux/arm64"]);
        let platform: Platform = "linux/arm64".parse().unwrap();
        for (name, value) in [
            ("VERSION", "1"),
            ("TOKEN", "abc"),
            ("API_KEY", "s3cr3t"),
            ("MESSAGE", "with s3cr3t inside"),
            ("MIRROR", "https://me:pass@example.com/"),
            ("https_proxy", "http://me:pass@proxy/"),
        ] {
            request.build_args.set(name, value);
        }
        request.build_args.set_for("linux/amd64".parse().unwrap(), "OTHER", "x");
        request.labels.insert("key".to_owned(), "s3cr3t".to_owned());
        request.target = Some("release".to_owned());
        let said = arguments(&request, &platform);
        let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            said,
            [
                ("build-arg:API_KEY", "***"),
                ("build-arg:MESSAGE", "with *** inside"),
                ("build-arg:MIRROR", "https://example.com/"),
                ("build-arg:TOKEN", "***"),
                ("build-arg:VERSION", "1"),
                ("label:key", "***"),
                ("target", "release"),
            ]
        );
    }

    #[test]
    fn operations_are_said_without_secrets() {
        let args: BuildArgs = [("TOKEN", "s3cr3t")].into_iter().collect();
        let mut operation = json!({
            "env": ["PATH=/bin", "TOKEN=s3cr3t", "PASSWORD=of the Dockerfile", "A=s3cr3t"],
            "argv": ["sh", "-c", "curl -H token=s3cr3t"],
            "url": "https://example.com/f?sig=0a",
            "no_cache": true,
        });
        mask(&mut operation, &args);
        let masked = json!({
            "env": ["PATH=/bin", "TOKEN=***", "PASSWORD=***", "A=***"],
            "argv": ["sh", "-c", "curl -H token=***"],
            "url": "https://example.com/f",
            "no_cache": true,
        });
        assert_eq!(operation, masked);
    }

    #[test]
    fn the_dockerfile_is_named_as_its_context_has_it() {
        let mut request = fixtures::request(&["linux/arm64"]);
        let cases = [
            (".", None, "Dockerfile"),
            (".", Some("docker/Dockerfile"), "docker/Dockerfile"),
            ("app", Some("app/docker/Dockerfile"), "docker/Dockerfile"),
            ("app", Some("elsewhere/Dockerfile"), "Dockerfile"),
            ("/home/me/app", Some("/home/me/app/x.Dockerfile"), "x.Dockerfile"),
            (".", Some("/home/me/x.Dockerfile"), "x.Dockerfile"),
            (".", Some("https://me:pass@example.com/Dockerfile"), "https://example.com/Dockerfile"),
            (".", Some("-"), "-"),
        ];
        for (context, file, want) in cases {
            request.context = ContextSpec::Directory(context.into());
            request.dockerfile = DockerfileSpec::parse(file.map(Path::new));
            assert_eq!(dockerfile(&request), want, "{context} {file:?}");
        }
    }

    #[test]
    fn what_one_step_needs_is_not_optional() {
        let one = |id: &str, optional| Lent { id: id.to_owned(), optional };
        let all = [one("b", true), one("a", true), one("b", false), one("a", true)];
        assert_eq!(lent(all.into_iter()), [one("a", true), one("b", false)]);
    }
}
