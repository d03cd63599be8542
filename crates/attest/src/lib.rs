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
//! | [`packages`] | which packages an image contains | the databases of package managers |
//! | [`sbom`], [`spdx`], [`cyclonedx`] | that as a bill of materials | SPDX 2.3, CycloneDX 1.6 |
//! | [`vulnerability`] | which of them are vulnerable, and what is let pass | OSV, CVSS, trivy, grype |
//!
//! Nothing here does I/O.

pub mod cyclonedx;
mod licence;
pub mod manifest;
pub mod packages;
pub mod provenance;
pub mod purl;
pub mod sbom;
pub mod spdx;
pub mod statement;
pub mod vulnerability;

pub use manifest::{Attached, Blob, attach};
pub use statement::{Attestation, DigestSet};
