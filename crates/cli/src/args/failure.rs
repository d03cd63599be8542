//! What happens when a platform fails: `--on-failure`, `--retry`, `--retry-on`, `--timeout`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use archway_oci::{Platform, platform};
use archway_orchestrator::{
    request::{BuildRequest, OnFailure},
    retry::Retry,
};
use archway_report::Reason;
use clap::{Args, ValueEnum};

use super::value;
use crate::error::CliError;

const TIMEOUT: &str = "--timeout";
const RETRY_ON: &str = "--retry-on";

/// Failures of platforms.
#[derive(Debug, Args)]
pub(crate) struct FailureArgs {
    /// What becomes of the other platforms, and of the publication, when a platform fails
    #[arg(long, value_name = "POLICY", default_value = "abort")]
    on_failure: OnFailureMode,

    /// Try a platform again, up to N times, if it failed for a reason outside of the source
    #[arg(long, value_name = "N", default_value_t = 0)]
    retry: u32,

    /// Reasons to try a platform again for, comma-separated or repeated [default: FetchFailed,
    /// ImagePullFailed,PushFailed,BuilderFailed]
    #[arg(long, value_name = "REASON", value_delimiter = ',', requires = "retry")]
    retry_on: Vec<String>,

    /// Stop the build, or only a platform, after this time (90s, 5m, 1h30m); repeatable
    #[arg(long, value_name = "[PLATFORM=]DURATION")]
    timeout: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFailureMode {
    /// Stop them, publish nothing
    Abort,
    /// Let them finish, publish nothing, report all
    Continue,
    /// Let them finish, publish what succeeded (exit code 3)
    PublishPartial,
}

impl FailureArgs {
    /// Sets what these arguments say.
    pub(super) fn apply(&self, request: &mut BuildRequest) -> Result<(), CliError> {
        request.on_failure = match self.on_failure {
            OnFailureMode::Abort => OnFailure::Abort,
            OnFailureMode::Continue => OnFailure::Continue,
            OnFailureMode::PublishPartial => OnFailure::PublishPartial,
        };
        request.retry = Retry { times: self.retry, reasons: reasons(&self.retry_on)? };
        let limits = limits(&self.timeout, &request.platforms)?;
        request.timeout = limits.build;
        request.platform_timeouts = limits.platforms;
        Ok(())
    }
}

/// `None` if no reason was named.
fn reasons(given: &[String]) -> Result<Option<BTreeSet<Reason>>, CliError> {
    let reason = |text: &String| {
        let names = Reason::ALL.map(Reason::as_str);
        let same = |reason: &Reason| reason.as_str().eq_ignore_ascii_case(text);
        let reason = Reason::ALL.into_iter().find(same);
        match reason.ok_or_else(|| value::unknown(RETRY_ON, "reason", text, &names))? {
            decided if decided.is_decision() => {
                Err(CliError::usage(RETRY_ON, format!("{decided} is a decision, which is not tried again")))
            }
            reason => Ok(reason),
        }
    };
    let reasons = given.iter().map(reason).collect::<Result<BTreeSet<Reason>, _>>()?;
    Ok((!reasons.is_empty()).then_some(reasons))
}

/// The values of `--timeout`; the last of a platform counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Limits {
    build: Option<Duration>,
    platforms: BTreeMap<Platform, Duration>,
}

fn limits(given: &[String], platforms: &[Platform]) -> Result<Limits, CliError> {
    let mut limits = Limits::default();
    for text in given {
        let (scope, time) = match text.rsplit_once('=') {
            Some((scope, time)) => (Some(scope), time),
            None => (None, text.as_str()),
        };
        let time = value::duration(time).map_err(|message| CliError::usage(TIMEOUT, message))?;
        let Some(scope) = scope else {
            limits.build = Some(time);
            continue;
        };
        let scope = platform::parse_list(&[scope]).map_err(|error| CliError::platform(TIMEOUT, &error))?;
        if let Some(foreign) = scope.iter().find(|platform| !platforms.contains(platform)) {
            let message = format!("{foreign} is not one of the platforms to build");
            return Err(CliError::usage(TIMEOUT, message));
        }
        limits.platforms.extend(scope.into_iter().map(|platform| (platform, time)));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_are_for_the_build_or_for_platforms() {
        let platforms: Vec<Platform> =
            ["linux/amd64", "linux/arm64", "linux/arm/v7"].map(|name| name.parse().unwrap()).to_vec();
        let seconds = |texts: &[&str]| {
            let limits = limits(&given(texts), &platforms).ok()?;
            let platforms = limits.platforms.into_iter();
            let platforms: Vec<(String, u64)> =
                platforms.map(|(platform, limit)| (platform.to_string(), limit.as_secs())).collect();
            Some((limits.build.map(|limit| limit.as_secs()), platforms))
        };
        assert_eq!(seconds(&[]), Some((None, vec![])));
        assert_eq!(seconds(&["5m", "90s"]), Some((Some(90), vec![])));
        let both = vec![("linux/arm64".to_owned(), 600), ("linux/arm/v7".to_owned(), 20)];
        let mut found = seconds(&["1h", "linux/aarch64,linux/arm=10m", "linux/arm/v7=20s"]).unwrap();
        found.1.sort_by_key(|(_, limit)| std::cmp::Reverse(*limit));
        assert_eq!(found, (Some(3600), both));
        for wrong in ["", "x", "linux/s390x=5m", "linux/arm46=5m", "=5m", "linux/arm64="] {
            assert_eq!(seconds(&[wrong]), None, "{wrong}");
        }
    }

    #[test]
    fn reasons_are_named_as_in_results() {
        assert_eq!(reasons(&[]).unwrap(), None);
        let some = reasons(&given(&["StepFailed", "imagepullfailed"])).unwrap();
        assert_eq!(some, Some(BTreeSet::from([Reason::StepFailed, Reason::ImagePullFailed])));
        for wrong in ["StepFaild", "TimedOut", "Cancelled", ""] {
            assert!(matches!(reasons(&given(&[wrong])), Err(CliError::Usage { .. })), "{wrong}");
        }
    }
}
