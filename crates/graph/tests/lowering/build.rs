//! A build to lower: a Dockerfile, its options, and base images made up on request.

use std::collections::{BTreeMap, BTreeSet};

use archway_dockerfile::ast::Dockerfile;
use archway_graph::{
    BaseRequest, Bases, BuildArgs, Entitlement, Graph, Inputs, LowerError, Lowering, NamedContext,
    NamedContexts, Network, NoCache, ResolvedBase, RunSettings, lower,
};
use archway_oci::{Digest, History, ImageConfig, Platform};
use archway_report::Strategy;

/// Eight platforms, as many as a release usually has.
pub(crate) const MANY: [&str; 8] = [
    "linux/amd64",
    "linux/arm64",
    "linux/386",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
];

/// The search path BuildKit gives to images without one.
pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

type Edit = Box<dyn Fn(&mut ImageConfig)>;

/// Options of a build; the machine is linux/amd64.
pub(crate) struct Build {
    dockerfile: Dockerfile,
    platforms: Vec<Platform>,
    build_args: BuildArgs,
    target: Option<String>,
    labels: BTreeMap<String, String>,
    strategies: BTreeMap<Platform, Strategy>,
    network: Network,
    no_cache: NoCache,
    settings: RunSettings,
    allowed: BTreeSet<Entitlement>,
    edits: BTreeMap<String, Edit>,
    contexts: NamedContexts,
}

impl Build {
    /// For linux/amd64. Indentation and the first line break are not part of the Dockerfile.
    pub(crate) fn new(text: &str) -> Self {
        let lines: Vec<&str> = text.trim_start_matches('\n').lines().map(str::trim_start).collect();
        let text = lines.join("\n") + "\n";
        Self {
            dockerfile: archway_dockerfile::parse("Dockerfile", &text).expect("the Dockerfile parses"),
            platforms: vec![platform("linux/amd64")],
            build_args: BuildArgs::default(),
            target: None,
            labels: BTreeMap::new(),
            strategies: BTreeMap::new(),
            network: Network::Host,
            no_cache: NoCache::default(),
            settings: RunSettings::default(),
            allowed: BTreeSet::new(),
            edits: BTreeMap::new(),
            contexts: NamedContexts::default(),
        }
    }

    pub(crate) fn platforms(mut self, platforms: &[&str]) -> Self {
        self.platforms = platforms.iter().map(|text| platform(text)).collect();
        self
    }

    pub(crate) fn arg(mut self, name: &str, value: &str) -> Self {
        self.build_args.set(name, value);
        self
    }

    /// `--build-arg PLATFORM:NAME=VALUE`
    pub(crate) fn arg_for(mut self, on: &str, name: &str, value: &str) -> Self {
        self.build_args.set_for(platform(on), name, value);
        self
    }

    pub(crate) fn context(mut self, name: &str, context: NamedContext) -> Self {
        self.contexts.add(name, context).expect("the name is one");
        self
    }

    pub(crate) fn target(mut self, target: &str) -> Self {
        self.target = Some(target.into());
        self
    }

    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    pub(crate) fn strategy(mut self, on: &str, strategy: Strategy) -> Self {
        self.strategies.insert(platform(on), strategy);
        self
    }

    pub(crate) fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    pub(crate) fn no_cache(mut self, no_cache: NoCache) -> Self {
        self.no_cache = no_cache;
        self
    }

    pub(crate) fn settings(mut self, settings: RunSettings) -> Self {
        self.settings = settings;
        self
    }

    pub(crate) fn allow(mut self, entitlement: Entitlement) -> Self {
        self.allowed.insert(entitlement);
        self
    }

    /// Changes the made-up config of the base image `name`.
    pub(crate) fn image(mut self, name: &str, edit: impl Fn(&mut ImageConfig) + 'static) -> Self {
        self.edits.insert(name.into(), Box::new(edit));
        self
    }

    pub(crate) fn dockerfile(&self) -> &Dockerfile {
        &self.dockerfile
    }

    /// One call, knowing `bases`.
    pub(crate) fn lower(&self, bases: &Bases) -> Result<Lowering, LowerError> {
        lower(&Inputs {
            contexts: &self.contexts,
            dockerfile: &self.dockerfile,
            platforms: &self.platforms,
            build_platform: &platform("linux/amd64"),
            processor: &platform("linux/amd64/v3"),
            build_args: &self.build_args,
            target: self.target.as_deref(),
            no_cache: &self.no_cache,
            labels: &self.labels,
            network: self.network,
            run_settings: &self.settings,
            allowed: &self.allowed,
            strategies: &self.strategies,
            bases,
        })
    }

    /// Calls until the graph is there, and what was asked for each time.
    pub(crate) fn rounds(&self) -> Result<(Graph, Vec<Vec<BaseRequest>>), LowerError> {
        let mut bases = Bases::new();
        let mut rounds = Vec::new();
        loop {
            match self.lower(&bases)? {
                Lowering::Ready(graph) => return Ok((graph, rounds)),
                Lowering::Needs(requests) => {
                    for request in &requests {
                        let key = (request.name.clone(), request.platform.clone());
                        let known = bases.insert(key, self.resolve(request));
                        assert!(known.is_none(), "{} was asked for twice", request.name);
                    }
                    rounds.push(requests);
                }
            }
        }
    }

    pub(crate) fn graph(&self) -> Graph {
        self.rounds().unwrap_or_else(|error| panic!("{error}")).0
    }

    pub(crate) fn error(&self) -> LowerError {
        match self.rounds() {
            Ok(_) => panic!("the Dockerfile was accepted"),
            Err(error) => error,
        }
    }

    /// The config of the first output.
    pub(crate) fn config(&self) -> ImageConfig {
        self.graph().outputs[0].config.clone()
    }

    fn resolve(&self, request: &BaseRequest) -> ResolvedBase {
        let BaseRequest { name, platform, .. } = request;
        let mut config = ImageConfig {
            created: Some("2020-01-01T00:00:00Z".into()),
            platform: platform.clone(),
            history: vec![History { created_by: Some("base".into()), ..History::default() }],
            ..ImageConfig::default()
        };
        config.rootfs.diff_ids.push(Digest::sha256(format!("{name} {platform}").as_bytes()));
        config.config.env.push("PATH=/bin".into());
        if let Some(edit) = self.edits.get(name) {
            edit(&mut config);
        }
        ResolvedBase {
            reference: name.parse().expect("only valid names are asked for"),
            manifest: Digest::sha256(format!("manifest of {name} {platform}").as_bytes()),
            config,
        }
    }
}

pub(crate) fn platform(text: &str) -> Platform {
    Platform::parse(text).expect("a platform")
}
