//! The table at the end of a build.

use std::time::Duration;

use anstyle::{AnsiColor, Effects, Style};
use archway_report::{PlatformResult, State};

use super::plain::seconds;
use crate::table;

const HEADER: Style = Style::new().effects(Effects::DIMMED);

/// One row per platform: state, strategy, steps, size, time, digest.
pub(crate) fn summary(results: &[PlatformResult]) -> String {
    let header = ["PLATFORM", "STATE", "STRATEGY", "CACHED", "RUN", "SIZE", "TIME", "DIGEST"];
    let mut rows = vec![header.map(|name| format!("{HEADER}{name}{HEADER:#}")).to_vec()];
    rows.extend(results.iter().map(row));
    table::render(&rows)
}

fn row(result: &PlatformResult) -> Vec<String> {
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
    let dash = || "-".to_owned();
    vec![
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
    use archway_report::Strategy;

    use super::{super::label::fixtures::platform, *};

    #[test]
    fn every_platform_has_a_row_whatever_became_of_it() {
        let result = |name, state, digest| PlatformResult {
            platform: platform(name),
            state,
            strategy: Strategy::Native,
            strategy_reason: String::new(),
            reason: None,
            message: None,
            started: Some("2024-01-01T00:00:00Z".parse().unwrap()),
            finished: Some("2024-01-01T00:00:02.5Z".parse().unwrap()),
            steps_run: 2,
            steps_cached: 1,
            digest,
            size: None,
            log_tail: Vec::new(),
        };
        let results = [
            result("linux/amd64", State::Succeeded, Some(Digest::sha256(b""))),
            result("linux/arm64", State::Failed, None),
        ];
        insta::assert_snapshot!(anstream::adapter::strip_str(&summary(&results)).to_string());
    }
}
