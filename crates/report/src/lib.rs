//! What a builder tells while it works, and when it is done.
//!
//! The embedded engine, and every later builder, emits the same [`Event`]s and ends with the same
//! [`PlatformResult`]s, so that the terminal, JSON output and every other view is one code path.
//! This crate knows nothing of how anything is built.

use std::{sync::Arc, time::Duration};

use archway_oci::{Digest, Platform};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Number of log lines kept for the error report of a failed step.
pub const LOG_TAIL_LINES: usize = 20;

/// One step of the build: its position in [`Event::Planned`], or a number beyond, see [`Event::StepFound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// A step as people see it: one node of the build graph that does work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Identity within this build.
    pub id: StepId,
    /// Platforms that need this step, in request order. More than one: the step is shared.
    pub platforms: Vec<Platform>,
    /// Platform the step runs on, which is not a requested one for a `$BUILDPLATFORM` stage.
    pub runs_on: Platform,
    /// Name of the stage, or its number.
    pub stage: String,
    /// Position in its stage, from 1; 0 for work that a builder does besides the Dockerfile's.
    pub position: u32,
    /// Number of steps of its stage; 0 likewise.
    pub total: u32,
    /// The instruction, on one line: `RUN make install`.
    pub name: String,
}

/// Whether log bytes came from standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum StepOutcome {
    /// Its result was in the build cache.
    Cached,
    /// It ran.
    Done,
    /// It failed.
    Failed {
        /// Why, in one line.
        message: String,
    },
    /// It was stopped, or never started because something else failed.
    Cancelled,
}

/// Direction and purpose of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferKind {
    /// From a registry.
    Pull,
    /// From a web server.
    Download,
    /// To a registry.
    Push,
    /// To a builder on another machine: files of the context.
    Send,
}

/// Which way results go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheDirection {
    /// From a build cache to this machine.
    Import,
    /// To a build cache.
    Export,
}

/// Something that happened. Serialised, one per line, by `--progress=rawjson`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The build context is being fetched or unpacked, before anything is known of the graph.
    ContextStarted {
        /// What of it, fit to be shown.
        what: String,
    },
    /// The build context is there, or could not be had; why is the error of the build.
    ContextFinished {
        /// Whether it is there.
        succeeded: bool,
        /// How long it took.
        duration: Duration,
    },
    /// The graph is known; nothing ran yet.
    Planned {
        /// All steps, in graph order.
        steps: Vec<Step>,
        /// All requested platforms with their strategy, in request order.
        platforms: Vec<PlatformPlan>,
    },
    /// A builder on another machine has found a step; such a builder knows its steps only as it comes to them.
    StepFound {
        /// The step. Its number was not used before in this build.
        step: Step,
    },
    /// A step began (looked up in the cache already: it is running).
    StepStarted {
        /// Which.
        step: StepId,
    },
    /// Output of a step.
    StepLog {
        /// Which.
        step: StepId,
        /// Which stream.
        stream: Stream,
        /// The text, as it came; not necessarily whole lines; invalid UTF-8 replaced.
        text: String,
    },
    /// A step ended.
    StepFinished {
        /// Which.
        step: StepId,
        /// How.
        #[serde(flatten)]
        outcome: StepOutcome,
        /// How long it took.
        duration: Duration,
    },
    /// Bytes moved. Sent at most a few times a second per transfer, and when it ends.
    Transfer {
        /// What is moved: a short, stable name such as `sha256:1234567890ab` or a file name.
        name: String,
        /// Direction.
        kind: TransferKind,
        /// Bytes so far.
        current: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
        /// Whether it ended.
        done: bool,
    },
    /// A platform changed state.
    PlatformState {
        /// Which.
        platform: Platform,
        /// The new state.
        state: State,
        /// Why, if it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// The same in a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A platform failed, and is going to be tried again. It stays running.
    PlatformRetry {
        /// Which.
        platform: Platform,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why it failed.
        reason: Reason,
        /// The same in a sentence.
        message: String,
        /// Wait before the next attempt.
        delay: Duration,
    },
    /// Something the user should know, though the build goes on.
    Warning {
        /// Text.
        message: String,
    },
    /// A build cache is being read or written.
    CacheStarted {
        /// Which of the two.
        direction: CacheDirection,
        /// Where it is.
        name: String,
    },
    /// A build cache was read or written, or could not be; why is a warning, or the error of the build.
    CacheFinished {
        /// Which of the two.
        direction: CacheDirection,
        /// Where it is.
        name: String,
        /// What it came to, in a few words.
        summary: String,
        /// How long it took.
        duration: Duration,
    },
    /// A tag or output now exists.
    Published {
        /// Reference or path.
        target: String,
        /// Digest of what is there, where it has one.
        digest: Option<Digest>,
    },
}

