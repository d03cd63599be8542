//! Runs a prepared build to its end.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU32},
    thread::available_parallelism,
    time::Duration,
};

use archway_audit::Policy as AuditPolicy;
use archway_engine::{AgentSocket, Built, BuiltImage, Job, LayerSettings, RemoteResults, SshAgent};
use archway_oci::{Descriptor, Platform, annotations::Scope};
use archway_report::{Event, Events, PlatformResult};
use futures_util::future::join;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Error, Prepared, attest, bom,
    builder::{
        self,
        remote::{RemotePlatform, RemoteRun, Shared},
    },
    cache::{self, Inline},
    ended::{Ended, Outcome, PlatformRun, Policy, Stop},
    failure::Failure,
    index::{self, BuiltIndex},
    missing::{self, Missing},
    output::{self, Product, Target},
    request::BuildRequest,
    scan::ScanReport,
    tracker::Tracker,
    verify::{self, BuiltAudit},
};

/// What a build came to.
#[derive(Debug)]
pub struct BuildReport {
    /// One for each requested platform, in request order.
    pub platforms: Vec<PlatformResult>,
    /// The image index, if an output wanted one. It has the platforms that succeeded.
    pub index: Option<Descriptor>,
    /// Digest of the config of each platform, in request order, as far as they succeeded.
    pub configs: Vec<Option<Descriptor>>,
    /// What the files of images are for, if they were looked at, in request order.
    pub audits: Vec<BuiltAudit>,
    /// Known vulnerabilities, if they were looked for.
    pub scan: Option<ScanReport>,
    /// How the image of each platform came to be, as buildx says it (`archway_attest::provenance::summary`), if provenance was asked for.
    pub provenance: Vec<(Platform, Value)>,
    /// Tags and files that exist now.
    pub published: Vec<Published>,
    /// What failed, in the order in which it did. Platforms that were only stopped are not among it.
    pub failures: Vec<BuildFailure>,
    /// Whether the outputs were written all the same, with the platforms that succeeded.
    pub is_partial: bool,
}

/// A tag or a file that exists now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Reference or path.
    pub target: String,
    /// What it points at, where it has a digest.
    pub digest: Option<archway_oci::Digest>,
}

/// Tells of tags and files as they come to exist.
pub(crate) struct Publications<'a> {
    events: &'a Events,
    published: Vec<Published>,
}

impl<'a> Publications<'a> {
    /// Nothing exists yet.
    pub(crate) fn new(events: &'a Events) -> Self {
        Self { events, published: Vec::new() }
    }

    /// It exists.
    pub(crate) fn add(&mut self, one: Published) {
        self.events.send(Event::Published { target: one.target.clone(), digest: one.digest.clone() });
        self.published.push(one);
    }

    /// All that exist.
    pub(crate) fn finish(self) -> Vec<Published> {
        self.published
    }
}

/// Why a build did not reach its end.
#[derive(Debug)]
pub enum BuildFailure {
    /// A platform failed: its index, and its step's failure.
    Platform {
        /// Index into [`BuildReport::platforms`].
        platform: usize,
        /// Its failure.
        failure: Failure,
    },
    /// A platform's image is not what was asked for.
    Verification {
        /// Index into [`BuildReport::platforms`].
        platform: usize,
        /// What is wrong.
        findings: Vec<archway_oci::verify::Finding>,
    },
    /// A platform reached its own time limit.
    PlatformTimedOut {
        /// Index into [`BuildReport::platforms`].
        platform: usize,
        /// The limit.
        limit: Duration,
    },
    /// Stopped by the caller.
    Interrupted,
    /// The time limit was reached.
    TimedOut,
    /// All platforms succeeded, but an output could not be written.
    Output(Error),
    /// All outputs were written, but a build cache could not be.
    Cache(Error),
}

