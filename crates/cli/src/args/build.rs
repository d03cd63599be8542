//! `archway build` and `archway plan`.

use std::{collections::BTreeMap, path::PathBuf};

use archway_graph::{Network, NoCache};
use archway_layer::Compression;
use archway_oci::{Platform, annotations::Scope, platform};
use archway_orchestrator::{
    attest::AttestSpec,
    builder::Builders,
    cache::CacheSpec,
    check::CheckRequest,
    request::{BuildRequest, Destination, OnFailure, OutputSpec, PublicationRules},
    retry::Retry,
    source::{ContextSpec, DockerfileSpec},
    verify::AuditSettings,
};
use archway_report::Strategy;
use archway_sandbox::Resources;
use clap::{Args, ValueEnum};

use super::{
    BuildAuditArgs, annotation,
    attest::AttestArgs,
    build_arg, build_builder, build_cache, build_context,
    call::CallArgs,
    check::{Checking, Input},
    compression,
    failure::FailureArgs,
    output,
    publication::PublicationArgs,
    resources::ResourceArgs,
    run_step::{self, RunStepArgs},
    scan::GateArgs,
    source, value,
};
use crate::error::CliError;

/// What is built, the same for `build` and `plan`.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Where the files to build from are: a directory, a git URL, the URL of an archive, or - for an archive or a Dockerfile on
    /// standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,

    /// Dockerfile: a file, a URL, or - for standard input [default: Dockerfile in CONTEXT]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Let a name in FROM, COPY --from and mounts mean a directory, git or archive URL, docker-image://REF or
    /// oci-layout://DIR[:TAG][@DIGEST]
    #[arg(long, value_name = "NAME[::PLATFORM]=SOURCE")]
    build_context: Vec<String>,

    /// Platforms to build for, comma-separated or repeated [default: local]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// Set a build argument, for all platforms or for some; without a value, from the environment
    #[arg(long, value_name = "[PLATFORM:]NAME[=VALUE]")]
    build_arg: Vec<String>,

    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Set a label on every image
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Set an annotation on the manifests, or where SCOPE says: manifest[PLATFORM], index, …-descriptor
    #[arg(long, value_name = "[SCOPE:]KEY=VALUE")]
    annotation: Vec<String>,

    /// Resolve base images at their registry, even if the local store has them
    #[arg(long)]
    pull: bool,

    /// Network of RUN steps
    #[arg(long, value_name = "MODE", default_value = "default")]
    network: NetworkMode,

    #[command(flatten)]
    run_step: RunStepArgs,

    /// Who builds, for all platforms or for one: the name of a builder, embedded, or unix://…, tcp://…, ssh://…
    #[arg(long, value_name = "[PLATFORM=]NAME")]
    builder: Vec<String>,

    /// Require a strategy, for all platforms or for one
    #[arg(long, value_name = "[PLATFORM=]STRATEGY")]
    strategy: Vec<String>,
}

/// `archway build`
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    pub(crate) call: CallArgs,

    /// Name of the image; repeat for several
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,

    /// Where the result goes: type=registry|image|oci|docker|local|tar|cacheonly, or a directory
    #[arg(short, long, value_name = "TYPE,KEY=VALUE,…")]
    output: Vec<String>,

    /// Push to the registry; the same as --output=type=registry
    #[arg(long)]
    push: bool,

    /// Load this machine's platform into a running Docker daemon; the same as --output=type=docker
    #[arg(long)]
    load: bool,

    /// Run every RUN, even if its result is in the cache
    #[arg(long)]
    no_cache: bool,

    /// Run every RUN of these stages, comma-separated or repeated
    #[arg(long, value_name = "STAGE", value_delimiter = ',', conflicts_with = "no_cache")]
    no_cache_filter: Vec<String>,

    #[command(flatten)]
    failure: FailureArgs,

    #[command(flatten)]
    publication: PublicationArgs,

    /// Steps that run at the same time [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    #[command(flatten)]
    resources: ResourceArgs,

    #[command(flatten)]
    audit: BuildAuditArgs,

    /// Compression of new layers [default: gzip]
    #[arg(long, value_name = "KIND")]
    compression: Option<compression::Kind>,

    #[command(flatten)]
    attest: AttestArgs,

    #[command(flatten)]
    scan: GateArgs,

    /// Take results from a build cache: a name in a registry, or type=registry|local|s3; repeat for several
    #[arg(long, value_name = "TYPE,KEY=VALUE,…")]
    cache_from: Vec<String>,

    /// Write results to a build cache: a name in a registry, or type=registry|local|inline|s3; mode=max also those of
    /// stages that the image has no layer of
    #[arg(long, value_name = "TYPE,KEY=VALUE,…")]
    cache_to: Vec<String>,

    /// How progress is shown
    #[arg(long, value_name = "MODE", default_value = "auto", env = "ARCHWAY_PROGRESS")]
    pub(crate) progress: ProgressMode,

    /// Print nothing but the digest and errors; wins over --progress
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Write digests and platform results to this JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Write the digest of the image index to this file, if an output has an index
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
}

