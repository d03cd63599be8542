//! What went wrong on this machine while a daemon asked it for something.
//!
//! The daemon sees a status with a text; what it makes of it is a message in its own words. The error itself stays
//! here, so that the user sees it with its causes.

use std::{
    io,
    sync::{Arc, Mutex},
};

use archway_dockerfile::ignore::IgnoreError;
use archway_report::Reason;
use archway_source::SourceError;
use tonic::{Code, Status};

/// Problems that are kept: a daemon can make as many as it likes.
const MAX_KEPT: usize = 64;

/// Why a daemon did not get what it asked this machine for.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A file of a directory that was lent.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The patterns of files that the daemon asked for.
    #[error("the files of `{directory}` that the build needs cannot be told")]
    Patterns {
        /// Name of the directory.
        directory: String,
        /// What is wrong with one.
        source: IgnoreError,
    },
    /// The image that the daemon sent cannot be written.
    #[error("cannot write the image that the daemon sends")]
    Receive {
        /// Why.
        source: io::Error,
    },
    /// A registry, its token server, or the user's credentials for it.
    #[error(transparent)]
    Registry(#[from] archway_registry::Error),
    /// Somebody between the machines could read along.
    #[error("credentials for {host} are not sent over a connection in the clear")]
    InTheClear {
        /// The registry.
        host: String,
    },
    /// A secret that was not lent. Steps may do without.
    #[error("the secret `{id}` was not given")]
    NoSecret {
        /// Its id.
        id: String,
    },
    /// An SSH agent that was not lent. Steps may do without.
    #[error("the ssh agent `{id}` was not given")]
    NoAgent {
        /// Its id.
        id: String,
    },
    /// An SSH agent that was lent does not answer.
    #[error("cannot reach the ssh agent `{id}`")]
    Agent {
        /// Its id.
        id: String,
        /// Why.
        source: io::Error,
    },
}

impl SessionError {
    /// The class of a build that fails because of it; `None` if that depends on what the daemon was doing.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Source(SourceError::SourceChanged { .. }) => Some(Reason::SourceChanged),
            Self::Source(_) | Self::Patterns { .. } => Some(Reason::SourceMissing),
            Self::Receive { .. } => Some(Reason::BuilderFailed),
            // Pulling or pushing.
            Self::Registry(_) | Self::InTheClear { .. } => None,
            Self::NoSecret { .. } | Self::NoAgent { .. } | Self::Agent { .. } => Some(Reason::StepFailed),
        }
    }

    /// What the daemon is told. It has to be what comes back in its message about a build that fails.
    fn told(&self) -> String {
        match self {
            // Of a secret that is not found daemons keep no more than that.
            Self::NoSecret { id } => format!("secret {id}: not found"),
            _ => self.to_string(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Registry(archway_registry::Error::Unauthorized { .. }) => Code::Unauthenticated,
            Self::InTheClear { .. }
            | Self::Registry(
                archway_registry::Error::Denied { .. } | archway_registry::Error::Withheld { .. },
            ) => Code::PermissionDenied,
            Self::NoSecret { .. } | Self::NoAgent { .. } => Code::NotFound,
            // Not `Unavailable`, which daemons take for "nobody is there" and go on without.
            Self::Registry(_)
            | Self::Agent { .. }
            | Self::Source(_)
            | Self::Patterns { .. }
            | Self::Receive { .. } => Code::FailedPrecondition,
        }
    }
}

/// The problems of one session. Clones are the same list.
#[derive(Clone, Default)]
pub(crate) struct Problems(Arc<Mutex<Vec<Problem>>>);

struct Problem {
    /// What the daemon was told.
    text: String,
    error: SessionError,
}

impl Problems {
    /// Keeps an error, and makes of it what the daemon is told.
    pub(crate) fn refuse(&self, error: impl Into<SessionError>) -> Status {
        let error = error.into();
        let (code, text) = (error.code(), error.told());
        let mut kept = self.0.lock().expect("no holder panics");
        if kept.len() < MAX_KEPT {
            kept.push(Problem { text: text.clone(), error });
        }
        Status::new(code, text)
    }

    /// The problem that a daemon's message is about: a build does not fail because of all of them. Of several, the last.
    pub(crate) fn cause_of(&self, message: &str) -> Option<SessionError> {
        let mut kept = self.0.lock().expect("no holder panics");
        let found = kept.iter().rposition(|problem| message.contains(&problem.text))?;
        Some(kept.remove(found).error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_problem_that_the_daemon_tells_of() {
        let problems = Problems::default();
        for id in ["a", "b", "b"] {
            problems.refuse(SessionError::NoSecret { id: id.to_owned() });
        }
        let cause = problems.cause_of("failed to solve: secret b: not found").unwrap();
        assert!(matches!(&cause, SessionError::NoSecret { id } if id == "b"), "{cause}");
        assert!(problems.cause_of("exit code: 1").is_none(), "a build may fail for other reasons");
    }

    #[test]
    fn a_daemon_cannot_fill_the_memory() {
        let problems = Problems::default();
        for id in 0..1000 {
            problems.refuse(SessionError::NoAgent { id: id.to_string() });
        }
        assert_eq!(problems.0.lock().unwrap().len(), MAX_KEPT);
    }
}
