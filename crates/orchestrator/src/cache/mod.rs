//! Build caches that leave the machine: read before a build, written after its publication.
//!
//! What is in them is `archway-cache`'s; which results there are is the engine's. Here is who talks to
//! registries, directories and buckets.
//!
//! | module | does |
//! |---|---|
//! | [`spec`] | what the caller asks for |
//! | `import` | reads all caches at the same time; one that is missing or damaged is a note |
//! | `export` | layers first, then the entry, then the index; merged with what is there |
//! | `storage` | registry, directory, bucket |

pub(crate) mod export;
pub(crate) mod import;
pub mod spec;
mod storage;

pub use spec::{Bucket, CacheSpec, CacheTo, Inline, Location};
pub use storage::{BucketError, StorageError};
