//! Everything that is decided before the first step runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use archway_dockerfile::{
    MAX_TEXT_BYTES,
    ast::{Dockerfile, SourceText},
    diagnostic::Diagnostic,
    ignore::IgnorePatterns,
};
use archway_engine::RemoteResults;
use archway_graph::{
    BuildArgs, ContextName, CopySource, Graph, Inputs, Lowering, Network, Op, Warning, lower,
};
use archway_oci::Platform;
use archway_report::{PlatformPlan, Step};
use archway_sandbox::Cgroups;
use archway_store::Store;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::{
    Context, Error,
    builder::{self, fleet::Fleet, placement, remote::RemotePlatform},
    cache, frontend,
    request::BuildRequest,
    resolve::Bases,
    source::{self, ContextOrigin, Opened},
};

/// A build that is ready to run.
pub struct Prepared {
    /// The Dockerfile.
    pub dockerfile: Arc<Dockerfile>,
    /// What this machine does. Empty if all platforms are built elsewhere.
    pub graph: Arc<Graph>,
    /// The directories that anything is copied from.
    pub contexts: BTreeMap<ContextName, Arc<archway_source::Snapshot>>,
    /// All platforms with their strategy, in request order.
    pub platforms: Vec<PlatformPlan>,
    /// The steps of this machine, as people see them.
    pub steps: Vec<Step>,
    /// The build arguments, with the time of the context where that is asked for.
    pub(crate) build_args: BuildArgs,
    /// The platforms that daemons build, in request order.
    pub(crate) elsewhere: Vec<RemotePlatform>,
    pub(crate) bases: Arc<Bases>,
    /// What limits each RUN step.
    pub(crate) cgroups: Option<Arc<Cgroups>>,
    /// What build caches know; they are read while all else is prepared.
    pub(crate) remote: JoinHandle<Arc<RemoteResults>>,
    /// When it began to be prepared.
    pub(crate) began: Timestamp,
    /// Where the context comes from; files that were made for it go with the build.
    source: Opened,
}

impl Prepared {
    /// Where the context was found.
    pub(crate) fn origin(&self) -> &ContextOrigin {
        &self.source.origin
    }

    /// What the user should know although the build goes on; each once.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = Vec::new();
        for graph in self.graphs() {
            for warning in &graph.warnings {
                if !warnings.contains(warning) {
                    warnings.push(warning.clone());
                }
            }
        }
        warnings
    }

    /// What daemons do: the builder, and its graph. Platforms that are built alike share one.
    pub fn elsewhere(&self) -> Vec<(&str, &Graph)> {
        let mut graphs: Vec<(&str, &Arc<Graph>)> = Vec::new();
        for platform in &self.elsewhere {
            if !graphs.iter().any(|(_, known)| Arc::ptr_eq(known, &platform.graph)) {
                graphs.push((&platform.builder, &platform.graph));
            }
        }
        graphs.into_iter().map(|(builder, graph)| (builder, &**graph)).collect()
    }

    /// Whether nothing says which time files are to have.
    pub(crate) fn is_undated(&self) -> bool {
        self.graphs().all(|graph| graph.source_date_epoch.is_none())
    }

    /// The same for each build of this source, and for no other one: a daemon that finds files of the same size and time
    /// under this name does not ask for them again.
    pub(crate) fn source_name(&self, store: &Store) -> io::Result<String> {
        let place = match (&self.source.origin, self.contexts.get(&ContextName::Main)) {
            (ContextOrigin::Repository { source, .. }, _) => source.describe(),
            // Times of files in archives and bundles say nothing: what was there names them.
            (ContextOrigin::Download { url, file }, _) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(std::fs::File::open(file)?)?;
                format!("{url} {}", hasher.finalize())
            }
            (ContextOrigin::Bundle { digest, .. }, _) => digest.to_string(),
            (ContextOrigin::Here, Some(snapshot)) => snapshot.directory().display().to_string(),
            (ContextOrigin::Here, None) => self.dockerfile.source.name.to_string(),
        };
        let machine = machine(&store.root().join("machine-id"))?;
        Ok(blake3::hash(format!("{machine}\n{place}").as_bytes()).to_hex().to_string())
    }

    fn graphs(&self) -> impl Iterator<Item = &Graph> {
        std::iter::once(&*self.graph).chain(self.elsewhere.iter().map(|platform| &*platform.graph))
    }
}

