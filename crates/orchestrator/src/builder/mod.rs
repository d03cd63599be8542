//! Who builds which platform: this machine's engine, or daemons of a pool.
//!
//! | module | does |
//! |---|---|
//! | `fleet` | connects to the daemons of a pool, and asks what they build for |
//! | `assign` | decides which daemons may build a platform; pure |
//! | `placement` | decides it for all platforms, with the graphs that this takes |
//! | `solve` | says what is wanted in BuildKit's words, or why that cannot be said; pure |
//! | `remote` | one platform at a pool: attempts, other replicas, the end |
//! | `adopt` | what a daemon built, as if it had been built here |

mod adopt;
pub(crate) mod assign;
pub(crate) mod fleet;
pub(crate) mod placement;
pub(crate) mod remote;
mod solve;

use std::{collections::BTreeMap, sync::Arc};

use archway_buildkit::Pool;
use archway_oci::Platform;

pub use solve::Unsupported;
pub(crate) use solve::{check, secrets};

/// Who builds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Builder {
    /// This machine's engine.
    #[default]
    Embedded,
    /// BuildKit daemons.
    Pool(Arc<NamedPool>),
}

/// Daemons under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPool {
    /// The builder's name.
    pub name: String,
    /// The daemons.
    pub pool: Pool,
}

/// `--builder`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Builders {
    /// For platforms that are not named.
    pub default: Builder,
    /// `--builder PLATFORM=NAME`
    pub by_platform: BTreeMap<Platform, Builder>,
}

impl Builders {
    /// Who is to build a platform.
    pub fn of(&self, platform: &Platform) -> &Builder {
        self.by_platform.get(platform).unwrap_or(&self.default)
    }

    /// Whether this machine is to build a platform.
    pub(crate) fn is_here(&self, platform: &Platform) -> bool {
        *self.of(platform) == Builder::Embedded
    }

    /// The pools that some of these platforms are to be built by, each once.
    pub(crate) fn pools(&self, platforms: &[Platform]) -> Vec<Arc<NamedPool>> {
        let mut pools: Vec<Arc<NamedPool>> = Vec::new();
        for platform in platforms {
            if let Builder::Pool(pool) = self.of(platform)
                && !pools.iter().any(|known| known.name == pool.name)
            {
                pools.push(pool.clone());
            }
        }
        pools
    }
}
