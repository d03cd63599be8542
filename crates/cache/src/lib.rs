//! The build cache that leaves the machine: what it says, and how two of them become one.
//!
//! A *record* says what a cache key leads to: the snapshot key of a delta, or a fact. A *form* says
//! which layer blob holds a delta, and how it was made. An [`Entry`] is the records and forms of one
//! platform. A cache is an image index of entries, each a manifest whose config is the records and
//! whose layers are the blobs, so that a registry keeps what the cache needs and any tool can copy it.
//!
//! Whoever exports merges: entries are sets, [`Entry::merge`] is commutative, associative and
//! idempotent, so in whatever order exporters see each other's entries, they end with the same one.
//!
//! Everything here is pure; who reads and writes is the orchestrator. Written down in
//! `docs/formats/build-cache.md`.
//!
//! | module | does |
//! |---|---|
//! | [`entry`] | records and forms; merging; age and size limits |
//! | [`document`] | an entry as config and manifest, and back; inside an image |
//! | [`index`] | the entries of a cache, and the index that has one more |

pub mod document;
pub mod entry;
pub mod index;

pub use document::{CacheError, Packed};
pub use entry::{Entry, Form, Limits, Outcome, Record};
pub use index::Listing;