/// `archway plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// How the plan is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkMode {
    /// The same as host
    Default,
    /// This machine's
    Host,
    /// None but loopback
    None,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A live view on a terminal, else plain
    Auto,
    /// A live view
    Tty,
    /// Lines with a stable prefix
    Plain,
    /// One JSON object per line
    Rawjson,
    /// Nothing but the digest and errors
    Quiet,
}

/// How a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    Text,
    Json,
}

impl BuildArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<BuildRequest, CliError> {
        let mut request = self.source.request()?;
        request.tags = self.tag.iter().map(|tag| value::name("--tag", tag)).collect::<Result<_, _>>()?;
        let given = output::parse_all(&self.output, &request.platforms)?;
        request.outputs = self.outputs(given.outputs);
        build_arg::multi_platform(&request.build_args, &request.platforms, &mut request.outputs)?;
        request.annotations.extend(given.annotations);
        request.rewrite_timestamps = given.rewrite_timestamps;
        request.attestations = self.attest.spec()?;
        request.scan = self.scan.spec()?;
        request.audit = self.audit.settings()?;
        request.no_cache = self.no_cache();
        let inline = request.build_args.get(build_cache::INLINE_ARGUMENT);
        request.cache = build_cache::parse(&self.cache_to, &self.cache_from, inline)?;
        self.failure.apply(&mut request)?;
        request.publication = self.publication.rules()?;
        request.jobs = self.jobs.map(usize::from);
        request.resources = self.resources.resources()?;
        request.compression = self.compression(given.compression)?;
        Ok(request)
    }

    /// What the flag and the outputs say together.
    fn compression(&self, of_outputs: compression::Wanted) -> Result<Compression, CliError> {
        const FLAG: &str = "--compression";
        let wanted = compression::Wanted::from(self.compression).and(of_outputs);
        let differs = || CliError::usage(FLAG, "an output asks for another compression");
        wanted.ok_or_else(differs)?.compression(FLAG)
    }

    /// What these arguments ask for if not for a build.
    pub(crate) fn checking(&self) -> Result<Checking, CliError> {
        let build = self.source.request()?;
        let input = match (&build.context, &build.dockerfile) {
            (ContextSpec::Directory(context), DockerfileSpec::Default) => {
                Input::Local { context: context.clone(), dockerfile: None }
            }
            (ContextSpec::Directory(context), DockerfileSpec::File(path)) => {
                Input::Local { context: context.clone(), dockerfile: Some(path.clone()) }
            }
            _ => Input::Fetched(Box::new(build.clone())),
        };
        let request = CheckRequest {
            // Nobody asked for the platform of this machine if none was named.
            platforms: if self.source.platform.is_empty() { Vec::new() } else { build.platforms },
            build_args: build.build_args,
            named_contexts: build.named_contexts,
            target: build.target,
            pull: build.pull,
        };
        Ok(Checking { input, request })
    }

    /// `--push` and `--load` are short for outputs, and turn an image output into theirs.
    fn outputs(&self, mut outputs: Vec<OutputSpec>) -> Vec<OutputSpec> {
        if self.push {
            for output in &mut outputs {
                if let OutputSpec::Image { names } = output {
                    *output = OutputSpec::Registry { names: std::mem::take(names), by_digest: false };
                }
            }
            if !outputs.iter().any(|output| matches!(output, OutputSpec::Registry { .. })) {
                outputs.push(OutputSpec::Registry { names: Vec::new(), by_digest: false });
            }
        }
        if self.load {
            outputs.push(OutputSpec::Docker { destination: Destination::Daemon, names: Vec::new() });
        }
        outputs
    }

    fn no_cache(&self) -> NoCache {
        match self.no_cache_filter.as_slice() {
            _ if self.no_cache => NoCache::Everywhere,
            [] => NoCache::Nowhere,
            stages => NoCache::Stages(stages.to_vec()),
        }
    }

    /// How progress is shown.
    pub(crate) fn progress(&self) -> ProgressMode {
        if self.quiet { ProgressMode::Quiet } else { self.progress }
    }

    /// Whether standard output is taken by an output, so that nothing else may be printed there.
    pub(crate) fn writes_to_stdout(request: &BuildRequest) -> bool {
        request.outputs.iter().any(|output| {
            matches!(
                output,
                OutputSpec::Oci { destination: Destination::Stdout, .. }
                    | OutputSpec::Docker { destination: Destination::Stdout, .. }
                    | OutputSpec::Tar { destination: Destination::Stdout, .. }
            )
        })
    }
}

