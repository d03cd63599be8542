//! The table at the end of a build.

use std::time::Duration;

use anstyle::{AnsiColor, Effects, Style};
use archway_report::{PlatformResult, State};

use super::plain::seconds;
use crate::table;

const HEADER: Style = Style::new().effects(Effects::DIMMED);

/// One row per platform: state, strategy, steps, size, time, digest. Attempts and reasons have columns where
/// there is something to say.
pub(crate) fn summary(results: &[PlatformResult]) -> String {
    let shown = Shown {
        attempts: results.iter().any(|result| result.attempts > 1),
        reasons: results.iter().any(|result| result.reason.is_some()),
    };
    let names = ["PLATFORM", "STATE", "STRATEGY", "CACHED", "RUN", "SIZE", "TIME", "DIGEST"];
    let header = shown.columns(names.map(str::to_owned), "ATTEMPTS".to_owned(), "REASON".to_owned());
    let mut rows: Vec<Vec<String>> =
        vec![header.into_iter().map(|name| format!("{HEADER}{name}{HEADER:#}")).collect()];
    rows.extend(results.iter().map(|result| {
        let reason = result.reason.map_or_else(dash, |reason| reason.to_string());
        shown.columns(row(result), result.attempts.to_string(), reason)
    }));
    table::render(&rows)
}

/// Columns that are not always there.
struct Shown {
    attempts: bool,
    reasons: bool,
}

impl Shown {
    /// The cells of a row, with the reason behind the state, and the attempts behind the strategy.
    fn columns(&self, cells: [String; 8], attempts: String, reason: String) -> Vec<String> {
        let [platform, state, strategy, rest @ ..] = cells;
        let reason = self.reasons.then_some(reason);
        let attempts = self.attempts.then_some(attempts);
        [platform, state].into_iter().chain(reason).chain([strategy]).chain(attempts).chain(rest).collect()
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn row(result: &PlatformResult) -> [String; 8] {
    let style = match result.state {
        State::Succeeded => AnsiColor::Green.on_default(),
        State::Failed => AnsiColor::Red.on_default(),
        State::Pending | State::Running | State::Skipped | State::Cancelled => AnsiColor::Yellow.on_default(),
    };
    let state = match result.state {
        State::Pending => "pending",
        State::Running => "running",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Skipped => "skipped",
        State::Cancelled => "cancelled",
    };
    [
        result.platform.to_string(),
        format!("{style}{state}{style:#}"),
        result.strategy.to_string(),
        result.steps_cached.to_string(),
        result.steps_run.to_string(),
        result.size.map_or_else(dash, table::bytes),
        elapsed(result).map_or_else(dash, seconds),
        result.digest.as_ref().map_or_else(dash, ToString::to_string),
    ]
}

fn elapsed(result: &PlatformResult) -> Option<Duration> {
    Duration::try_from(result.finished?.since(result.started?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use archway_oci::Digest;
    use archway_report::{Reason, Strategy};

    use super::{super::label::fixtures::platform, *};

    #[test]
    fn every_platform_has_a_row_whatever_became_of_it() {
        let result = |name, state, reason, digest| PlatformResult {
            platform: platform(name),
            state,
            strategy: Strategy::Native,
            strategy_reason: String::new(),
            reason,
            message: None,
            started: Some("2024-01-01T00:00:00Z".parse().unwrap()),
            finished: Some("2024-01-01T00:00:02.5Z".parse().unwrap()),
            attempts: 1,
            steps_run: 2,
            steps_cached: 1,
            digest,
            size: None,
            log_tail: Vec::new(),
        };
        let whole = [result("linux/amd64", State::Succeeded, None, Some(Digest::sha256(b"")))];
        let failed = [
            PlatformResult { attempts: 3, ..whole[0].clone() },
            result("linux/arm64", State::Failed, Some(Reason::ImagePullFailed), None),
            result("linux/s390x", State::Skipped, Some(Reason::Cancelled), None),
        ];
        let tables =
            [summary(&whole), summary(&failed)].map(|table| anstream::adapter::strip_str(&table).to_string());
        insta::assert_snapshot!(tables.join("\n"));
    }
}
