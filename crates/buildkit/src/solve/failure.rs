//! How a build ends that does not succeed.

use archway_report::Reason;
use prost::Message as _;
use tonic::{Code, Status};

use super::progress::Progress;
use crate::{Endpoint, session::SessionError};

/// Why a build by a daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// The daemon is gone: it, its machine or the network between.
    #[error("{endpoint} is gone: {why}")]
    Lost {
        /// Where it was.
        endpoint: Endpoint,
        /// What was noticed: `no answer within 7 seconds`.
        why: String,
    },
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
    /// A command ended with another exit code than 0.
    #[error("the command ended with exit code {code}")]
    Exit {
        /// The exit code.
        code: i32,
        /// The step.
        failed: Failed,
    },
    /// The daemon did not get something that it asked this machine for.
    #[error("this machine did not give {endpoint} what the build needs")]
    Session {
        /// Where the daemon is.
        endpoint: Endpoint,
        /// Why not.
        source: SessionError,
        /// Its class.
        reason: Reason,
        /// The step, as far as it is known.
        failed: Failed,
    },
    /// Something else went wrong there.
    #[error("{message}")]
    Daemon {
        /// What the daemon says.
        message: String,
        /// Its class.
        reason: Reason,
        /// The step, as far as it is known.
        failed: Failed,
    },
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failed {
    /// Its name as the daemon has it: `[build 2/5] RUN make`.
    pub step: Option<String>,
    /// Where it is written.
    pub place: Option<Place>,
    /// Its last lines of output.
    pub log_tail: Vec<String>,
}

/// Lines of the Dockerfile, from 1, the last one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First line.
    pub first: u32,
    /// Last line.
    pub last: u32,
}

impl SolveError {
    /// What the daemon's answer to a build means. `cause` is what it did not get from this machine, if its message
    /// tells of that.
    pub(super) fn of(
        endpoint: &Endpoint,
        status: Status,
        cause: Option<SessionError>,
        progress: &Progress,
    ) -> Self {
        if is_of_connection(&status) {
            return Self::lost(endpoint, &status);
        }
        let details = Details::of(&status);
        let vertex = details.vertex.as_deref().or_else(|| progress.failed());
        let (step, log_tail) = vertex.and_then(|vertex| progress.step(vertex)).unzip();
        let failed = Failed {
            step: step.map(str::to_owned),
            place: details.place,
            log_tail: log_tail.unwrap_or_default(),
        };
        let message =
            status.message().strip_prefix("failed to solve: ").unwrap_or(status.message()).to_owned();
        if let Some(code) = exit_code(&message) {
            return Self::Exit { code, failed };
        }
        let reason = match (&failed.step, progress.is_exported()) {
            (None, true) => Reason::PushFailed,
            (step, _) => reason(&message, step.as_deref()),
        };
        if let Some(source) = cause {
            let reason = source.reason().unwrap_or(reason);
            return Self::Session { endpoint: endpoint.clone(), source, reason, failed };
        }
        Self::Daemon { message, reason, failed }
    }

    /// The daemon is gone, as a call that was not answered shows.
    pub(super) fn lost(endpoint: &Endpoint, status: &Status) -> Self {
        // The innermost cause says most: `connection reset by peer`.
        let mut cause = std::error::Error::source(status);
        let mut why = status.message().to_owned();
        while let Some(inner) = cause {
            why = inner.to_string();
            cause = inner.source();
        }
        Self::Lost { endpoint: endpoint.clone(), why }
    }

    /// Its class.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Lost { .. } => Reason::BuilderLost,
            Self::Cancelled => Reason::Cancelled,
            Self::Exit { .. } => Reason::StepFailed,
            Self::Session { reason, .. } | Self::Daemon { reason, .. } => *reason,
        }
    }

    /// The step, if it is about one.
    pub fn failed(&self) -> Option<&Failed> {
        match self {
            Self::Exit { failed, .. } | Self::Session { failed, .. } | Self::Daemon { failed, .. } => {
                Some(failed)
            }
            Self::Lost { .. } | Self::Cancelled => None,
        }
    }
}

