//! The live view as data: events in, a frame of text out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Effects, Style};
use archway_report::{Event, PlatformPlan, Step, StepId, StepOutcome};

use super::{
    label,
    plain::{cache_word, seconds, transfer_word},
};
use crate::table;

/// Log lines shown below a running step.
const LOG_LINES: usize = 2;
/// Steps shorter than this are not shown while they run: they would only flicker.
const SHOW_AFTER: Duration = Duration::from_millis(50);
/// Work that the Dockerfile does not mention stays on the terminal if it took this long.
const SHOW_WORK_OF: Duration = Duration::from_secs(1);

const DIM: Style = Style::new().effects(Effects::DIMMED);
const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const BLUE: Style = AnsiColor::Blue.on_default();

/// A build as it is shown.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// What is being done with the build context, and since when.
    context: Option<(String, Instant)>,
    platforms: Vec<PlatformPlan>,
    steps: BTreeMap<StepId, Step>,
    running: BTreeMap<StepId, Running>,
    transfers: BTreeMap<String, (u64, Option<u64>, &'static str)>,
    done: usize,
    cached: usize,
}

#[derive(Debug)]
struct Running {
    since: Instant,
    log: Vec<String>,
    partial: String,
}

impl View {
    /// Takes note of an event. Gives the lines that stay on the terminal because of it, one row each.
    pub(crate) fn observe(&mut self, event: &Event, now: Instant, width: usize) -> Vec<String> {
        match event {
            Event::Planned { steps, platforms } => {
                self.steps = steps.iter().map(|step| (step.id, step.clone())).collect();
                self.platforms.clone_from(platforms);
                let plan = |plan: &PlatformPlan| {
                    format!("{BOLD}{}{BOLD:#} {DIM}{}: {}{DIM:#}", plan.platform, plan.strategy, plan.reason)
                };
                platforms.iter().map(plan).map(|line| fit(&line, width)).collect()
            }
            Event::ContextStarted { what } => {
                self.context = Some((what.clone(), now));
                Vec::new()
            }
            Event::ContextFinished { succeeded, duration } => {
                let Some((what, _)) = self.context.take() else { return Vec::new() };
                let mark =
                    if *succeeded { format!("{GREEN}✓{GREEN:#}") } else { format!("{RED}✗{RED:#}") };
                let line = format!("{mark} context {DIM}{}{DIM:#} {what}", seconds(*duration));
                vec![fit(&line, width)]
            }
            Event::StepFound { step } => {
                self.steps.insert(step.id, step.clone());
                Vec::new()
            }
            Event::StepStarted { step } => {
                let running = Running { since: now, log: Vec::new(), partial: String::new() };
                self.running.insert(*step, running);
                Vec::new()
            }
            Event::StepLog { step, text, .. } => {
                if let Some(running) = self.running.get_mut(step) {
                    running.push(text);
                }
                Vec::new()
            }
            Event::StepFinished { step, outcome, duration } => {
                self.running.remove(step);
                let lines = self.finished(*step, outcome, *duration);
                lines.iter().map(|line| fit(line, width)).collect()
            }
            Event::Transfer { name, kind, current, total, done } => {
                if *done {
                    self.transfers.remove(name);
                } else {
                    self.transfers.insert(name.clone(), (*current, *total, transfer_word(*kind)));
                }
                Vec::new()
            }
            Event::CacheStarted { .. } => Vec::new(),
            Event::CacheFinished { direction, name, summary, duration } => {
                let (word, time) = (cache_word(*direction), seconds(*duration));
                let line = format!("{GREEN}✓{GREEN:#} cache {DIM}{time}{DIM:#} {word} {name}: {summary}");
                vec![fit(&line, width)]
            }
            Event::Warning { message } => vec![format!("{YELLOW}warning{YELLOW:#}: {message}")],
            Event::PlatformRetry { platform, attempt, reason, message, delay } => {
                let what = format!("attempt {attempt} failed: {reason}: {message}");
                let again = format!("trying again in {}", seconds(*delay));
                vec![fit(&format!("{YELLOW}↻{YELLOW:#} {platform} {what}; {again}"), width)]
            }
            Event::PlatformState { .. } | Event::Published { .. } => Vec::new(),
        }
    }

    fn finished(&mut self, id: StepId, outcome: &StepOutcome, duration: Duration) -> Vec<String> {
        let Some(step) = self.steps.get(&id) else { return Vec::new() };
        let counts = usize::from(is_of_dockerfile(step));
        let (mark, text) = match outcome {
            StepOutcome::Cached => {
                self.done += counts;
                self.cached += counts;
                return Vec::new();
            }
            // What a builder does besides is worth a line if it took its time.
            StepOutcome::Done if counts == 0 && duration < SHOW_WORK_OF => return Vec::new(),
            StepOutcome::Done => {
                self.done += counts;
                (format!("{GREEN}✓{GREEN:#}"), seconds(duration))
            }
            // Why is said at the end, with the place in the Dockerfile.
            StepOutcome::Failed { .. } => (format!("{RED}✗{RED:#}"), seconds(duration)),
            StepOutcome::Cancelled => return Vec::new(),
        };
        vec![format!("{mark} {} {DIM}{text}{DIM:#} {}", self.place(step), step.name)]
    }

