//! The state of each platform during a build: the one place where states change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use archway_oci::{Digest, Platform};
use archway_report::{Event, Events, PlatformPlan, PlatformResult, Reason, State, Step, StepId, StepOutcome};
use jiff::Timestamp;

/// Follows the events of a build and keeps one [`PlatformResult`] per requested platform.
///
/// Illegal transitions (a late event of a platform that already failed, say) change nothing.
#[derive(Debug)]
pub(crate) struct Tracker {
    results: Vec<PlatformResult>,
    /// For each step: indexes into `results` of the platforms that need it.
    needed_by: BTreeMap<StepId, Vec<usize>>,
    /// Work that a builder does besides the steps: it makes a platform run, and counts as no step.
    besides: BTreeSet<StepId>,
    events: Events,
}

/// Why a platform did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) log_tail: Vec<String>,
}

impl Tracker {
    /// Everything is pending.
    pub(crate) fn new(platforms: &[PlatformPlan], steps: &[Step], events: Events) -> Self {
        let results = platforms.iter().map(pending).collect();
        let (needed_by, besides) = (BTreeMap::new(), BTreeSet::new());
        let mut tracker = Self { results, needed_by, besides, events };
        steps.iter().for_each(|step| tracker.found(step));
        tracker
    }

    /// Takes note of what a step does.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::StepFound { step } => self.found(step),
            Event::StepStarted { step } => self.each(*step, |tracker, index| {
                tracker.change(index, State::Running);
            }),
            Event::StepFinished { step, .. } if self.besides.contains(step) => {}
            Event::StepFinished { step, outcome, .. } => self.each(*step, |tracker, index| match outcome {
                StepOutcome::Cached => tracker.results[index].steps_cached += 1,
                StepOutcome::Done => tracker.results[index].steps_run += 1,
                StepOutcome::Failed { .. } | StepOutcome::Cancelled => {}
            }),
            _ => {}
        }
    }

    /// The platform is built; its image, if one was made, is complete and verified: digest and size.
    pub(crate) fn succeeded(&mut self, index: usize, image: Option<(Digest, u64)>) {
        // An image without a single step of its own was never seen running.
        self.change(index, State::Running);
        if self.change(index, State::Succeeded) {
            (self.results[index].digest, self.results[index].size) = image.unzip();
        }
    }

    /// The platform failed, or was cancelled if that is the reason.
    pub(crate) fn failed(&mut self, index: usize, cause: Cause) {
        let result = &self.results[index];
        let state = match (cause.reason, result.state) {
            (Reason::Cancelled, State::Pending) => State::Skipped,
            (Reason::Cancelled, _) => State::Cancelled,
            _ => State::Failed,
        };
        if !result.state.may_become(state) {
            return;
        }
        let result = &mut self.results[index];
        result.reason = Some(cause.reason);
        result.message = Some(cause.message);
        result.log_tail = cause.log_tail;
        self.change(index, state);
    }

    /// The platform failed, and is tried again after `delay`.
    pub(crate) fn retried(&mut self, index: usize, cause: Cause, delay: Duration) {
        // What fails before its first step was never seen running.
        self.change(index, State::Running);
        let result = &mut self.results[index];
        let (attempt, platform) = (result.attempts, result.platform.clone());
        result.attempts += 1;
        let Cause { reason, message, .. } = cause;
        self.events.send(Event::PlatformRetry { platform, attempt, reason, message, delay });
    }

    /// The results so far, in request order.
    pub(crate) fn results(&self) -> &[PlatformResult] {
        &self.results
    }

    fn found(&mut self, step: &Step) {
        let index = |platform: &Platform| self.results.iter().position(|result| result.platform == *platform);
        let needed_by = step.platforms.iter().filter_map(index).collect();
        self.needed_by.insert(step.id, needed_by);
        if step.position == 0 {
            self.besides.insert(step.id);
        }
    }

    fn each(&mut self, step: StepId, mut act: impl FnMut(&mut Self, usize)) {
        for index in self.needed_by.get(&step).cloned().unwrap_or_default() {
            act(self, index);
        }
    }

    fn change(&mut self, index: usize, next: State) -> bool {
        let result = &mut self.results[index];
        if !result.state.may_become(next) {
            return false;
        }
        let now = Timestamp::now();
        if next == State::Running {
            result.started = Some(now);
        }
        if matches!(next, State::Running | State::Failed) {
            result.attempts = result.attempts.max(1);
        }
        if next.is_final() {
            result.finished = Some(now);
        }
        result.state = next;
        self.events.send(Event::PlatformState {
            platform: result.platform.clone(),
            state: next,
            reason: result.reason,
            message: result.message.clone(),
        });
        true
    }
}