/// Whether a call failed on its way, and not at the daemon: only what was noticed here has a cause.
fn is_of_connection(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// The exit code in `process "…" did not complete successfully: exit code: 2`.
fn exit_code(message: &str) -> Option<i32> {
    if !message.contains("did not complete successfully") {
        return None;
    }
    let (_, code) = message.rsplit_once("exit code: ")?;
    code.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The class of an error that is no exit code, by what BuildKit says: its errors have no codes for it.
fn reason(message: &str, step: Option<&str>) -> Reason {
    let says = |text: &str| message.contains(text);
    let is_copy = step.is_some_and(|step| step.contains("] COPY") || step.contains("] ADD"));
    if says("out of memory") || says("OOM") {
        Reason::OutOfMemory
    } else if says("changed while it was read") {
        Reason::SourceChanged
    } else if says("failed to push") || step.is_some_and(|step| step.starts_with("exporting")) {
        Reason::PushFailed
    } else if says("failed to calculate checksum of ref") || is_copy && says("not found") {
        Reason::SourceMissing
    } else if step
        .is_some_and(|step| step.starts_with("[internal] load metadata for") || step.contains("] FROM "))
        || says("failed to resolve source metadata")
        || says("failed to copy: ")
        || says("pull access denied")
    {
        Reason::ImagePullFailed
    } else if says("exec format error") {
        Reason::EmulationUnavailable
    } else if says("no space left on device") {
        Reason::BuilderFailed
    } else {
        Reason::StepFailed
    }
}

/// What a gRPC status of BuildKit has besides its message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Details {
    /// Digest of the vertex that failed.
    vertex: Option<String>,
    /// Where that is written.
    place: Option<Place>,
}

impl Details {
    /// Details are JSON in messages that name their Go type; those that are not understood are left out.
    fn of(status: &Status) -> Self {
        let mut found = Self::default();
        let Ok(all) = bollard_buildkit_proto::google::rpc::Status::decode(status.details()) else {
            return found;
        };
        for detail in all.details {
            if detail.type_url.contains("errdefs.Vertex") {
                let vertex: Option<Vertex> = serde_json::from_slice(&detail.value).ok();
                found.vertex = vertex.map(|vertex| vertex.digest).or(found.vertex);
            } else if detail.type_url.contains("errdefs.Source") {
                let source: Option<Source> = serde_json::from_slice(&detail.value).ok();
                let range = source.and_then(|source| source.ranges.into_iter().next());
                found.place = range.map(Place::from).or(found.place);
            }
        }
        found
    }
}

#[derive(serde::Deserialize)]
struct Vertex {
    digest: String,
}

#[derive(serde::Deserialize)]
struct Source {
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(serde::Deserialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(serde::Deserialize)]
struct Position {
    line: u32,
}

impl From<Range> for Place {
    fn from(range: Range) -> Self {
        Self { first: range.start.line, last: range.end.line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_at_the_end() {
        let message =
            r#"process "/bin/sh -c echo exit code: 4; exit 3" did not complete successfully: exit code: 3"#;
        assert_eq!(exit_code(message), Some(3));
        assert_eq!(exit_code("exit code: 3"), None);
    }

    #[test]
    fn a_connection_that_broke_is_no_failure_of_a_step() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let broken = Status::from_error(Box::new(io));
        assert!(is_of_connection(&broken));
        let SolveError::Lost { why, .. } = SolveError::lost(&"tcp://a".parse().unwrap(), &broken) else {
            panic!()
        };
        assert_eq!(why, "connection reset");
        assert!(!is_of_connection(&Status::unknown("process did not complete")));
    }

    #[test]
    fn classes_are_told_by_words() {
        let missing =
            r#"failed to compute cache key: failed to calculate checksum of ref a::b: "/x": not found"#;
        let pull = "r.example/x: failed to resolve source metadata for r.example/x: not found";
        let push = "failed to push r.example/app: unexpected status: 500";
        for (message, step, want) in [
            (missing, Some("[2/2] COPY x ."), Reason::SourceMissing),
            (pull, None, Reason::ImagePullFailed),
            (push, Some("exporting to image"), Reason::PushFailed),
            ("no credentials", Some("[internal] load metadata for r.example/x:1"), Reason::ImagePullFailed),
            ("no credentials", Some("[1/2] FROM r.example/x:1"), Reason::ImagePullFailed),
            ("write /x: no space left on device", Some("[2/2] RUN x"), Reason::BuilderFailed),
            ("something", Some("[2/2] RUN x"), Reason::StepFailed),
        ] {
            assert_eq!(reason(message, step), want, "{message}");
        }
    }
}