/// Reads the Dockerfile, decides who builds which platform, resolves the base images of all platforms, lowers to
/// graphs, and scans the build context if something is copied from it.
pub async fn prepare(context: &Context, request: &BuildRequest) -> Result<Prepared, Error> {
    let began = Timestamp::now();
    // A limit that cannot be kept ends the build here, not at its first step.
    let limited = request.resources.is_limited();
    let pools = request.builders.pools(&request.platforms);
    for pool in &pools {
        builder::check(request, &pool.name)?;
    }
    let cgroups = limited.then(|| Cgroups::prepare(&request.resources)).transpose()?.map(Arc::new);
    let gathering = tokio::spawn(async move { join_all(pools.iter().map(|pool| Fleet::gather(pool))).await });
    // Daemons read their caches themselves.
    let own: Vec<Platform> =
        request.platforms.iter().filter(|platform| request.builders.is_here(platform)).cloned().collect();
    let from = if own.is_empty() { Vec::new() } else { request.cache.from.clone() };
    let remote = tokio::spawn(cache::import::import(context.clone(), from, own));
    let opened = source::open(context, request).await?;
    let text = opened.dockerfile.clone();
    let (build_args, undated) = opened.dated(&request.build_args);
    let newer = frontend::choose(&text, &build_args)?;
    let dockerfile = archway_dockerfile::parse_source(text.clone());
    let refused = |diagnostic| Error::Dockerfile { text: text.clone(), diagnostic: Box::new(diagnostic) };
    let dockerfile = Arc::new(dockerfile.map_err(|error| refused(error.diagnostic()))?);
    let reading = Reading { context, request, dockerfile: &dockerfile, text: &text, build_args: &build_args };
    let mut bases = Bases::default();
    let fleets = gathering.await.expect("connecting does not panic");
    let (here, elsewhere) = placement::place(&reading, &fleets, &mut bases).await?;
    let build_platform = Platform::host();
    let machine = Machine { name: &build_platform, processor: &Platform::host_processor() };
    let mut graph = reading.lower(&here.platforms(), machine, &mut bases).await?;
    graph.warnings.extend(newer);
    graph.warnings.extend(undated);
    let mut platforms = platforms(&graph);
    here.explain(&mut platforms);
    for platform in &elsewhere {
        platforms.insert(platform.index.min(platforms.len()), platform.plan.clone());
    }
    let mut contexts = BTreeMap::new();
    let graphs = std::iter::once(&graph).chain(elsewhere.iter().map(|platform| &*platform.graph));
    for name in graphs.flat_map(copied_from).collect::<BTreeSet<_>>() {
        let snapshot = match &name {
            ContextName::Main => opened.snapshot().await?,
            ContextName::Named(name) => {
                let directory = request.named_contexts.directory(name);
                let directory = directory.expect("only directories are copied from where they are");
                Arc::new(scan(directory.to_owned(), None).await?)
            }
        };
        contexts.insert(name, snapshot);
    }
    Ok(Prepared {
        platforms,
        steps: steps(&graph, &build_platform),
        dockerfile: dockerfile.clone(),
        graph: Arc::new(graph),
        contexts,
        build_args,
        elsewhere,
        bases: Arc::new(bases),
        cgroups,
        remote,
        began,
        source: opened,
    })
}

/// What no other machine is called: a random number, kept in a file. Containers often have no `/etc/machine-id`, or that of
/// their image.
fn machine(file: &Path) -> io::Result<String> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(blake3::hash(&random).to_hex().as_bytes())?;
    match new.persist_noclobber(file) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.error),
    }
    std::fs::read_to_string(file)
}

/// The machine that runs steps.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// `BUILDPLATFORM`
    pub(crate) name: &'a Platform,
    /// What its processor runs.
    pub(crate) processor: &'a Platform,
}

/// A Dockerfile that was parsed, on its way to a graph.
pub(crate) struct Reading<'a> {
    context: &'a Context,
    pub(crate) request: &'a BuildRequest,
    dockerfile: &'a Dockerfile,
    text: &'a SourceText,
    build_args: &'a BuildArgs,
}

impl Reading<'_> {
    /// What some of the platforms come to on a machine. Base images that are not known yet are resolved.
    pub(crate) async fn lower(
        &self,
        platforms: &[Platform],
        machine: Machine<'_>,
        bases: &mut Bases,
    ) -> Result<Graph, Error> {
        let Self { context, request, dockerfile, text, build_args } = self;
        // Daemons do not see the images of this machine.
        let pull = request.pull || !request.builders.pools(&request.platforms).is_empty();
        loop {
            let inputs = Inputs {
                dockerfile,
                platforms,
                build_platform: machine.name,
                processor: machine.processor,
                build_args,
                target: request.target.as_deref(),
                no_cache: &request.no_cache,
                contexts: request.named_contexts.names(),
                labels: &request.labels,
                network: request.network.unwrap_or(Network::Host),
                run_settings: &request.run_settings,
                allowed: &request.allowed,
                strategies: &request.strategies,
                bases: &bases.by_name,
            };
            let refused = |diagnostic| Error::Dockerfile {
                text: (*text).clone(),
                diagnostic: Box::new(build_args.mask_diagnostic(diagnostic)),
            };
            match lower(&inputs).map_err(|error| refused(error.diagnostic()))? {
                Lowering::Ready(graph) => return Ok(graph),
                Lowering::Needs(requests) => bases.add(context, text, requests, pull).await?,
            }
        }
    }
}

