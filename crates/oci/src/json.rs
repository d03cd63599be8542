//! How documents are read and written as JSON.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// The largest manifest, index or config that is read, in bytes. Registries refuse larger
/// manifests too; the bound also limits the number of entries a hostile document can have.
pub const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;

/// A document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is larger than [`MAX_DOCUMENT`].
    #[error("the {document} is {size} bytes long, more than the {MAX_DOCUMENT} that are allowed")]
    TooLarge {
        /// `image manifest`, `image index` or `image config`.
        document: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// It is not the JSON its specification asks for.
    #[error("the {document} is malformed")]
    Malformed {
        /// `image manifest`, `image index` or `image config`.
        document: &'static str,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
    /// Its `schemaVersion` is not 2; Docker's schema 1 is not supported.
    #[error("the {document} has schema version {found}; only version 2 is supported")]
    SchemaVersion {
        /// `image manifest` or `image index`.
        document: &'static str,
        /// The version found, 0 if none.
        found: u64,
    },
    /// It says, by media type or by its properties, that it is something else.
    #[error("not an {document}: it has {evidence}")]
    WrongKind {
        /// What was expected: `image manifest` or `image index`.
        document: &'static str,
        /// The property that contradicts.
        evidence: String,
    },
}

/// The one way Archway writes documents that are hashed: compact, in field order.
///
/// # Panics
/// If `document` has a map whose keys are no strings; the documents of this crate have none.
pub fn to_vec<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents are made of strings, numbers, lists and string maps")
}

/// Reads a document of at most [`MAX_DOCUMENT`] bytes. Nesting is bounded by serde_json (128).
pub(crate) fn parse<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    let size = bytes.len() as u64;
    if size > MAX_DOCUMENT {
        return Err(DocumentError::TooLarge { document, size });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { document, source })
}

/// Go writes the empty slice or map as `null`, and reads `null` as the zero value of any type.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
