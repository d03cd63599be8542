//! Runs a prepared build to its end.

use std::{
    sync::{Arc, Mutex},
    thread::available_parallelism,
};

use archway_engine::{Built, BuiltImage, Failure, Job, LayerSettings, PlatformRun, RemoteResults};
use archway_oci::Descriptor;
use archway_report::{Event, Events, PlatformResult, Reason, State};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Error, Prepared, attest,
    cache::{self, Inline},
    index::{self, BuiltIndex},
    output::{self, Product, Target},
    request::{BuildRequest, OnFailure},
    tracker::{Cause, Tracker},
};

/// What a build came to.
#[derive(Debug)]
pub struct BuildReport {
    /// One for each requested platform, in request order.
    pub platforms: Vec<PlatformResult>,
    /// The image index, if all platforms succeeded and an output wanted one.
    pub index: Option<Descriptor>,
    /// Digest of the config of each platform, in request order, as far as they succeeded.
    pub configs: Vec<Option<Descriptor>>,
    /// Tags and files that exist now.
    pub published: Vec<Published>,
    /// Why the build did not reach its end.
    pub failure: Option<BuildFailure>,
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
    /// A platform failed; the first that did, by its index, and its step's failure.
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
    /// Stopped by the caller.
    Interrupted,
    /// The time limit was reached.
    TimedOut,
    /// All platforms succeeded, but an output could not be written.
    Output(Error),
    /// All outputs were written, but a build cache could not be.
    Cache(Error),
}

/// Builds, verifies, and writes the outputs; publication of tags comes last. `interrupt` stops it.
pub async fn build(
    context: &Context,
    request: &BuildRequest,
    mut prepared: Prepared,
    interrupt: CancellationToken,
) -> Result<BuildReport, Error> {
    let targets = output::targets(request)?;
    let stop = Stop { interrupt, deadline: request.timeout.map(|limit| Instant::now() + limit) };
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
    let runs = context.engine.start(job);
    if request.rewrite_timestamps == Some(true) && prepared.graph.source_date_epoch.is_none() {
        let message = "rewrite-timestamp=true has no effect without SOURCE_DATE_EPOCH".to_owned();
        context.events.send(Event::Warning { message });
    }
    let ended = Ended::collect(runs, request.on_failure, &tracker, &stop).await;

    let mut report = BuildReport {
        platforms: Vec::new(),
        index: None,
        configs: ended
            .platforms
            .iter()
            .map(|built| Some(built.as_ref()?.image.as_ref()?.config_descriptor.clone()))
            .collect(),
        published: Vec::new(),
        failure: ended.failure,
    };
    if report.failure.is_none() {
        let platforms: Vec<Built> = ended.platforms.into_iter().flatten().collect();
        let mut publications = Publications::new(&context.events);
        let result = tokio::select! {
            biased;
            failure = stop.wait() => Err(failure),
            result = publish(context, request, &prepared, &targets, &platforms, pushes, &mut publications) => {
                result.map_err(BuildFailure::Output)
            }
        };
        // What exists is said, however it ended.
        report.published = publications.finish();
        match result {
            Ok(index) => report.index = index.map(|index| index.descriptor),
            Err(failure) => report.failure = Some(failure),
        }
        if report.failure.is_none() {
            report.failure = tokio::select! {
                biased;
                failure = stop.wait() => Some(failure),
                result = export_caches(context, request, &targets, layers, &platforms) => {
                    result.err().map(BuildFailure::Cache)
                }
            };
        }
    }
    report.platforms = tracker.lock().expect("no holder panics").results().to_vec();
    Ok(report)
}

/// Outputs in an order in which tags move last.
async fn publish(
    context: &Context,
    request: &BuildRequest,
    prepared: &Prepared,
    targets: &[Target],
    platforms: &[Built],
    pushes: output::registry::LayerPushes,
    publications: &mut Publications<'_>,
) -> Result<Option<BuiltIndex>, Error> {
    let images: Vec<BuiltImage> = platforms.iter().filter_map(|built| built.image.clone()).collect();
    let said = attest::say(context, request, prepared, platforms).await?;
    let index = match targets.iter().any(Target::needs_index) {
        true => {
            let attestations = attest::attach_all(context, targets, &images, &said).await?;
            Some(index::assemble(&images, attestations, &request.annotations)?)
        }
        false => None,
    };
    let product = Product { platforms, images: &images, index: index.as_ref(), said: &said };
    output::write_all(context, targets, product, pushes, publications).await?;
    Ok(index)
}