/// Reads a Dockerfile. A file that is called `dockerfile` is found as `Dockerfile` too, as in BuildKit.
pub(crate) fn read_dockerfile(path: &Path) -> Result<SourceText, Error> {
    let lower_case = path.with_file_name("dockerfile");
    let is_lower_case =
        path.file_name() == Some("Dockerfile".as_ref()) && !path.exists() && lower_case.exists();
    let path = if is_lower_case { &lower_case } else { path };
    let failed = |source| Error::ReadDockerfile { path: path.to_owned(), source };
    read_text(path, failed, |text, diagnostic| Error::Dockerfile { text, diagnostic })
}

/// Reads a Dockerfile from standard input.
pub(crate) fn read_stdin() -> Result<SourceText, Error> {
    let failed = |source| Error::ReadDockerfile { path: "-".into(), source };
    let mut bytes = Vec::new();
    let limit = MAX_TEXT_BYTES as u64 + 1;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    text("Dockerfile", &bytes)
}

fn read_text(
    path: &Path,
    failed: impl Fn(io::Error) -> Error,
    refused: impl Fn(SourceText, Box<Diagnostic>) -> Error,
) -> Result<SourceText, Error> {
    let bytes = read_bounded(path).map_err(failed)?;
    SourceText::from_bytes(path.display().to_string(), &bytes).map_err(|error| {
        let diagnostic = Box::new(error.diagnostic());
        refused(error.text, diagnostic)
    })
}

/// The bytes of a file that is no larger than a Dockerfile may be.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MAX_TEXT_BYTES as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    std::fs::read(path)
}

/// A Dockerfile that is no file of this machine.
pub(crate) fn text(name: &str, bytes: &[u8]) -> Result<SourceText, Error> {
    SourceText::from_bytes(name, bytes).map_err(|error| {
        let diagnostic = Box::new(error.diagnostic());
        Error::Dockerfile { text: error.text, diagnostic }
    })
}

/// The contexts whose files are needed.
fn copied_from(graph: &Graph) -> BTreeSet<ContextName> {
    let copies = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Copy(copy) => Some(copy),
        _ => None,
    });
    let sources = copies.flat_map(|copy| &copy.sources);
    let contexts = sources.filter_map(|source| match source {
        CopySource::Context { context, .. } => Some(context.clone()),
        _ => None,
    });
    contexts.collect()
}

pub(crate) async fn scan(
    root: PathBuf,
    dockerfile: Option<PathBuf>,
) -> Result<archway_source::Snapshot, Error> {
    tokio::task::spawn_blocking(move || {
        let ignore = read_ignore(&root, dockerfile.as_deref())?.unwrap_or_default();
        Ok(archway_source::Snapshot::scan(&root, &ignore)?)
    })
    .await
    .expect("scanning does not panic")
}

/// What is left out of the context. `<Dockerfile>.dockerignore` wins over `.dockerignore`, as in BuildKit.
pub(crate) fn read_ignore(root: &Path, dockerfile: Option<&Path>) -> Result<Option<IgnorePatterns>, Error> {
    let own = dockerfile.map(|dockerfile| {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        PathBuf::from(own)
    });
    let candidates = own.into_iter().chain([root.join(".dockerignore")]);
    let Some(path) = candidates.into_iter().find(|path| path.exists()) else { return Ok(None) };
    let failed = |source| Error::Read { path: path.clone(), source };
    let text = read_text(&path, failed, |text, diagnostic| Error::DockerIgnore { text, diagnostic })?;
    let patterns = IgnorePatterns::parse(&text.text).map_err(|error| {
        let diagnostic = Box::new(error.diagnostic());
        Error::DockerIgnore { text, diagnostic }
    })?;
    Ok(Some(patterns))
}

fn platforms(graph: &Graph) -> Vec<PlatformPlan> {
    graph
        .outputs
        .iter()
        .map(|output| PlatformPlan {
            platform: output.platform.clone(),
            strategy: output.strategy,
            reason: output.reason.clone(),
        })
        .collect()
}

/// The steps as people see them; the engine uses the same ids.
fn steps(graph: &Graph, build_platform: &Platform) -> Vec<Step> {
    graph
        .nodes
        .iter()
        .filter_map(|node| {
            let label = node.label.as_ref()?;
            Some(Step {
                id: archway_engine::step_id(node.id),
                platforms: node.serves.iter().map(|index| graph.outputs[*index].platform.clone()).collect(),
                runs_on: match &node.op {
                    Op::Image(image) => image.platform.clone(),
                    Op::Run(run) => run.platform.clone(),
                    Op::Scratch | Op::Copy(_) | Op::Mkdir(_) | Op::Git(_) | Op::Http(_) => {
                        build_platform.clone()
                    }
                },
                stage: label.stage.clone(),
                position: label.position,
                total: label.total,
                name: label.name.clone(),
            })
        })
        .collect()
}