/// Receives events; cheap to clone, never blocks the build.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Events go to `receiver`, which is called from many threads and must be quick.
    pub fn new(receiver: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receiver))
    }

    /// Events go nowhere.
    pub fn ignored() -> Self {
        Self::new(|_| {})
    }

    /// Tells the receiver.
    pub fn send(&self, event: Event) {
        (self.0)(event);
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// How a platform's steps are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Its steps run directly on this machine's processor.
    Native,
    /// No step runs on the target platform: it is assembled from native stages.
    Cross,
    /// At least one step runs under an emulator.
    Emulated,
}

impl Strategy {
    /// Lower-case name, as in `--strategy` and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cross => "cross",
            Self::Emulated => "emulated",
        }
    }
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A requested platform and how it is going to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformPlan {
    /// The platform.
    pub platform: Platform,
    /// How.
    pub strategy: Strategy,
    /// Why, in one line.
    pub reason: String,
}

/// State of a platform. `Pending → Running → Succeeded | Failed | Cancelled`, or `Pending → Skipped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Nothing of it ran.
    Pending,
    /// At least one of its steps was looked at.
    Running,
    /// Its image is complete and verified.
    Succeeded,
    /// It failed, see the reason.
    Failed,
    /// It was not attempted because another platform failed first.
    Skipped,
    /// It was stopped: by the user, or because another platform failed.
    Cancelled,
}

impl State {
    /// Whether the state machine allows `self → next`.
    pub fn may_become(self, next: Self) -> bool {
        use State::*;
        matches!(
            (self, next),
            (Pending, Running | Failed | Skipped | Cancelled) | (Running, Succeeded | Failed | Cancelled)
        )
    }

    /// Whether the platform will not change state any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled)
    }
}

/// Why a platform did not succeed; an enumerated, documented list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// A step ended with a non-zero exit code or a signal.
    StepFailed,
    /// A step used more memory than the limit of steps.
    OutOfMemory,
    /// A file named by COPY or ADD is not there, or leaves the context.
    SourceMissing,
    /// A file of the build context changed while it was read.
    SourceChanged,
    /// A git repository or a URL could not be reached, or broke off.
    FetchFailed,
    /// A base layer could not be fetched or unpacked.
    ImagePullFailed,
    /// The result could not be pushed.
    PushFailed,
    /// The image is not what the request promised.
    VerificationFailed,
    /// No emulator for the platform works here.
    EmulationUnavailable,
    /// The time limit was reached.
    TimedOut,
    /// The user, or another platform's failure, stopped it.
    Cancelled,
    /// This machine failed: disk full, store unreadable, sandbox not available.
    BuilderFailed,
    /// No daemon that builds for the platform could be reached.
    BuilderUnavailable,
    /// The daemon that built it is gone.
    BuilderLost,
}

