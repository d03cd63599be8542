//! Why the build of a platform failed, whoever built it.

use std::sync::Arc;

use archway_buildkit::{ConnectError, Endpoint, SolveError};
use archway_engine::StepError;
use archway_report::Reason;

use crate::Error;

/// A platform's failure.
#[derive(Debug, Clone)]
pub enum Failure {
    /// A step on this machine.
    Here(archway_engine::Failure),
    /// Something at a daemon, or on the way to it or back.
    Remote(Arc<RemoteError>),
}

/// Why a daemon, or several in turn, did not build a platform.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// None could be reached.
    #[error("no daemon of `{builder}` that builds for the platform can be reached")]
    Unavailable {
        /// The builder's name.
        builder: String,
        /// Why not, of the last one that was tried; `None`: there is none.
        source: Option<Arc<ConnectError>>,
    },
    /// The build failed there.
    #[error(transparent)]
    Solve(SolveError),
    /// Others could read along, and what would be sent is nobody else's business.
    #[error("{what} are not sent to {endpoint}, which is spoken to in the clear")]
    InTheClear {
        /// Where.
        endpoint: Endpoint,
        /// `secrets`
        what: &'static str,
    },
    /// It was built on something else than this machine resolved.
    #[error("{endpoint} did not build on the base image that was resolved, {base}")]
    OtherBase {
        /// Where it was built.
        endpoint: Endpoint,
        /// The base image.
        base: String,
    },
    /// It was built, and could not be read.
    #[error("cannot read the image that {endpoint} built")]
    Image {
        /// Where it was built.
        endpoint: Endpoint,
        /// Why.
        source: Box<Error>,
    },
}

impl Failure {
    /// One of a platform that was stopped before its next attempt.
    pub(crate) fn into_cancelled(self) -> Self {
        match self {
            Self::Here(failure) => {
                Self::Here(archway_engine::Failure { error: Arc::new(StepError::Cancelled), ..failure })
            }
            Self::Remote(_) => RemoteError::Solve(SolveError::Cancelled).into(),
        }
    }

    /// Its class.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Here(failure) => failure.error.reason(),
            Self::Remote(error) => match &**error {
                RemoteError::Unavailable { .. } => Reason::BuilderUnavailable,
                RemoteError::Solve(error) => error.reason(),
                RemoteError::InTheClear { .. } => Reason::BuilderFailed,
                RemoteError::OtherBase { .. } => Reason::VerificationFailed,
                RemoteError::Image { .. } => Reason::ImagePullFailed,
            },
        }
    }

    /// In a sentence.
    pub fn message(&self) -> String {
        match self {
            Self::Here(failure) => failure.error.to_string(),
            Self::Remote(error) => error.to_string(),
        }
    }

    /// Last lines of the failed step's output.
    pub fn log_tail(&self) -> &[String] {
        match self {
            Self::Here(failure) => &failure.log_tail,
            Self::Remote(error) => match &**error {
                RemoteError::Solve(error) => error.failed().map_or(&[], |failed| &failed.log_tail),
                _ => &[],
            },
        }
    }
}

impl From<archway_engine::Failure> for Failure {
    fn from(failure: archway_engine::Failure) -> Self {
        Self::Here(failure)
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::Remote(Arc::new(error))
    }
}
