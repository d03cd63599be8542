//! Lines for logs: every line begins with the step it is about, `[linux/arm64 build 3/7]`.

use std::{collections::BTreeMap, time::Duration};

use archway_report::{CacheDirection, Event, State, Step, StepId, StepOutcome, TransferKind};

use super::label::step_label;
use crate::table;

/// Turns events into lines. Output of a step is printed in whole lines, so that steps do not mix.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    steps: BTreeMap<StepId, Step>,
    labels: BTreeMap<StepId, String>,
    /// Output of a step that does not end with a line break yet.
    partial: BTreeMap<StepId, String>,
    /// How many platforms there are.
    platforms: usize,
}

impl Printer {
    /// The lines to print for an event, without line breaks.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Planned { steps, platforms } => {
                self.platforms = platforms.len();
                steps.iter().for_each(|step| self.found(step));
                platforms
                    .iter()
                    .map(|plan| format!("[{}] {}: {}", plan.platform, plan.strategy, plan.reason))
                    .collect()
            }
            Event::ContextStarted { what } => vec![format!("[context] {what}")],
            Event::ContextFinished { succeeded, duration } => {
                let outcome = if *succeeded { "done" } else { "failed" };
                vec![format!("[context] {outcome} {}", seconds(*duration))]
            }
            Event::StepFound { step } => {
                self.found(step);
                Vec::new()
            }
            Event::StepStarted { step } => {
                let name = self.steps.get(step).map_or("", |step| step.name.as_str());
                vec![self.line(*step, name)]
            }
            Event::StepLog { step, text, .. } => self.log(*step, text),
            Event::StepFinished { step, outcome, duration } => {
                let mut lines: Vec<String> = match self.partial.remove(step) {
                    Some(rest) if !rest.is_empty() => vec![self.line(*step, &format!("| {rest}"))],
                    _ => Vec::new(),
                };
                lines.push(self.line(*step, &outcome_text(outcome, *duration)));
                lines
            }
            Event::Transfer { name, kind, total, done: true, current } => {
                let size = table::bytes(total.unwrap_or(*current));
                vec![format!("[{}] {name} {size}", transfer_word(*kind))]
            }
            Event::CacheStarted { direction, name } => {
                vec![format!("[cache] {} {name}", cache_word(*direction))]
            }
            Event::CacheFinished { direction, name, summary, duration } => {
                let (word, time) = (cache_word(*direction), seconds(*duration));
                vec![format!("[cache] {word} {name}: {summary} {time}")]
            }
            Event::Warning { message } => vec![format!("[warning] {message}")],
            Event::Published { target, digest } => match digest {
                Some(digest) => vec![format!("[published] {target}@{digest}")],
                None => vec![format!("[written] {target}")],
            },
            Event::PlatformState { platform, state: State::Failed, reason: Some(reason), message } => {
                let message = message.as_deref().unwrap_or_default();
                vec![format!("[{platform}] failed: {reason}: {message}")]
            }
            Event::PlatformRetry { platform, attempt, reason, message, delay } => {
                let again = format!("trying again in {}", seconds(*delay));
                vec![format!("[{platform}] attempt {attempt} failed: {reason}: {message}; {again}")]
            }
            Event::Transfer { .. } | Event::PlatformState { .. } => Vec::new(),
        }
    }

    fn found(&mut self, step: &Step) {
        self.labels.insert(step.id, step_label(step, self.platforms));
        self.steps.insert(step.id, step.clone());
    }

    fn log(&mut self, step: StepId, text: &str) -> Vec<String> {
        let mut partial = self.partial.remove(&step).unwrap_or_default();
        partial.push_str(text);
        let mut lines = Vec::new();
        while let Some(end) = partial.find('\n') {
            let rest = partial.split_off(end + 1);
            lines.push(self.line(step, &format!("| {}", partial.trim_end_matches(['\r', '\n']))));
            partial = rest;
        }
        self.partial.insert(step, partial);
        lines
    }

    fn line(&self, step: StepId, text: &str) -> String {
        let label = self.labels.get(&step).map_or("", String::as_str);
        format!("[{label}] {text}")
    }
}