/// Writes the build caches, all of them whatever becomes of the others.
async fn export_caches(
    context: &Context,
    request: &BuildRequest,
    targets: &[Target],
    layers: Option<LayerSettings>,
    platforms: &[Built],
) -> Result<(), Error> {
    let Some(layers) = layers else { return Ok(()) };
    let pushed_to = output::references_in_registries(targets);
    let mut result = Ok(());
    for to in &request.cache.to {
        let exported = cache::export::export(context, to, layers, platforms, &pushed_to).await;
        result = result.and(exported);
    }
    result
}

/// What stops a build from outside.
struct Stop {
    interrupt: CancellationToken,
    deadline: Option<Instant>,
}

impl Stop {
    /// Ends when the build has to, and says why.
    async fn wait(&self) -> BuildFailure {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.interrupt.cancelled() => BuildFailure::Interrupted,
            () = deadline => BuildFailure::TimedOut,
        }
    }
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
        layers: (targets.iter().any(Target::needs_layers) || !request.cache.to.is_empty()).then(|| {
            LayerSettings {
                compression: request.compression,
                mtime: epoch.filter(|_| request.rewrite_timestamps.unwrap_or(true)),
            }
        }),
        remote,
        exported: request.cache.scope(),
        inline: request.cache.inline != Inline::No,
        source_date_epoch: epoch,
        annotations: request
            .platforms
            .iter()
            .map(|platform| request.annotations.manifest(platform))
            .collect(),
        events: Events::new(move |event| {
            observer.lock().expect("no holder panics").observe(&event);
            events.send(event);
        }),
        on_layer: Arc::new(move |layer| pushes.layer(layer)),
        on_growing: Arc::new(move |blob| growing.growing(&blob)),
    }
}

/// How the platforms ended.
struct Ended {
    /// In request order.
    platforms: Vec<Option<Built>>,
    failure: Option<BuildFailure>,
}

impl Ended {
    /// Waits for every platform. After the first failure the policy decides about the others.
    async fn collect(
        runs: Vec<PlatformRun>,
        on_failure: OnFailure,
        tracker: &Mutex<Tracker>,
        stop: &Stop,
    ) -> Self {
        let cancels: Vec<CancellationToken> = runs.iter().map(|run| run.cancel.clone()).collect();
        let cancel_all = || cancels.iter().for_each(CancellationToken::cancel);
        let mut ended = Self { platforms: runs.iter().map(|_| None).collect(), failure: None };
        let mut pending: FuturesUnordered<_> = runs
            .into_iter()
            .enumerate()
            .map(|(index, run)| async move { (index, run.result.await) })
            .collect();
        loop {
            let stopped = ended.failure.is_some();
            tokio::select! {
                biased;
                failure = stop.wait(), if !stopped => {
                    ended.failure = Some(failure);
                    cancel_all();
                }
                next = pending.next() => {
                    let Some((index, result)) = next else { return ended };
                    ended.platform(index, result, tracker);
                    if ended.platforms[index].is_none() {
                        // Its other steps may still run.
                        cancels[index].cancel();
                        if on_failure == OnFailure::Abort {
                            cancel_all();
                        }
                    }
                }
            }
        }
    }

    fn platform(&mut self, index: usize, result: Result<Built, Failure>, tracker: &Mutex<Tracker>) {
        let mut tracker = tracker.lock().expect("no holder panics");
        match result.map(|built| (built.image.as_ref().map(index::verify).unwrap_or_default(), built)) {
            Ok((findings, built)) if findings.is_empty() => {
                let image = built.image.as_ref();
                tracker.succeeded(index, image.map(|image| (image.descriptor.digest.clone(), image.size())));
                self.platforms[index] = Some(built);
            }
            Ok((findings, _)) => {
                let message = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let reason = Reason::VerificationFailed;
                tracker.failed(index, Cause { reason, message, log_tail: Vec::new() });
                self.failure.get_or_insert(BuildFailure::Verification { platform: index, findings });
            }
            Err(failure) => {
                let cause = self.cause(&failure);
                tracker.failed(index, cause);
                self.failure.get_or_insert(BuildFailure::Platform { platform: index, failure });
            }
        }
    }

