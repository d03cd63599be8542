//! Certificates for daemons and for those who use them: an authority of one's own, and what it issues.
//!
//! A directory holds one authority, one certificate for servers and one for clients ([`directory`]). They live
//! shortly, and are renewed often: nothing can be revoked, and nothing has to be.
//!
//! Renewal does not interrupt anybody, in whatever order daemons and clients come to the new files. An authority
//! that is replaced stays trusted until it expires, so that new files accept old certificates; and it signs its
//! successor (a *cross-certificate*, RFC 5280 section 3.2), which is sent along with new certificates, so that old
//! files accept them.
//!
//! | module | holds |
//! |---|---|
//! | `issue` | which certificates there are to be, without I/O |
//! | `certificate` | a certificate, and what can be read in it |
//! | `directory` | the files |
//! | `secret` | the same for Kubernetes |

mod certificate;
mod directory;
mod issue;
mod secret;

use std::{fmt, io, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

pub use certificate::Certificate;
pub use directory::{create, rotate};
pub use issue::{Bundle, Leaf};
pub use secret::{SecretName, secrets};

/// How long certificates of servers and clients are valid, unless it is said.
pub const VALIDITY: Duration = Duration::from_secs(30 * DAY);
/// No certificate is valid for longer.
const LONGEST_VALIDITY: Duration = Duration::from_secs(10 * 365 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// What is to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What servers are reached by. When certificates are renewed, empty: what they were issued for before.
    pub server: Vec<Name>,
    /// What the client is called in logs; `None`: as before, or [`CLIENT`].
    pub client: Option<String>,
    /// How long certificates of servers and clients are valid. That of the authority is valid for a year, or twice
    /// as long as these.
    pub validity: Duration,
}

/// The client of an order that names none.
pub const CLIENT: &str = "archway";

/// What a server is reached by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A DNS name; the first label may be `*`.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

/// A text is neither the name of a machine nor an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a DNS name nor an IP address; it has no scheme and no port")]
pub struct NameError(String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        match rustls::pki_types::DnsName::try_from(name) {
            Ok(_) => Ok(Self::Dns(text.to_ascii_lowercase())),
            Err(_) => Err(NameError(text.to_owned())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why certificates were not made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// There are some already.
    #[error("{} is there already", .path.display())]
    Exists {
        /// Which of the files.
        path: PathBuf,
    },
    /// There are none that could be renewed.
    #[error("{} holds no certificates that could be renewed", .directory.display())]
    Missing {
        /// Where they were looked for.
        directory: PathBuf,
    },
    /// Nobody said how the servers are called.
    #[error("the certificate of a server needs a name")]
    NoServer,
    /// Too short, or too long.
    #[error("certificates are valid for a minute to ten years")]
    Validity,
    /// A file cannot be read or written.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what}", .path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// `certificate`, `key`.
        what: &'static str,
    },
    /// The authority's key is not that of any authority here.
    #[error("the key of the authority belongs to none of the certificates in ca.pem")]
    ForeignKey,
    /// The authority was not made here.
    #[error("the authority in ca.pem was not made by archway, which cannot issue certificates for it")]
    ForeignAuthority,
    /// A certificate could not be made.
    #[error("a certificate cannot be made")]
    Issue(#[from] rcgen::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_nothing_more() {
        let name = |text: &str| text.parse::<Name>();
        assert_eq!(name("10.0.0.7"), Ok(Name::Address([10, 0, 0, 7].into())));
        assert!(matches!(name("fd00::1"), Ok(Name::Address(IpAddr::V6(_)))));
        assert_eq!(name("Builder.Example"), Ok(Name::Dns("builder.example".into())));
        assert_eq!(name("*.pool.builds.svc"), Ok(Name::Dns("*.pool.builds.svc".into())));
        for text in ["", "tcp://builder", "builder:1234", "a b", "*", "10.0.0.0/8"] {
            assert_eq!(name(text), Err(NameError(text.into())), "{text}");
        }
    }
}
