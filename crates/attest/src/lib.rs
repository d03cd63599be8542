//! What can be said about an image, and how that is attached to it.
//!
//! An [`Attestation`] is a predicate: a document of a known type about an image, without saying which.
//! [`attach`] makes statements of predicates, about one child of an index, and the manifest that holds
//! them, in the form of BuildKit, so that its readers find them.
//!
//! | module | holds | source |
//! |---|---|---|
//! | [`statement`] | a predicate, and what it is about | in-toto Attestation Framework, Statement v1 |
//! | [`manifest`] | statements as a manifest beside their image | BuildKit `attestation-storage.md`, image-spec |
//! | [`purl`] | package URLs | purl-spec |
//! | [`provenance`] | how an image came to be | SLSA provenance v1 and v0.2 |
//!
//! Nothing here does I/O.

pub mod manifest;
pub mod provenance;
pub mod purl;
pub mod statement;

pub use manifest::{Attached, Blob, attach};
pub use statement::{Attestation, DigestSet};
