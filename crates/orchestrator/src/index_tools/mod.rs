//! Tools for indexes that exist already: they read and write registries, and build nothing.
//!
//! | module | does |
//! |---|---|
//! | [`mod@create`] | sources to one index, from finding them to moving the tags |
//! | `combine` | which manifests that index lists |
//! | `publish` | manifests and what they name to a repository, each part once; tags last |

mod combine;
pub mod create;
mod publish;

use archway_oci::Platform;

pub use create::{CreateRequest, Created, Source, create};

/// Sources have no images for platforms that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no source has an image for {}", list(.missing))]
pub struct NoSuchPlatforms {
    /// Those asked for.
    pub missing: Vec<Platform>,
    /// Those there are.
    pub offered: Vec<Platform>,
}

fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
