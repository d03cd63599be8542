//! What a caller asks for: the inputs of one build, already parsed and checked, free of I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use archway_engine::Lent;
use archway_graph::{BuildArgs, Entitlement, Network, NoCache, RunSettings};
use archway_layer::Compression;
use archway_oci::{Platform, Reference, annotations::Annotations};
use archway_remote::Credentials;
use archway_report::Strategy;
use archway_sandbox::Resources;

use crate::Error;
use crate::attest::AttestSpec;
use crate::builder::Builders;
use crate::cache::CacheSpec;
use crate::expectation::Expectations;
use crate::retry::Retry;
use crate::scan::ScanSpec;
use crate::source::{ContextSpec, DockerfileSpec, named::NamedContextSpecs};
use crate::verify::AuditSettings;

/// One `archway build` or `archway plan`.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The build context.
    pub context: ContextSpec,
    /// The Dockerfile.
    pub dockerfile: DockerfileSpec,
    /// `--build-context`
    pub named_contexts: NamedContextSpecs,
    /// Requested platforms, normalised, each once, in the order the index will have. Not empty.
    pub platforms: Vec<Platform>,
    /// `--build-arg`. A name without a value takes it from this process' environment before it gets here.
    pub build_args: BuildArgs,
    /// `--target` stage.
    pub target: Option<String>,
    /// `--label`, set on every image config.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`, and the annotations of the outputs.
    pub annotations: Annotations,
    /// `--attest`: what is to be said of the images.
    pub attestations: AttestSpec,
    /// `--scan`: what is looked for before anything is published.
    pub scan: Option<ScanSpec>,
    /// `--tag`, in order.
    pub tags: Vec<Reference>,
    /// Where results go. Empty: the local store, if there is a tag or not.
    pub outputs: Vec<OutputSpec>,
    /// `--no-cache`, `--no-cache-filter`: which steps run even if their results are in the cache.
    pub no_cache: NoCache,
    /// Resolve base images at their registry even if the local store has the name.
    pub pull: bool,
    /// `--builder`: who builds.
    pub builders: Builders,
    /// `--network` of RUN steps; `None`: the builder's default, which is this machine's network here.
    pub network: Option<Network>,
    /// `--strategy`: how platforms must be built; a build that would do otherwise is refused.
    pub strategies: BTreeMap<Platform, Strategy>,
    /// `--add-host`, `--shm-size`, `--ulimit`.
    pub run_settings: RunSettings,
    /// `--allow`
    pub allowed: BTreeSet<Entitlement>,
    /// `--secret` and `--ssh`, for RUN steps.
    pub lent: Lent,
    /// Secrets for git repositories and downloads.
    pub credentials: Credentials,
    /// Steps that run at the same time; `None`: the number of processors.
    pub jobs: Option<usize>,
    /// What each RUN step may use.
    pub resources: Resources,
    /// Limit for the whole build.
    pub timeout: Option<Duration>,
    /// Limits for single platforms, from the start of the build.
    pub platform_timeouts: BTreeMap<Platform, Duration>,
    /// `--retry` and `--retry-on`
    pub retry: Retry,
    /// What happens to the other platforms when one fails.
    pub on_failure: OnFailure,
    /// How tags in registries move.
    pub publication: PublicationRules,
    /// `--verify` and `--audit-allow`: what files for other machines are.
    pub audit: AuditSettings,
    /// `--cache-from` and `--cache-to`.
    pub cache: CacheSpec,
    /// Compression of new layers.
    pub compression: Compression,
    /// `rewrite-timestamp` of the outputs: whether files of new layers get the time of
    /// `SOURCE_DATE_EPOCH`; `None`: they do if that is given.
    pub rewrite_timestamps: Option<bool>,
}

/// What happens to the other platforms, and to the publication, when one platform fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Stop siblings, publish nothing.
    #[default]
    Abort,
    /// Let siblings finish, publish nothing, report all.
    Continue,
    /// Let siblings finish, publish those that succeeded in an index that says which are missing.
    PublishPartial,
}

