//! Sources that are not on this machine: git repositories, and files behind URLs.
//!
//! Reading URLs is pure, and all that this crate does unless the feature `fetch` is on.
//!
//! | module | holds |
//! |---|---|
//! | [`git_url`] | what a git URL means: repository, ref, subdirectory, options |
//! | [`http_url`] | URLs of single files, the names they are stored under |
//! | `source` | what is to be fetched, put together |
//! | [`checksum`] | `--checksum` of a download |
//! | [`credentials`] (`fetch`) | which secret is for which host |
//! | [`git`] (`fetch`) | resolving refs, fetching, checking out, with the git program |
//! | [`http`] (`fetch`) | downloads: redirects, revalidation, resumption |

pub mod checksum;
#[cfg(feature = "fetch")]
pub mod credentials;
#[cfg(feature = "fetch")]
pub mod git;
pub mod git_url;
#[cfg(feature = "fetch")]
pub mod http;
pub mod http_url;
mod redact;
mod source;

pub use checksum::{Algorithm, Checksum, ChecksumError};
#[cfg(feature = "fetch")]
pub use credentials::Credentials;
pub use git_url::{GitUrl, GitUrlError, Times};
pub use redact::redacted;
pub use source::{GitSource, HttpSource};
