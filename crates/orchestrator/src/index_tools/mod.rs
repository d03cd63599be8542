//! Tools for indexes that exist already: they read and write registries, and build nothing.
//!
//! | module | does |
//! |---|---|
//! | [`mod@create`] | sources to one index, from finding them to moving the tags |
//! | [`annotate`](mod@annotate) | annotations of an index that exists; its images stay |
//! | [`copy`](mod@copy) | an image to another place, digests and all |
//! | `combine` | which manifests an index lists |
//! | `closure` | all that an image consists of, and what refers to it |
//! | `publish` | documents and what they name to a repository, each part once; tags last |
//! | `transfer` | one blob on its way |
//! | `files` | layouts and archives as destinations |

pub mod annotate;
mod closure;
mod combine;
pub mod copy;
pub mod create;
mod files;
mod publish;
mod transfer;

use archway_oci::Platform;

pub use annotate::{AnnotateError, AnnotateRequest, Annotated, annotate};
pub use closure::TooMuch;
pub(crate) use closure::{MAX_DEPTH, MAX_DOCUMENTS};
pub(crate) use combine::{is_for, subject};
pub use copy::{Copied, CopyRequest, copy};
pub use create::{CreateRequest, Created, Source, create};
pub use publish::Transfers;

/// There are no images for platforms that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no image for {}", list(.missing))]
pub struct NoSuchPlatforms {
    /// Those asked for.
    pub missing: Vec<Platform>,
    /// Those there are.
    pub offered: Vec<Platform>,
}

fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
