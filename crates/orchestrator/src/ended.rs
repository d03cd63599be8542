//! How the platforms of a build end: what a failure means for the others, what is tried again, and what
//! happens when time is over.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use archway_engine::Built;
use archway_report::Reason;
use futures_util::{
    FutureExt as _, StreamExt as _, TryFutureExt as _, future::BoxFuture, stream::FuturesUnordered,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    build::BuildFailure,
    failure::Failure,
    index,
    request::{BuildRequest, OnFailure},
    retry::Retry,
    tracker::{Cause, Tracker},
};

/// How a platform ends.
pub(crate) type PlatformEnd = BoxFuture<'static, Result<Built, Failure>>;

/// A platform that is being built, by whomever.
pub(crate) struct PlatformRun {
    /// Its end. Dropping the future does not stop it; `cancel` does.
    pub(crate) result: PlatformEnd,
    /// Tries again, after `result` was a failure.
    pub(crate) again: Arc<dyn Fn() -> PlatformEnd + Send + Sync>,
    /// Stops what no other platform needs.
    pub(crate) cancel: CancellationToken,
}

impl From<archway_engine::PlatformRun> for PlatformRun {
    fn from(run: archway_engine::PlatformRun) -> Self {
        let again = run.again;
        Self {
            result: run.result.map_err(Failure::from).boxed(),
            again: Arc::new(move || again().map_err(Failure::from).boxed()),
            cancel: run.cancel,
        }
    }
}

/// What stops a build from outside.
pub(crate) struct Stop {
    pub(crate) interrupt: CancellationToken,
    pub(crate) deadline: Option<Instant>,
}

impl Stop {
    /// Ends when the build has to, and says why.
    pub(crate) async fn wait(&self) -> BuildFailure {
        tokio::select! {
            biased;
            () = self.interrupt.cancelled() => BuildFailure::Interrupted,
            () = reached(self.deadline) => BuildFailure::TimedOut,
        }
    }
}

/// Ends at the deadline, if there is one.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What was decided about failures before the build.
pub(crate) struct Policy {
    on_failure: OnFailure,
    retry: Retry,
    /// For each platform: how long it may take, and when that is over.
    limits: Vec<Option<(Duration, Instant)>>,
}

impl Policy {
    /// That of a build that began at `start`.
    pub(crate) fn of(request: &BuildRequest, start: Instant) -> Self {
        let limit = |platform| request.platform_timeouts.get(platform).map(|limit| (*limit, start + *limit));
        Self {
            on_failure: request.on_failure,
            retry: request.retry.clone(),
            limits: request.platforms.iter().map(limit).collect(),
        }
    }
}

/// How the platforms ended.
pub(crate) struct Ended {
    /// In request order; those that did not succeed are `None`.
    pub(crate) platforms: Vec<Option<Built>>,
    /// Why, in the order in which it happened. Platforms that were only stopped are not among them.
    pub(crate) failures: Vec<BuildFailure>,
}

impl Ended {
    /// Waits for every platform. After a failure that is not tried again the policy decides about the
    /// others.
    pub(crate) async fn collect(
        runs: Vec<PlatformRun>,
        policy: &Policy,
        tracker: &Mutex<Tracker>,
        stop: &Stop,
    ) -> Self {
        let mut collecting = Collecting::start(runs, policy, tracker);
        let mut stopped = false;
        loop {
            tokio::select! {
                biased;
                failure = stop.wait(), if !stopped => {
                    stopped = true;
                    collecting.stop(failure);
                }
                next = collecting.pending.next() => match next {
                    Some((index, moment)) => collecting.observe(index, moment),
                    None => return collecting.ended,
                },
            }
        }
    }

    /// What becomes of what succeeded under this policy.
    pub(crate) fn outcome(&self, on_failure: OnFailure) -> Outcome {
        let is_of_a_platform = |failure: &BuildFailure| failure.platform().is_some();
        let is_left =
            self.failures.iter().all(is_of_a_platform) && self.platforms.iter().any(Option::is_some);
        match on_failure {
            _ if self.failures.is_empty() => Outcome::Published,
            OnFailure::PublishPartial if is_left => Outcome::Published,
            OnFailure::Continue if is_left => Outcome::Kept,
            OnFailure::Abort | OnFailure::Continue | OnFailure::PublishPartial => Outcome::Nothing,
        }
    }
}

/// What becomes of platforms that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The outputs are written, then the build caches.
    Published,
    /// Only the build caches are.
    Kept,
    /// Whoever wanted the build to end at once does not wait for caches.
    Nothing,
}