fn pending(plan: &PlatformPlan) -> PlatformResult {
    PlatformResult {
        platform: plan.platform.clone(),
        state: State::Pending,
        strategy: plan.strategy,
        strategy_reason: plan.reason.clone(),
        reason: None,
        message: None,
        started: None,
        finished: None,
        attempts: 0,
        steps_run: 0,
        steps_cached: 0,
        digest: None,
        size: None,
        log_tail: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use archway_report::Strategy;

    use super::*;

    fn platform(architecture: &str) -> Platform {
        Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() }
    }

    fn tracker(events: Events) -> Tracker {
        let plans = ["amd64", "arm64"].map(|architecture| PlatformPlan {
            platform: platform(architecture),
            strategy: Strategy::Native,
            reason: String::new(),
        });
        let step = |id, platforms: &[&str]| Step {
            id: StepId(id),
            platforms: platforms.iter().map(|p| platform(p)).collect(),
            runs_on: platform("amd64"),
            stage: "0".into(),
            position: 1,
            total: 1,
            name: "RUN true".into(),
        };
        Tracker::new(&plans, &[step(0, &["amd64", "arm64"]), step(1, &["arm64"])], events)
    }

    fn finished(step: u32, outcome: StepOutcome) -> Event {
        Event::StepFinished { step: StepId(step), outcome, duration: Duration::ZERO }
    }

    fn cause(reason: Reason) -> Cause {
        Cause { reason, message: "why".into(), log_tail: vec!["last line".into()] }
    }

    #[test]
    fn a_shared_step_counts_for_each_platform_that_needs_it() {
        let mut tracker = tracker(Events::ignored());
        tracker.observe(&Event::StepStarted { step: StepId(0) });
        tracker.observe(&finished(0, StepOutcome::Cached));
        tracker.observe(&finished(1, StepOutcome::Done));
        let counts: Vec<_> = tracker.results().iter().map(|r| (r.steps_cached, r.steps_run)).collect();
        assert_eq!(counts, [(1, 0), (1, 1)]);
    }

    #[test]
    fn a_platform_that_never_ran_is_skipped_not_cancelled() {
        let mut tracker = tracker(Events::ignored());
        tracker.observe(&Event::StepStarted { step: StepId(1) });
        tracker.failed(0, cause(Reason::Cancelled));
        tracker.failed(1, cause(Reason::Cancelled));
        let states: Vec<_> = tracker.results().iter().map(|r| r.state).collect();
        assert_eq!(states, [State::Skipped, State::Cancelled]);
    }

    #[test]
    fn the_first_end_is_the_end() {
        let (sender, changes) = mpsc::channel();
        let mut tracker = tracker(Events::new(move |event| sender.send(event).unwrap()));
        tracker.failed(0, cause(Reason::StepFailed));
        tracker.succeeded(0, Some((Digest::sha256(b""), 1)));
        tracker.failed(0, cause(Reason::Cancelled));
        let result = &tracker.results()[0];
        assert_eq!((result.state, result.reason), (State::Failed, Some(Reason::StepFailed)));
        assert_eq!(result.digest, None);
        assert_eq!(changes.try_iter().count(), 1);
    }

    #[test]
    fn a_retry_is_told_and_counted_and_no_change_of_state() {
        let (sender, events) = mpsc::channel();
        let mut tracker = tracker(Events::new(move |event| sender.send(event).unwrap()));
        tracker.retried(0, cause(Reason::ImagePullFailed), Duration::from_secs(1));
        tracker.retried(0, cause(Reason::FetchFailed), Duration::from_secs(2));
        tracker.succeeded(0, None);
        tracker.failed(1, cause(Reason::Cancelled));
        let attempts: Vec<u32> = tracker.results().iter().map(|result| result.attempts).collect();
        assert_eq!(attempts, [3, 0], "what was skipped was not tried");
        let told: Vec<String> = events
            .try_iter()
            .map(|event| match event {
                Event::PlatformRetry { attempt, reason, delay, .. } => {
                    format!("{attempt} {reason} {delay:?}")
                }
                Event::PlatformState { state, reason, .. } => format!("{state:?} {reason:?}"),
                other => panic!("{other:?}"),
            })
            .collect();
        let skipped = "Skipped Some(Cancelled)";
        assert_eq!(
            told,
            ["Running None", "1 ImagePullFailed 1s", "2 FetchFailed 2s", "Succeeded None", skipped]
        );
    }

    #[test]
    fn success_has_times_digest_and_size() {
        let mut tracker = tracker(Events::ignored());
        tracker.succeeded(1, Some((Digest::sha256(b"x"), 42)));
        let result = &tracker.results()[1];
        assert_eq!((result.state, result.size), (State::Succeeded, Some(42)));
        assert!(result.started.is_some() && result.finished >= result.started);
    }
}