    /// A platform that was stopped says by what.
    fn cause(&self, failure: &Failure) -> Cause {
        let reason = failure.error.reason();
        let message = match (reason, &self.failure) {
            (Reason::Cancelled, Some(BuildFailure::TimedOut)) => {
                return Cause {
                    reason: Reason::TimedOut,
                    message: "the time limit was reached".into(),
                    log_tail: Vec::new(),
                };
            }
            (Reason::Cancelled, Some(BuildFailure::Interrupted)) => "interrupted".to_owned(),
            (Reason::Cancelled, _) => "stopped because another platform failed".to_owned(),
            _ => failure.error.to_string(),
        };
        Cause { reason, message, log_tail: failure.log_tail.clone() }
    }
}

impl BuildReport {
    /// Whether every platform succeeded and every output was written.
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.platforms.iter().all(|platform| platform.state == State::Succeeded)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use archway_engine::StepError;
    use archway_graph::NodeId;
    use archway_oci::Platform;
    use archway_report::{PlatformPlan, Strategy};
    use futures_util::FutureExt as _;

    use super::*;

    fn failure(error: StepError) -> Failure {
        Failure { node: NodeId(0), error: Arc::new(error), log_tail: Vec::new() }
    }

    /// Two platforms: the first fails at once, the second as `second` says, given both tokens.
    async fn collect<F: Future<Output = StepError> + Send + 'static>(
        on_failure: OnFailure,
        stop: Stop,
        first: Option<StepError>,
        second: impl FnOnce(CancellationToken, CancellationToken) -> F,
    ) -> (Ended, Vec<PlatformResult>) {
        let platforms: [Platform; 2] = ["linux/amd64", "linux/arm64"].map(|name| name.parse().unwrap());
        let cancels = [CancellationToken::new(), CancellationToken::new()];
        let second = second(cancels[0].clone(), cancels[1].clone());
        let own = cancels[0].clone();
        let first = async move {
            match first {
                Some(error) => error,
                None => own.cancelled().map(|()| StepError::Cancelled).await,
            }
        };
        let results =
            [first.map(|error| Err(failure(error))).boxed(), second.map(|error| Err(failure(error))).boxed()];
        let plans = platforms.clone().map(|platform| PlatformPlan {
            platform,
            strategy: Strategy::Native,
            reason: String::new(),
        });
        let tracker = Mutex::new(Tracker::new(&plans, &[], Events::ignored()));
        let runs = platforms.into_iter().zip(results).zip(cancels);
        let runs = runs.map(|((platform, result), cancel)| PlatformRun { platform, result, cancel });
        let ended = Ended::collect(runs.collect(), on_failure, &tracker, &stop).await;
        (ended, tracker.into_inner().unwrap().results().to_vec())
    }

    fn never() -> Stop {
        Stop { interrupt: CancellationToken::new(), deadline: None }
    }

    #[tokio::test]
    async fn a_failure_stops_the_others_only_if_the_policy_says_so() {
        let abort = |_, own: CancellationToken| async move {
            own.cancelled().await;
            StepError::Cancelled
        };
        let (_, results) = collect(OnFailure::Abort, never(), Some(StepError::Exit(1)), abort).await;
        let states: Vec<State> = results.iter().map(|result| result.state).collect();
        assert_eq!(states, [State::Failed, State::Skipped]);

        // What the failed platform alone still does is stopped under either policy.
        let go_on = |failed: CancellationToken, own: CancellationToken| async move {
            failed.cancelled().await;
            assert!(!own.is_cancelled());
            StepError::Exit(2)
        };
        let (ended, results) = collect(OnFailure::Continue, never(), Some(StepError::Exit(1)), go_on).await;
        assert_eq!(results[1].state, State::Failed);
        assert!(matches!(ended.failure, Some(BuildFailure::Platform { platform: 0, .. })));
    }

    #[tokio::test]
    async fn the_time_limit_and_the_user_stop_every_platform() {
        let interrupted = CancellationToken::new();
        interrupted.cancel();
        let cases = [
            (Stop { deadline: Some(Instant::now()), ..never() }, Reason::TimedOut),
            (Stop { interrupt: interrupted, ..never() }, Reason::Cancelled),
        ];
        for (stop, reason) in cases {
            let wait = |_, own: CancellationToken| async move {
                own.cancelled().await;
                StepError::Cancelled
            };
            let collected = collect(OnFailure::Continue, stop, None, wait);
            let (_, results) = tokio::time::timeout(Duration::from_secs(60), collected).await.unwrap();
            assert!(results.iter().all(|result| result.reason == Some(reason)), "{results:?}");
        }
    }
}
