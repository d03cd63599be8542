//! Why a registry did not do what was asked.

use std::{io, time::Duration};

use archway_oci::Digest;

/// A registry operation failed. Texts never hold credentials, nor the query of a URL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry says that it does not have this.
    #[error("{what} is not in {host}")]
    NotFound {
        /// Registry host.
        host: String,
        /// Repository with tag or digest.
        what: String,
    },
    /// Credentials are missing or wrong.
    #[error("{host} wants credentials for {scope}; {tried}")]
    Unauthorized {
        /// Registry host.
        host: String,
        /// What was asked for.
        scope: String,
        /// Which credentials were used.
        tried: String,
    },
    /// The credentials are good, but not for this.
    #[error("{host} denies access to {scope}{}", detail(.messages))]
    Denied {
        /// Registry host.
        host: String,
        /// What was asked for.
        scope: String,
        /// What the registry said.
        messages: Vec<RegistryMessage>,
    },
    /// Somebody who works for us asked for more than that work needs.
    #[error("no {what} for {host} is given away: {why}")]
    Withheld {
        /// Registry host.
        host: String,
        /// `token`, `password`.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach {host}: {cause}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The innermost reason.
        cause: String,
    },
    /// The bytes received are not what their digest says.
    #[error("{what}: expected {expected}, received {actual}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// Digest asked for.
        expected: Digest,
        /// Digest of the bytes received.
        actual: Digest,
    },
    /// More, or fewer, bytes than announced.
    #[error("{what}: expected {expected} bytes, received {actual}")]
    SizeMismatch {
        /// What was read.
        what: String,
        /// Bytes announced.
        expected: u64,
        /// Bytes received; a larger reply is cut there.
        actual: u64,
    },
    /// Too many requests, for longer than we wait.
    #[error("{host} limits the rate of requests{}", wait(.retry_after))]
    RateLimited {
        /// Registry host.
        host: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// Any other answer that is no success.
    #[error("{method} {url} failed with status {status}{}", detail(.messages))]
    Registry {
        /// HTTP method.
        method: String,
        /// URL without credentials and query.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the registry said.
        messages: Vec<RegistryMessage>,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// The answer breaks the protocol.
    #[error("{host} gave an invalid answer: {problem}")]
    Protocol {
        /// Registry host.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A credential file could not be used.
    #[error("cannot use the credentials in `{path}`")]
    CredentialFile {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A credential helper failed.
    #[error("the credential helper `{program}` failed: {message}")]
    CredentialHelper {
        /// Its program.
        program: String,
        /// What it said.
        message: String,
    },
    /// A certificate file could not be used.
    #[error("cannot use the certificates in `{path}`: {problem}")]
    Certificate {
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// A local file, to be pushed, could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// One entry of a registry's error document (distribution-spec "Error Codes").
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct RegistryMessage {
    /// `BLOB_UNKNOWN` and the like.
    #[serde(default)]
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::RateLimited { .. } => true,
            Self::Registry { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the registry refused a manifest because it does not know something the manifest names.
    /// After that was pushed, it means that somebody removed it, or that another push of the same
    /// content was under way: pushing again helps.
    pub fn is_missing_content(&self) -> bool {
        const CODES: [&str; 3] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
        match self {
            Self::Registry { messages, .. } => {
                messages.iter().any(|message| CODES.contains(&message.code.as_str()))
            }
            _ => false,
        }
    }

    /// When the registry wants to be asked again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Registry { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { host, .. } => Some(format!("run `archway login {host}`")),
            Self::Denied { host, .. } => {
                Some(format!("use an account that may do this: `archway login {host}`"))
            }
            Self::Unreachable { host, cause } if cause.contains("certificate") => Some(format!(
                "trust its authority with `--registry-ca FILE`, or allow it with `--insecure-registry {host}`"
            )),
            Self::Unreachable { .. } => Some("check the host name, and that the registry is running".into()),
            Self::NotFound { .. } => {
                Some("check the spelling; a private image also looks missing without a login".into())
            }
            Self::RateLimited { host, .. } => {
                Some(format!("wait, or log in for a higher limit: `archway login {host}`"))
            }
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => {
                Some("the registry or a proxy before it sends damaged content".into())
            }
            _ => None,
        }
    }
}

fn detail(messages: &[RegistryMessage]) -> String {
    let said: Vec<String> = messages
        .iter()
        .map(|message| match (message.code.as_str(), message.message.as_str()) {
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{message} ({code})"),
        })
        .collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) }
}

fn wait(after: &Option<Duration>) -> String {
    after.map(|after| format!("; it asks to wait {}s", after.as_secs())).unwrap_or_default()
}