impl BuildFailure {
    /// The platform that failed, by its index into [`BuildReport::platforms`], if it is about one.
    pub fn platform(&self) -> Option<usize> {
        match self {
            Self::Platform { platform, .. }
            | Self::Verification { platform, .. }
            | Self::PlatformTimedOut { platform, .. } => Some(*platform),
            Self::Interrupted | Self::TimedOut | Self::Output(_) | Self::Cache(_) => None,
        }
    }
}

/// Builds, verifies, and writes the outputs; publication of tags comes last. `interrupt` stops it.
pub async fn build(
    context: &Context,
    request: &BuildRequest,
    mut prepared: Prepared,
    interrupt: CancellationToken,
) -> Result<BuildReport, Error> {
    let targets = output::targets(request)?;
    let start = Instant::now();
    let stop = Stop { interrupt, deadline: request.timeout.map(|limit| start + limit) };
    context
        .events
        .send(Event::Planned { steps: prepared.steps.clone(), platforms: prepared.platforms.clone() });
    let tracker =
        Arc::new(Mutex::new(Tracker::new(&prepared.platforms, &prepared.steps, context.events.clone())));
    let pushes = output::registry::LayerPushes::start(context, &targets);
    let remote = tokio::select! {
        remote = &mut prepared.remote => remote.expect("reading build caches does not panic"),
        // The platforms are cancelled at once, and say why.
        _ = stop.wait() => Arc::default(),
    };
    let job = job(context, request, &prepared, &targets, &tracker, &pushes, remote);
    let layers = job.layers;
    let mut runs: Vec<PlatformRun> = context.engine.start(job).into_iter().map(PlatformRun::from).collect();
    for (index, run) in elsewhere(context, request, &mut prepared, &targets, &tracker)? {
        // Those before it are there: both lists are in request order.
        runs.insert(index.min(runs.len()), run);
    }
    if request.rewrite_timestamps == Some(true) && prepared.is_undated() {
        let message = "rewrite-timestamp=true has no effect without SOURCE_DATE_EPOCH".to_owned();
        context.events.send(Event::Warning { message });
    }
    let policy = Policy::of(request, start);
    let foreseen = async {
        tokio::select! {
            () = output::registry::foresee(context, &targets, &request.publication) => {}
            _ = stop.wait() => {}
        }
    };
    let (ended, ()) = join(Ended::collect(runs, &policy, &tracker, &stop), foreseen).await;

    let outcome = ended.outcome(request.on_failure);
    let mut report = BuildReport {
        platforms: tracker.lock().expect("no holder panics").results().to_vec(),
        index: None,
        configs: ended
            .platforms
            .iter()
            .map(|built| Some(built.as_ref()?.image.as_ref()?.config_descriptor.clone()))
            .collect(),
        audits: Vec::new(),
        scan: None,
        provenance: Vec::new(),
        published: Vec::new(),
        failures: ended.failures,
        is_partial: false,
    };
    let platforms: Vec<Built> = ended.platforms.into_iter().flatten().collect();
    let (prepared, targets, platforms) = (&prepared, &targets, &platforms);
    let finished = Finished { context, request, prepared, targets, platforms, layers };
    match outcome {
        Outcome::Published => finished.finish(pushes, &stop, &mut report).await,
        Outcome::Kept => {
            // Nobody is going to name what was still being sent.
            drop(pushes);
            finished.keep(&stop, &mut report).await;
        }
        Outcome::Nothing => {}
    }
    Ok(report)
}

/// A build whose platforms have ended, and whose results are to be written.
struct Finished<'a> {
    context: &'a Context,
    request: &'a BuildRequest,
    prepared: &'a Prepared,
    targets: &'a [Target],
    /// Those that succeeded.
    platforms: &'a [Built],
    layers: Option<LayerSettings>,
}

/// What was written, and what is known of it.
struct Written {
    index: Option<BuiltIndex>,
    scan: Option<ScanReport>,
    provenance: Vec<(Platform, Value)>,
}