/// Something that happens to a platform.
enum Moment {
    /// An attempt came to its end.
    Ended(Box<Result<Built, Failure>>),
    /// Its time is over. The rest ends when its steps have.
    TimeIsOver { rest: BoxFuture<'static, ()> },
    /// Nothing of it goes on.
    Gone,
}

struct Collecting<'a> {
    policy: &'a Policy,
    tracker: &'a Mutex<Tracker>,
    platforms: Vec<Platform>,
    pending: FuturesUnordered<BoxFuture<'static, (usize, Moment)>>,
    /// What stopped all platforms from outside.
    stopped_by: Option<Reason>,
    ended: Ended,
}

/// The ways to influence a platform that is being built.
struct Platform {
    cancel: CancellationToken,
    again: Arc<dyn Fn() -> PlatformEnd + Send + Sync>,
    deadline: Option<Instant>,
}

impl<'a> Collecting<'a> {
    fn start(runs: Vec<PlatformRun>, policy: &'a Policy, tracker: &'a Mutex<Tracker>) -> Self {
        let mut collecting = Self {
            policy,
            tracker,
            platforms: Vec::new(),
            pending: FuturesUnordered::new(),
            stopped_by: None,
            ended: Ended { platforms: runs.iter().map(|_| None).collect(), failures: Vec::new() },
        };
        for (index, run) in runs.into_iter().enumerate() {
            let deadline = policy.limits.get(index).copied().flatten().map(|(_, deadline)| deadline);
            collecting.platforms.push(Platform { cancel: run.cancel, again: run.again, deadline });
            collecting.watch(index, run.result);
        }
        collecting
    }

    /// Waits for the end of an attempt, and for the end of its time.
    fn watch(&mut self, index: usize, mut attempt: PlatformEnd) {
        let deadline = self.platforms[index].deadline;
        let watching = async move {
            tokio::select! {
                biased;
                result = &mut attempt => (index, Moment::Ended(Box::new(result))),
                () = reached(deadline) => (index, Moment::TimeIsOver { rest: attempt.map(drop).boxed() }),
            }
        };
        self.pending.push(watching.boxed());
    }

    fn observe(&mut self, index: usize, moment: Moment) {
        match moment {
            Moment::Ended(result) => match *result {
                Ok(built) => self.built(index, built),
                Err(failure) => self.failed(index, failure),
            },
            Moment::TimeIsOver { rest } => {
                self.pending.push(rest.map(move |()| (index, Moment::Gone)).boxed());
                self.time_is_over(index);
            }
            Moment::Gone => {}
        }
    }

    /// A platform has succeeded if its image is what was asked for.
    fn built(&mut self, index: usize, built: Built) {
        let image = built.image.as_ref();
        let findings = image.map(index::verify).unwrap_or_default();
        if findings.is_empty() {
            let image = image.map(|image| (image.descriptor.digest.clone(), image.size()));
            self.tracker().succeeded(index, image);
            self.ended.platforms[index] = Some(built);
            return;
        }
        let message = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let cause = Cause { reason: Reason::VerificationFailed, message, log_tail: Vec::new() };
        self.given_up(index, cause, Some(BuildFailure::Verification { platform: index, findings }));
    }

    fn failed(&mut self, index: usize, failure: Failure) {
        let cause = self.cause(&failure);
        let attempt = self.tracker().results()[index].attempts.max(1);
        let is_wanted = !self.platforms[index].cancel.is_cancelled();
        if let Some(delay) = self.policy.retry.delay(cause.reason, attempt).filter(|_| is_wanted) {
            self.tracker().retried(index, cause, delay);
            self.try_again(index, failure, delay);
            return;
        }
        // One that was stopped did not fail: whatever stopped it did.
        let is_own = !cause.reason.is_decision() || self.ended.failures.is_empty();
        let failure = is_own.then_some(BuildFailure::Platform { platform: index, failure });
        self.given_up(index, cause, failure);
    }

    fn time_is_over(&mut self, index: usize) {
        let (limit, _) = self.policy.limits[index].expect("a limit was reached");
        let message = format!("its time limit of {limit:?} was reached");
        let cause = Cause { reason: Reason::TimedOut, message, log_tail: Vec::new() };
        let failure = BuildFailure::PlatformTimedOut { platform: index, limit };
        self.given_up(index, cause, Some(failure));
    }

    /// The platform does not succeed any more.
    fn given_up(&mut self, index: usize, cause: Cause, failure: Option<BuildFailure>) {
        self.tracker().failed(index, cause);
        // Its other steps may still run.
        self.platforms[index].cancel.cancel();
        if let Some(failure) = failure {
            self.ended.failures.push(failure);
            if self.policy.on_failure == OnFailure::Abort {
                self.cancel_all();
            }
        }
    }