impl PlanArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<BuildRequest, CliError> {
        self.source.request()
    }
}

impl SourceArgs {
    fn request(&self) -> Result<BuildRequest, CliError> {
        let platforms = match self.platform.as_slice() {
            [] => vec![Platform::host()],
            given => platforms(given)?,
        };
        let lent = self.run_step.lent()?;
        let builders = build_builder::parse(
            &self.builder,
            &platforms,
            &build_builder::configured,
            &build_builder::current,
        )?;
        if self.run_step.names_this_machine() && builders != Builders::default() {
            return Err(CliError::usage("--add-host", "daemons have no host-gateway; give the address"));
        }
        Ok(BuildRequest {
            context: self.context()?,
            dockerfile: DockerfileSpec::parse(self.file.as_deref()),
            named_contexts: build_context::parse(&self.build_context)?,
            strategies: self.strategies(&platforms)?,
            annotations: annotation::parse(
                annotation::FLAG,
                &self.annotation,
                &Scope::Manifest(None),
                Some(&platforms),
            )?,
            build_args: build_arg::parse(&self.build_arg, &platforms)?,
            builders,
            platforms,
            target: self.target.clone(),
            labels: value::map("--label", &self.label)?,
            attestations: AttestSpec::default(),
            scan: None,
            audit: AuditSettings::default(),
            tags: Vec::new(),
            outputs: Vec::new(),
            no_cache: NoCache::default(),
            pull: self.pull,
            network: match self.network {
                NetworkMode::Default => None,
                NetworkMode::Host => Some(Network::Host),
                NetworkMode::None => Some(Network::None),
            },
            run_settings: self.run_step.settings()?,
            allowed: self.run_step.allowed()?,
            credentials: run_step::credentials(&lent),
            lent,
            jobs: None,
            resources: Resources::default(),
            timeout: None,
            platform_timeouts: BTreeMap::new(),
            retry: Retry::default(),
            on_failure: OnFailure::default(),
            publication: PublicationRules::default(),
            cache: CacheSpec::default(),
            compression: Compression::default(),
            rewrite_timestamps: None,
        })
    }

    /// A directory, a URL, or standard input.
    fn context(&self) -> Result<ContextSpec, CliError> {
        source::context(&self.context)
    }

    /// `native` for all platforms, or `linux/arm64=native` for one.
    fn strategies(&self, platforms: &[Platform]) -> Result<BTreeMap<Platform, Strategy>, CliError> {
        let mut strategies = BTreeMap::new();
        for text in &self.strategy {
            let (chosen, name) = match text.split_once('=') {
                None => (platforms.to_vec(), text.as_str()),
                Some((platform, name)) => {
                    let platform: Platform =
                        platform.parse().map_err(|error| CliError::platform("--strategy", &error))?;
                    if !platforms.contains(&platform) {
                        let message = format!("{platform} is not one of the platforms to build");
                        return Err(CliError::usage("--strategy", message));
                    }
                    (vec![platform], name)
                }
            };
            let strategy = match name {
                "auto" => None,
                "native" => Some(Strategy::Native),
                "cross" => Some(Strategy::Cross),
                "emulated" => Some(Strategy::Emulated),
                other => {
                    return Err(value::unknown(
                        "--strategy",
                        "strategy",
                        other,
                        &["auto", "native", "cross", "emulated"],
                    ));
                }
            };
            for platform in chosen {
                match strategy {
                    Some(strategy) => strategies.insert(platform, strategy),
                    None => strategies.remove(&platform),
                };
            }
        }
        Ok(strategies)
    }
}

/// The values of `--platform`.
pub(super) fn platforms(given: &[String]) -> Result<Vec<Platform>, CliError> {
    platform::parse_list(given).map_err(|error| CliError::platform("--platform", &error))
}
