//! Whether a platform that failed is tried again: pure decisions.

use std::{collections::BTreeSet, time::Duration};

use archway_report::Reason;

/// Wait before the second attempt; it doubles with each.
const DELAY: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Which failures are tried again, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retry {
    /// Attempts of each platform after the first.
    pub times: u32,
    /// Reasons that are worth another attempt; `None`: those of [`Reason::is_retryable`].
    pub reasons: Option<BTreeSet<Reason>>,
}

impl Retry {
    /// The wait before the next attempt of a platform that failed for `reason` in its attempt number
    /// `attempt`, counted from 1; `None` if it is not tried again.
    pub fn delay(&self, reason: Reason, attempt: u32) -> Option<Duration> {
        let is_worth_it = match &self.reasons {
            None => reason.is_retryable(),
            Some(reasons) => reasons.contains(&reason),
        };
        let is_left = attempt <= self.times;
        (is_worth_it && is_left && !reason.is_decision())
            .then(|| DELAY.saturating_mul(1 << (attempt.max(1) - 1).min(5)).min(LONGEST_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_outside_of_the_source_are_tried_again_so_often() {
        let retry = Retry { times: 2, reasons: None };
        let seconds = |reason, attempt| retry.delay(reason, attempt).map(|delay| delay.as_secs());
        assert_eq!(seconds(Reason::ImagePullFailed, 1), Some(1));
        assert_eq!(seconds(Reason::ImagePullFailed, 2), Some(2));
        assert_eq!(seconds(Reason::ImagePullFailed, 3), None);
        assert_eq!(seconds(Reason::StepFailed, 1), None);
        assert_eq!(Retry::default().delay(Reason::ImagePullFailed, 1), None);
    }

    #[test]
    fn chosen_reasons_take_the_place_of_the_others() {
        let reasons = Some(BTreeSet::from([Reason::StepFailed, Reason::TimedOut]));
        let retry = Retry { times: 1, reasons };
        assert!(retry.delay(Reason::StepFailed, 1).is_some());
        assert_eq!(retry.delay(Reason::ImagePullFailed, 1), None);
        assert_eq!(retry.delay(Reason::TimedOut, 1), None, "a limit is a decision");
    }

    #[test]
    fn waits_grow_to_half_a_minute() {
        let retry = Retry { times: u32::MAX, reasons: None };
        let seconds: Vec<u64> = [1, 2, 3, 4, 5, 6, 7, 1000]
            .into_iter()
            .filter_map(|attempt| Some(retry.delay(Reason::FetchFailed, attempt)?.as_secs()))
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