    fn try_again(&mut self, index: usize, failure: Failure, delay: Duration) {
        let Platform { cancel, again, .. } = &self.platforms[index];
        let (cancel, again) = (cancel.clone(), again.clone());
        let attempt = async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(failure.into_cancelled()),
                () = tokio::time::sleep(delay) => again().await,
            }
        };
        self.watch(index, attempt.boxed());
    }

    fn stop(&mut self, failure: BuildFailure) {
        self.stopped_by = match failure {
            BuildFailure::TimedOut => Some(Reason::TimedOut),
            _ => Some(Reason::Cancelled),
        };
        self.ended.failures.push(failure);
        self.cancel_all();
    }

    fn cancel_all(&self) {
        self.platforms.iter().for_each(|platform| platform.cancel.cancel());
    }

    /// A platform that was stopped says by what.
    fn cause(&self, failure: &Failure) -> Cause {
        let (reason, message) = match (failure.reason(), self.stopped_by) {
            (Reason::Cancelled, Some(Reason::TimedOut)) => {
                (Reason::TimedOut, "the time limit of the build was reached".to_owned())
            }
            (Reason::Cancelled, Some(_)) => (Reason::Cancelled, "interrupted".to_owned()),
            (Reason::Cancelled, None) => {
                (Reason::Cancelled, "stopped because another platform failed".to_owned())
            }
            (reason, _) => {
                return Cause { reason, message: failure.message(), log_tail: failure.log_tail().to_vec() };
            }
        };
        Cause { reason, message, log_tail: Vec::new() }
    }

    fn tracker(&self) -> std::sync::MutexGuard<'a, Tracker> {
        self.tracker.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use archway_engine::StepError;
    use archway_graph::NodeId;
    use archway_report::{Events, PlatformPlan, PlatformResult, State, Strategy};

    use super::*;

    fn failure(error: StepError) -> Failure {
        archway_engine::Failure { node: NodeId(0), error: Arc::new(error), log_tail: Vec::new() }.into()
    }

    fn pull_failed() -> StepError {
        let source = archway_registry::Error::Unreachable { host: "r.example".into(), cause: "reset".into() };
        StepError::Pull { image: "base".into(), source }
    }

    /// A build of two platforms. Each attempt fails with what the platform's function says, given its number
    /// and its token.
    struct Scene {
        policy: Policy,
        stop: Stop,
        cancels: [CancellationToken; 2],
    }

    type Attempt = BoxFuture<'static, StepError>;

    impl Scene {
        fn new(on_failure: OnFailure) -> Self {
            let policy = Policy { on_failure, retry: Retry::default(), limits: vec![None, None] };
            let stop = Stop { interrupt: CancellationToken::new(), deadline: None };
            Self { policy, stop, cancels: [CancellationToken::new(), CancellationToken::new()] }
        }

        async fn collect(
            self,
            attempts: [Box<dyn Fn(u32, CancellationToken) -> Attempt + Send + Sync>; 2],
        ) -> (Ended, Vec<PlatformResult>) {
            let names = ["linux/amd64", "linux/arm64"];
            let plans = names.map(|name| PlatformPlan {
                platform: name.parse().unwrap(),
                strategy: Strategy::Native,
                reason: String::new(),
            });
            let tracker = Mutex::new(Tracker::new(&plans, &[], Events::ignored()));
            let runs = attempts.into_iter().zip(self.cancels).map(|(attempt, cancel)| {
                let (count, token) = (AtomicU32::new(0), cancel.clone());
                let again = move || -> PlatformEnd {
                    let number = count.fetch_add(1, SeqCst) + 1;
                    attempt(number, token.clone()).map(|error| Err(failure(error))).boxed()
                };
                PlatformRun { result: again(), again: Arc::new(again), cancel }
            });
            let collected = Ended::collect(runs.collect(), &self.policy, &tracker, &self.stop);
            let ended = tokio::time::timeout(Duration::from_secs(60), collected).await.expect("it ends");
            (ended, tracker.into_inner().unwrap().results().to_vec())
        }
    }

    fn fails(
        error: impl Fn(u32) -> StepError + Send + Sync + 'static,
    ) -> Box<dyn Fn(u32, CancellationToken) -> Attempt + Send + Sync> {
        Box::new(move |number, _| std::future::ready(error(number)).boxed())
    }

    /// Runs until it is stopped.
    fn runs() -> Box<dyn Fn(u32, CancellationToken) -> Attempt + Send + Sync> {
        Box::new(|_, own| async move { own.cancelled().map(|()| StepError::Cancelled).await }.boxed())
    }

    fn reasons(results: &[PlatformResult]) -> Vec<(State, Option<Reason>)> {
        results.iter().map(|result| (result.state, result.reason)).collect()
    }

    #[tokio::test]
    async fn a_failure_stops_the_others_under_abort() {
        let scene = Scene::new(OnFailure::Abort);
        let (ended, results) = scene.collect([fails(|_| StepError::Exit(1)), runs()]).await;
        let want = [(State::Failed, Some(Reason::StepFailed)), (State::Skipped, Some(Reason::Cancelled))];
        assert_eq!(reasons(&results), want);
        assert_eq!(ended.failures.len(), 1, "what was stopped is no failure of its own");
    }

    #[tokio::test]
    async fn others_go_on_under_the_other_policies() {
        for policy in [OnFailure::Continue, OnFailure::PublishPartial] {
            let scene = Scene::new(policy);
            let failed = scene.cancels[0].clone();
            // What the failed platform alone still does is stopped under any policy.
            let goes_on = move |_: u32, own: CancellationToken| {
                let failed = failed.clone();
                async move {
                    failed.cancelled().await;
                    assert!(!own.is_cancelled());
                    StepError::Exit(2)
                }
                .boxed()
            };
            let (ended, results) = scene.collect([fails(|_| StepError::Exit(1)), Box::new(goes_on)]).await;
            assert!(results.iter().all(|result| result.state == State::Failed));
            assert_eq!(ended.failures.len(), 2, "all are reported");
            assert_eq!(ended.outcome(policy), Outcome::Nothing, "nothing succeeded");
        }
    }

    #[tokio::test]
    async fn the_time_limit_and_the_user_stop_every_platform() {
        let interrupted = CancellationToken::new();
        interrupted.cancel();
        let never = CancellationToken::new();
        let cases = [
            (Stop { interrupt: never, deadline: Some(Instant::now()) }, Reason::TimedOut),
            (Stop { interrupt: interrupted, deadline: None }, Reason::Cancelled),
        ];
        for (stop, reason) in cases {
            let scene = Scene { stop, ..Scene::new(OnFailure::PublishPartial) };
            let (ended, results) = scene.collect([runs(), runs()]).await;
            assert!(results.iter().all(|result| result.reason == Some(reason)), "{results:?}");
            assert_eq!(ended.failures.len(), 1);
            assert_eq!(ended.outcome(OnFailure::PublishPartial), Outcome::Nothing);
        }
    }

    #[tokio::test]
    async fn the_user_stops_what_goes_on_after_a_failure() {
        let scene = Scene::new(OnFailure::Continue);
        let (interrupt, failed) = (scene.stop.interrupt.clone(), scene.cancels[0].clone());
        tokio::spawn(async move {
            failed.cancelled().await;
            interrupt.cancel();
        });
        let (_, results) = scene.collect([fails(|_| StepError::Exit(1)), runs()]).await;
        assert_eq!(results[1].message.as_deref(), Some("interrupted"));
    }

    #[tokio::test]
    async fn the_limit_of_a_platform_stops_it_alone() {
        for (policy, other) in
            [(OnFailure::Abort, Reason::Cancelled), (OnFailure::Continue, Reason::StepFailed)]
        {
            let mut scene = Scene::new(policy);
            scene.policy.limits[0] = Some((Duration::from_secs(600), Instant::now()));
            let over = scene.cancels[0].clone();
            let second = move |_: u32, own: CancellationToken| {
                let over = over.clone();
                async move {
                    over.cancelled().await;
                    if own.is_cancelled() { StepError::Cancelled } else { StepError::Exit(1) }
                }
                .boxed()
            };
            let (ended, results) = scene.collect([runs(), Box::new(second)]).await;
            assert_eq!(results[0].reason, Some(Reason::TimedOut));
            assert_eq!(results[0].message.as_deref(), Some("its time limit of 600s was reached"));
            assert_eq!(results[1].reason, Some(other), "{policy:?}");
            assert!(matches!(ended.failures[0], BuildFailure::PlatformTimedOut { platform: 0, .. }));
        }
    }

    #[tokio::test]
    async fn what_is_worth_it_is_tried_again_until_that_is_enough() {
        let mut scene = Scene::new(OnFailure::Continue);
        scene.policy.retry.times = 1;
        // The first fails for another reason in its second attempt, the second always for the same.
        let first = |number| if number == 1 { pull_failed() } else { StepError::Exit(1) };
        let (ended, results) = scene.collect([fails(first), fails(|_| pull_failed())]).await;
        assert_eq!([results[0].attempts, results[1].attempts], [2, 2]);
        let want =
            [(State::Failed, Some(Reason::StepFailed)), (State::Failed, Some(Reason::ImagePullFailed))];
        assert_eq!(reasons(&results), want);
        assert_eq!(ended.failures.len(), 2);
    }

    #[tokio::test]
    async fn a_platform_that_waits_for_its_next_attempt_can_be_stopped() {
        let mut scene = Scene::new(OnFailure::Abort);
        scene.policy.retry = Retry { times: 1000, reasons: None };
        let (_, results) = scene.collect([fails(|_| pull_failed()), fails(|_| StepError::Exit(1))]).await;
        assert_eq!(results[0].reason, Some(Reason::Cancelled));
        assert_eq!(results[1].reason, Some(Reason::StepFailed));
    }
}
