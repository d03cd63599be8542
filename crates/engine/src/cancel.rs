//! When a step stops: a step that several platforms need goes on as long as one of them wants it.

use tokio_util::sync::CancellationToken;

/// Cancelled when all of its platforms are.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    platforms: Vec<CancellationToken>,
}

impl Cancel {
    pub(crate) fn new(platforms: Vec<CancellationToken>) -> Self {
        Self { platforms }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.platforms.iter().all(CancellationToken::is_cancelled)
    }

    /// Ends when [`Self::is_cancelled`] is true.
    pub(crate) async fn cancelled(&self) {
        for platform in &self.platforms {
            platform.cancelled().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_platform_that_wants_the_step_is_enough() {
        let (one, other) = (CancellationToken::new(), CancellationToken::new());
        let cancel = Cancel::new(vec![one.clone(), other.clone()]);
        other.cancel();
        assert!(!cancel.is_cancelled() && cancel.cancelled().now_or_never().is_none());
        one.cancel();
        assert!(cancel.is_cancelled() && cancel.cancelled().now_or_never().is_some());
    }
}