impl Finished<'_> {
    /// Writes the outputs, then the build caches.
    async fn finish(&self, pushes: output::registry::LayerPushes, stop: &Stop, report: &mut BuildReport) {
        let missing = Missing::of(&report.platforms);
        let mut publications = Publications::new(&self.context.events);
        let result = tokio::select! {
            biased;
            failure = stop.wait() => Err(failure),
            result = self.publish(&missing, pushes, &mut publications, &mut report.audits) => result.map_err(BuildFailure::Output),
        };
        // What exists is said, however it ended.
        report.published = publications.finish();
        match result {
            Ok(written) => {
                report.index = written.index.map(|index| index.descriptor);
                (report.scan, report.provenance) = (written.scan, written.provenance);
            }
            Err(failure) => return report.failures.push(failure),
        }
        report.is_partial = !missing.is_empty();
        self.keep(stop, report).await;
    }

    /// Writes the build caches, so that another build does not do again what succeeded.
    async fn keep(&self, stop: &Stop, report: &mut BuildReport) {
        let failure = tokio::select! {
            biased;
            failure = stop.wait() => Some(failure),
            result = self.export_caches() => result.err().map(BuildFailure::Cache),
        };
        report.failures.extend(failure);
    }

    /// Outputs in an order in which tags move last. What audits find is told also if it is why there are none.
    async fn publish(
        &self,
        missing: &Missing,
        pushes: output::registry::LayerPushes,
        publications: &mut Publications<'_>,
        audits: &mut Vec<BuiltAudit>,
    ) -> Result<Written, Error> {
        let (context, targets) = (self.context, self.targets);
        let images: Vec<BuiltImage> = self.platforms.iter().filter_map(|built| built.image.clone()).collect();
        *audits = verify::audit_built(context, &self.request.audit, &images).await?;
        verify::may_be_published(audits)?;
        let mut annotations = self.request.annotations.clone();
        if !missing.is_empty() {
            annotations.set(Scope::Index, missing::KEY.to_owned(), missing.to_string());
        }
        let examined = bom::examine(context, self.request, &images).await?;
        let cataloged = &examined.cataloged;
        let said = attest::say(context, self.request, self.prepared, self.platforms, cataloged).await?;
        let index = match targets.iter().any(Target::needs_index) {
            true => {
                let attestations = attest::attach_all(context, targets, &images, &said).await?;
                Some(index::assemble(&images, attestations, &annotations)?)
            }
            false => None,
        };
        let product =
            Product { platforms: self.platforms, images: &images, index: index.as_ref(), said: &said };
        output::write_all(context, &self.request.publication, targets, product, pushes, publications).await?;
        let summaries = said.iter().map(|said| said.iter().find_map(|one| one.summary.clone()));
        let provenance = self.platforms.iter().zip(summaries);
        let provenance =
            provenance.filter_map(|(built, summary)| Some((built.platform.clone(), summary?))).collect();
        Ok(Written { index, scan: examined.scan, provenance })
    }

    /// Writes the build caches, all of them whatever becomes of the others.
    async fn export_caches(&self) -> Result<(), Error> {
        let Some(layers) = self.layers else { return Ok(()) };
        if self.platforms.iter().all(|built| built.results.is_none()) {
            return Ok(());
        }
        let pushed_to = output::references_in_registries(self.targets);
        let mut result = Ok(());
        for to in &self.request.cache.to {
            let exported = cache::export::export(self.context, to, layers, self.platforms, &pushed_to).await;
            result = result.and(exported);
        }
        result
    }
}

/// Whether layers are made: for outputs, for build caches, or to be looked at.
fn needs_layers(request: &BuildRequest, targets: &[Target]) -> bool {
    targets.iter().any(Target::needs_layers) || !request.cache.to.is_empty() || request.reads_packages()
}