/// How an image is published in registries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublicationRules {
    /// `--lease-tags`: whether children have tags until the index is published.
    pub lease_tags: bool,
    /// `--expect-digest`
    pub expected: Expectations,
}

impl PublicationRules {
    /// Whether all of them apply to a publication in registries, if there is one (`is_pushed`), which moves the tags
    /// `moved`; what to do if not is `hint`.
    ///
    /// # Errors
    /// [`Error::Output`]: a rule would be ignored.
    pub(crate) fn check(&self, is_pushed: bool, moved: &[&Reference], hint: &str) -> Result<(), Error> {
        if self.lease_tags && !is_pushed {
            let message = "--lease-tags is about images that are pushed, and nothing is".to_owned();
            return Err(Error::Output { message, hint: Some(hint.to_owned()) });
        }
        self.expected.check_tags(moved, hint)
    }
}

impl BuildRequest {
    /// Whether somebody wants to know which packages the images have.
    pub(crate) fn reads_packages(&self) -> bool {
        self.scan.is_some() || self.attestations.sbom.is_some()
    }
}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSpec {
    /// `type=image` (and no `push`): an image in the local store. `names` are in addition to the tags.
    Image {
        /// `name=`
        names: Vec<Reference>,
    },
    /// `type=registry`, `type=image,push=true`, `--push`.
    Registry {
        /// `name=`
        names: Vec<Reference>,
        /// `push-by-digest=true`: no tag is made; names then have neither tag nor digest that matters.
        by_digest: bool,
    },
    /// `type=oci`: an OCI image layout, as a tar file or (`tar=false`) a directory.
    Oci {
        /// Where.
        destination: Destination,
        /// Archive or directory.
        tar: bool,
        /// `name=`
        names: Vec<Reference>,
    },
    /// `type=docker`: what `docker load` reads; one platform only.
    Docker {
        /// Where; `Destination::Daemon` is `--load`.
        destination: Destination,
        /// `name=`
        names: Vec<Reference>,
    },
    /// `type=local`: the files, in one directory per platform when there are several.
    Local {
        /// Directory.
        directory: PathBuf,
        /// `platform-split=`; `None`: split when there is more than one platform.
        platform_split: Option<bool>,
    },
    /// `type=tar`: the files as one tar.
    Tar {
        /// Where.
        destination: Destination,
        /// As for `Local`.
        platform_split: Option<bool>,
    },
    /// `type=cacheonly`: nothing but the build cache.
    CacheOnly,
}

/// Where a single-file output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A path.
    File(PathBuf),
    /// Standard output (`dest=-`).
    Stdout,
    /// The Docker daemon at `$DOCKER_HOST` or `/var/run/docker.sock`.
    Daemon,
}

#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// A request for these platforms that asks for nothing else.
    pub(crate) fn request(platforms: &[&str]) -> BuildRequest {
        BuildRequest {
            context: ContextSpec::Directory(".".into()),
            dockerfile: DockerfileSpec::Default,
            named_contexts: NamedContextSpecs::default(),
            platforms: platforms.iter().map(|platform| platform.parse().expect("a platform")).collect(),
            build_args: BuildArgs::default(),
            target: None,
            labels: BTreeMap::new(),
            annotations: Annotations::default(),
            attestations: AttestSpec::default(),
            scan: None,
            tags: Vec::new(),
            outputs: Vec::new(),
            no_cache: NoCache::default(),
            pull: false,
            builders: Builders::default(),
            network: None,
            strategies: BTreeMap::new(),
            run_settings: RunSettings::default(),
            allowed: BTreeSet::new(),
            lent: Lent::default(),
            credentials: Credentials::default(),
            jobs: None,
            resources: Resources::default(),
            timeout: None,
            platform_timeouts: BTreeMap::new(),
            retry: Retry::default(),
            on_failure: OnFailure::default(),
            publication: PublicationRules::default(),
            audit: AuditSettings::default(),
            cache: CacheSpec::default(),
            compression: Compression::default(),
            rewrite_timestamps: None,
        }
    }
}
