//! From a build request to a published image index.
//!
//! The one place that knows the whole flow: source, graph, engine, verification, outputs, and the
//! publication, which comes last. Data moves one way.
//!
//! | module | does |
//! |---|---|
//! | [`request`] | what the caller wants |
//! | [`plan`] | source, Dockerfile and all base images to a build graph; nothing runs |
//! | [`mod@build`] | runs the graph, and writes what came of it |
//! | [`builder`] | who builds which platform, and how daemons elsewhere are made to |
//! | [`failure`] | why a platform failed, whoever built it |
//! | `ended`, [`retry`], `tracker` | what a platform's failure means, what is tried again; every platform's state |
//! | `lease` | tags that keep manifests until an index names them |
//! | [`expectation`], `tag_guard` | what tags have to point at before they move, and whether they do |
//! | [`missing`] | what an index lacks that was published all the same |
//! | [`check`] | a Dockerfile that is checked instead of built, or before |
//! | [`index`] | verifies every child and puts the image index together |
//! | [`attest`] | what is said of the images |
//! | [`source`] | where the context and the Dockerfile come from |
//! | [`bom`], [`scan`] | the packages of images, and their known vulnerabilities |
//! | [`index_tools`] | indexes over images that exist already |
//! | [`mod@verify`] | whether an image that exists is what it says it is |
//! | `output` | registry, local store, archives, directories |
//! | [`cache`] | build caches that leave the machine |
//! | [`contents`] | the files of images that exist, each layer read once |
//! | [`origin`] | where existing images are read from |
//! | [`cache_mounts`] | the cache mounts of RUN steps, from outside |
//! | [`images`], [`mod@inspect`], [`run`] | the local store, looking at images, running them |

use archway_engine::Engine;
use archway_report::Events;

pub mod attest;
pub mod bom;
pub mod build;
pub mod builder;
pub mod cache;
pub mod cache_mounts;
pub mod check;
pub mod contents;
mod ended;
pub mod error;
pub mod expectation;
pub mod failure;
mod frontend;
pub mod images;
pub mod index;
pub mod index_tools;
pub mod inspect;
mod lease;
pub mod missing;
pub mod origin;
pub(crate) mod output;
pub mod plan;
pub mod request;
mod resolve;
pub mod retry;
pub mod run;
pub mod scan;
pub mod source;
mod tag_guard;
mod tracker;
pub mod verify;

pub use build::{BuildReport, build};
pub use error::Error;
pub use plan::{Prepared, prepare};

/// What every operation works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Store, registry client and sandbox.
    pub engine: Engine,
    /// Who is told what happens.
    pub events: Events,
}

impl Context {
    /// The content store.
    pub fn store(&self) -> &archway_store::Store {
        &self.engine.store
    }
}