impl Reason {
    /// All of them, in the order of their documentation.
    pub const ALL: [Self; 14] = [
        Self::StepFailed,
        Self::OutOfMemory,
        Self::SourceMissing,
        Self::SourceChanged,
        Self::FetchFailed,
        Self::ImagePullFailed,
        Self::PushFailed,
        Self::VerificationFailed,
        Self::EmulationUnavailable,
        Self::TimedOut,
        Self::Cancelled,
        Self::BuilderFailed,
        Self::BuilderUnavailable,
        Self::BuilderLost,
    ];

    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StepFailed => "StepFailed",
            Self::OutOfMemory => "OutOfMemory",
            Self::SourceMissing => "SourceMissing",
            Self::SourceChanged => "SourceChanged",
            Self::FetchFailed => "FetchFailed",
            Self::ImagePullFailed => "ImagePullFailed",
            Self::PushFailed => "PushFailed",
            Self::VerificationFailed => "VerificationFailed",
            Self::EmulationUnavailable => "EmulationUnavailable",
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
            Self::BuilderFailed => "BuilderFailed",
            Self::BuilderUnavailable => "BuilderUnavailable",
            Self::BuilderLost => "BuilderLost",
        }
    }

    /// Whether the cause lies outside of what is built, in networks and machines, so that the same build
    /// may succeed when it is tried again.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::FetchFailed
            | Self::ImagePullFailed
            | Self::PushFailed
            | Self::BuilderFailed
            | Self::BuilderUnavailable
            | Self::BuilderLost => true,
            Self::StepFailed
            | Self::OutOfMemory
            | Self::SourceMissing
            | Self::SourceChanged
            | Self::VerificationFailed
            | Self::EmulationUnavailable
            | Self::TimedOut
            | Self::Cancelled => false,
        }
    }

    /// Whether somebody decided that the platform ends: trying again would be against their will.
    pub fn is_decision(self) -> bool {
        matches!(self, Self::TimedOut | Self::Cancelled)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformResult {
    /// The platform.
    pub platform: Platform,
    /// Final state.
    pub state: State,
    /// How it was built.
    pub strategy: Strategy,
    /// Why that way.
    pub strategy_reason: String,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When its first step was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it reached its final state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// How often it was started: 0 if never, more than 1 if it was tried again.
    #[serde(default)]
    pub attempts: u32,
    /// Steps that ran.
    pub steps_run: u32,
    /// Steps found in the cache.
    pub steps_cached: u32,
    /// Digest of the image manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Config and compressed layers, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Last lines of the failed step's log, at most [`LOG_TAIL_LINES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] =
        [State::Pending, State::Running, State::Succeeded, State::Failed, State::Skipped, State::Cancelled];

    #[test]
    fn final_states_never_change() {
        for from in STATES.into_iter().filter(|s| s.is_final()) {
            for to in STATES {
                assert!(!from.may_become(to), "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn only_a_running_platform_succeeds() {
        let sources: Vec<State> = STATES.into_iter().filter(|s| s.may_become(State::Succeeded)).collect();
        assert_eq!(sources, [State::Running]);
    }

    #[test]
    fn reasons_have_one_name_everywhere() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }

    #[test]
    fn what_the_source_or_somebody_causes_is_not_tried_again() {
        let retryable: Vec<&str> =
            Reason::ALL.into_iter().filter(|reason| reason.is_retryable()).map(Reason::as_str).collect();
        assert_eq!(
            retryable,
            [
                "FetchFailed",
                "ImagePullFailed",
                "PushFailed",
                "BuilderFailed",
                "BuilderUnavailable",
                "BuilderLost"
            ]
        );
        assert!(Reason::ALL.into_iter().all(|reason| !(reason.is_retryable() && reason.is_decision())));
    }

    #[test]
    fn a_state_has_a_reason_only_where_there_is_one() {
        let event = |reason| Event::PlatformState {
            platform: "linux/arm64".parse().unwrap(),
            state: State::Failed,
            reason,
            message: None,
        };
        assert!(serde_json::to_value(event(None)).unwrap().get("reason").is_none());
        assert_eq!(serde_json::to_value(event(Some(Reason::TimedOut))).unwrap()["reason"], "TimedOut");
    }

    #[test]
    fn events_are_one_flat_json_object() {
        let event = Event::StepFinished {
            step: StepId(3),
            outcome: StepOutcome::Failed { message: "exit code: 2".into() },
            duration: Duration::from_millis(1500),
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], "step_finished");
        assert_eq!(json["outcome"], "failed");
        assert_eq!(json["message"], "exit code: 2");
    }
}