fn job(
    context: &Context,
    request: &BuildRequest,
    prepared: &Prepared,
    targets: &[Target],
    tracker: &Arc<Mutex<Tracker>>,
    pushes: &output::registry::LayerPushes,
    remote: Arc<RemoteResults>,
) -> Job {
    let (observer, events) = (tracker.clone(), context.events.clone());
    let (pushes, growing) = (pushes.clone(), pushes.clone());
    let epoch = prepared.graph.source_date_epoch;
    Job {
        graph: prepared.graph.clone(),
        contexts: prepared.contexts.clone(),
        lent: request.lent.clone(),
        credentials: request.credentials.clone(),
        bases: prepared.bases.by_manifest.clone(),
        jobs: request.jobs.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)),
        cgroups: prepared.cgroups.clone(),
        layers: needs_layers(request, targets).then(|| LayerSettings {
            compression: request.compression,
            mtime: epoch.filter(|_| request.rewrite_timestamps.unwrap_or(true)),
        }),
        remote,
        exported: request.cache.scope(),
        inline: request.cache.inline != Inline::No,
        source_date_epoch: epoch,
        annotations: prepared
            .graph
            .outputs
            .iter()
            .map(|output| request.annotations.manifest(&output.platform))
            .collect(),
        events: observed(events, observer),
        on_layer: Arc::new(move |layer| pushes.layer(layer)),
        on_growing: Arc::new(move |blob| growing.growing(&blob)),
    }
}

/// Starts what daemons build: the platforms, by their places in the request.
fn elsewhere(
    context: &Context,
    request: &BuildRequest,
    prepared: &mut Prepared,
    targets: &[Target],
    tracker: &Arc<Mutex<Tracker>>,
) -> Result<Vec<(usize, PlatformRun)>, Error> {
    let platforms = std::mem::take(&mut prepared.elsewhere);
    if platforms.is_empty() {
        return Ok(Vec::new());
    }
    let scratch =
        tempfile::Builder::new().prefix("archway-").tempdir().map_err(Error::read(std::env::temp_dir()))?;
    let last_step = prepared.steps.iter().map(|step| step.id.0 + 1).max().unwrap_or_default();
    let listen = |(id, agent): (&String, &SshAgent)| {
        let socket = AgentSocket::for_this_process(agent).map_err(Error::read(&agent.socket))?;
        Ok::<_, Error>((id.clone(), socket))
    };
    let agents = request.lent.ssh.iter().map(listen).collect::<Result<_, _>>()?;
    let shared = Arc::new(Shared {
        context: Context {
            engine: context.engine.clone(),
            events: observed(context.events.clone(), tracker.clone()),
        },
        request: BuildRequest { build_args: prepared.build_args.clone(), ..request.clone() },
        dockerfile: prepared.dockerfile.source.text.clone(),
        contexts: prepared.contexts.clone(),
        bases: prepared.bases.clone(),
        repository: output::references_in_registries(targets).into_iter().next(),
        reads_layers: request.audit.policy != AuditPolicy::Off || request.reads_packages(),
        next_step: Arc::new(AtomicU32::new(last_step)),
        source: prepared.source_name(context.store()).map_err(Error::read(context.store().root()))?,
        secrets: builder::secrets(request, &platforms[0].builder)?,
        agents,
        scratch,
    });
    let start = |platform: RemotePlatform| {
        let (index, cancel) = (platform.index, CancellationToken::new());
        let run = Arc::new(RemoteRun::new(platform, shared.clone(), cancel.clone()));
        let again = run.clone();
        (index, PlatformRun { result: run.attempt(), again: Arc::new(move || again.attempt()), cancel })
    };
    Ok(platforms.into_iter().map(start).collect())
}

/// Events that the tracker sees before everybody else.
fn observed(events: Events, tracker: Arc<Mutex<Tracker>>) -> Events {
    Events::new(move |event| {
        tracker.lock().expect("no holder panics").observe(&event);
        events.send(event);
    })
}

impl BuildReport {
    /// Whether every platform succeeded and every output was written.
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }
}