/// What a transfer does.
pub(crate) fn transfer_word(kind: TransferKind) -> &'static str {
    match kind {
        TransferKind::Pull => "pulled",
        TransferKind::Download => "downloaded",
        TransferKind::Push => "pushed",
        TransferKind::Send => "sent",
    }
}

/// What is done with a build cache.
pub(crate) fn cache_word(direction: CacheDirection) -> &'static str {
    match direction {
        CacheDirection::Import => "import from",
        CacheDirection::Export => "export to",
    }
}

fn outcome_text(outcome: &StepOutcome, duration: Duration) -> String {
    match outcome {
        StepOutcome::Cached => "cached".to_owned(),
        StepOutcome::Done => format!("done {}", seconds(duration)),
        StepOutcome::Failed { message } => format!("failed {}: {message}", seconds(duration)),
        StepOutcome::Cancelled => "cancelled".to_owned(),
    }
}

/// `0.04s`, `1.2s`, `2m05s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 => format!("{seconds:.2}s"),
        1..60 => format!("{seconds:.1}s"),
        whole => format!("{}m{:02}s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use archway_report::{PlatformPlan, Reason, Strategy, Stream};

    use super::{
        super::label::fixtures::{platform, step},
        *,
    };

    #[test]
    fn every_line_says_which_step_it_is_about() {
        let plan = |text: &str, strategy| PlatformPlan {
            platform: platform(text),
            strategy,
            reason: "because".into(),
        };
        let log = |step, text: &str| Event::StepLog {
            step: StepId(step),
            stream: Stream::Stdout,
            text: text.into(),
        };
        let finished = |step, outcome| Event::StepFinished {
            step: StepId(step),
            outcome,
            duration: Duration::from_millis(1240),
        };
        let events = [
            Event::ContextStarted { what: "fetch x".into() },
            Event::ContextFinished { succeeded: true, duration: Duration::from_millis(42) },
            Event::Planned {
                steps: vec![
                    step(0, &["linux/amd64", "linux/arm64"], "build", "RUN make"),
                    step(1, &["linux/arm64"], "0", "RUN test"),
                ],
                platforms: vec![
                    plan("linux/amd64", Strategy::Native),
                    plan("linux/arm64", Strategy::Emulated),
                ],
            },
            Event::StepStarted { step: StepId(0) },
            log(0, "one\ntw"),
            Event::StepStarted { step: StepId(1) },
            log(1, "no line break"),
            log(0, "o\n"),
            finished(0, StepOutcome::Done),
            finished(1, StepOutcome::Failed { message: "exit code 2".into() }),
            Event::PlatformRetry {
                platform: platform("linux/arm64"),
                attempt: 1,
                reason: Reason::StepFailed,
                message: "exit code 2".into(),
                delay: Duration::from_secs(1),
            },
            Event::PlatformState {
                platform: platform("linux/arm64"),
                state: State::Failed,
                reason: Some(Reason::TimedOut),
                message: Some("too late".into()),
            },
            Event::Warning { message: "careful".into() },
        ];
        let mut printer = Printer::default();
        let lines: Vec<String> = events.iter().flat_map(|event| printer.lines(event)).collect();
        assert_eq!(
            lines,
            [
                "[context] fetch x",
                "[context] done 0.04s",
                "[linux/amd64] native: because",
                "[linux/arm64] emulated: because",
                "[all build 1/4] RUN make",
                "[all build 1/4] | one",
                "[linux/arm64 2/4] RUN test",
                "[all build 1/4] | two",
                "[all build 1/4] done 1.2s",
                "[linux/arm64 2/4] | no line break",
                "[linux/arm64 2/4] failed 1.2s: exit code 2",
                "[linux/arm64] attempt 1 failed: StepFailed: exit code 2; trying again in 1.0s",
                "[linux/arm64] failed: TimedOut: too late",
                "[warning] careful",
            ]
        );
    }

    #[test]
    fn durations_are_short() {
        for (milliseconds, want) in [(4, "0.00s"), (42, "0.04s"), (1240, "1.2s"), (125_000, "2m05s")] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), want);
        }
    }
}