    /// The lines below the finished ones: running steps grouped by platform, transfers, a total.
    pub(crate) fn frame(&self, now: Instant, width: usize) -> Vec<String> {
        let mut running: Vec<(&Step, &Running)> = self
            .running
            .iter()
            .filter(|(_, running)| now.duration_since(running.since) >= SHOW_AFTER)
            .filter_map(|(id, running)| Some((self.steps.get(id)?, running)))
            .collect();
        running.sort_by_key(|(step, _)| (self.rank(step), step.id));
        let mut lines = Vec::new();
        if let Some((what, since)) = &self.context {
            let time = seconds(now.duration_since(*since));
            lines.push(fit(&format!("{BLUE}▸{BLUE:#} context {DIM}{time}{DIM:#} {what}"), width));
        }
        for (step, running) in running {
            let time = seconds(now.duration_since(running.since));
            let place = self.place(step);
            lines.push(fit(&format!("{BLUE}▸{BLUE:#} {place} {DIM}{time}{DIM:#} {}", step.name), width));
            for line in &running.log {
                lines.push(fit(&format!("    {DIM}{line}{DIM:#}"), width));
            }
        }
        for (name, (current, total, word)) in &self.transfers {
            let total = total.map(|total| format!(" / {}", table::bytes(total))).unwrap_or_default();
            lines.push(fit(
                &format!("{BLUE}↕{BLUE:#} {word} {name} {}{total}", table::bytes(*current)),
                width,
            ));
        }
        if !self.steps.is_empty() {
            let steps = self.steps.values().filter(|step| is_of_dockerfile(step)).count();
            lines.push(format!("{DIM}{}/{steps} steps, {} cached{DIM:#}", self.done, self.cached));
        }
        lines
    }

    fn place(&self, step: &Step) -> String {
        format!("{DIM}[{DIM:#}{}{DIM}]{DIM:#}", label::step_label(step, self.platforms.len()))
    }

    /// Steps of the same platform stand together, in request order; shared ones first.
    fn rank(&self, step: &Step) -> usize {
        match step.platforms.as_slice() {
            [only] => 1 + self.platforms.iter().position(|plan| plan.platform == *only).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Running {
    fn push(&mut self, text: &str) {
        self.partial.push_str(text);
        while let Some(end) = self.partial.find('\n') {
            let rest = self.partial.split_off(end + 1);
            // What follows a carriage return would have overwritten what is before it.
            let line = self.partial.trim_end_matches(['\r', '\n']);
            let line = line.rsplit('\r').next().unwrap_or(line);
            self.log.push(anstream::adapter::strip_str(line).to_string());
            self.partial = rest;
        }
        let surplus = self.log.len().saturating_sub(LOG_LINES);
        self.log.drain(..surplus);
    }
}

/// Whether a step is one that the Dockerfile mentions.
fn is_of_dockerfile(step: &Step) -> bool {
    step.position > 0
}

/// Cuts a line to what the terminal can show in one row, styles not counted.
pub(crate) fn fit(line: &str, width: usize) -> String {
    if table::visible(line) <= width {
        return line.to_owned();
    }
    let mut visible = 0;
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            text.push(character);
            for part in characters.by_ref() {
                text.push(part);
                if part.is_ascii_alphabetic() {
                    break;
                }
            }
            continue;
        }
        visible += 1;
        if visible < width {
            text.push(character);
        } else if visible == width {
            text.push('…');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use archway_report::{Strategy, Stream};

    use super::{
        super::label::fixtures::{platform, step},
        *,
    };

    fn view(start: Instant) -> View {
        let plan = |text| PlatformPlan {
            platform: platform(text),
            strategy: Strategy::Native,
            reason: "why".into(),
        };
        let mut view = View::default();
        let steps = vec![
            step(0, &["linux/amd64", "linux/arm64"], "build", "RUN make"),
            step(1, &["linux/arm64"], "0", "RUN test"),
            step(2, &["linux/amd64"], "0", "RUN test"),
        ];
        let platforms = vec![plan("linux/amd64"), plan("linux/arm64")];
        view.observe(&Event::Planned { steps, platforms }, start, 80);
        view
    }

    fn strip(lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn running_steps_stand_by_platform_with_their_last_lines() {
        let start = Instant::now();
        let mut view = view(start);
        for id in [1, 2, 0] {
            view.observe(&Event::StepStarted { step: StepId(id) }, start, 80);
        }
        let text = "one\ntwo\n10%\r20%\r30%\npart".to_owned();
        view.observe(&Event::StepLog { step: StepId(1), stream: Stream::Stdout, text }, start, 80);
        let frame = strip(&view.frame(start + Duration::from_secs(2), 40));
        assert_eq!(
            frame,
            [
                "▸ [all build 1/4] 2.0s RUN make",
                "▸ [linux/amd64 3/4] 2.0s RUN test",
                "▸ [linux/arm64 2/4] 2.0s RUN test",
                "    two",
                "    30%",
                "0/3 steps, 0 cached",
            ]
        );
    }

    #[test]
    fn finished_steps_stay_and_cached_ones_are_only_counted() {
        let start = Instant::now();
        let mut view = view(start);
        let finished = |step, outcome| Event::StepFinished {
            step: StepId(step),
            outcome,
            duration: Duration::from_secs(3),
        };
        assert!(view.observe(&finished(0, StepOutcome::Cached), start, 80).is_empty());
        let done = view.observe(&finished(1, StepOutcome::Done), start, 80);
        assert_eq!(strip(&done), ["✓ [linux/arm64 2/4] 3.0s RUN test"]);
        assert_eq!(strip(&view.frame(start, 40)), ["2/3 steps, 1 cached"]);
    }

    #[test]
    fn a_line_never_wraps() {
        let line = format!("{BOLD}bold{BOLD:#} and a long rest");
        let cut = fit(&line, 8);
        assert_eq!(anstream::adapter::strip_str(&cut).to_string(), "bold an…");
        for (width, expected) in [(7, "bold a…"), (8, "bold and"), (9, "bold and")] {
            let shown = fit(&format!("{BOLD}bold{BOLD:#} and"), width);
            assert_eq!(anstream::adapter::strip_str(&shown).to_string(), expected);
        }
    }
}
