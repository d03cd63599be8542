//! Image manifests and image indexes (image-spec `manifest.md`, `image-index.md`), and their
//! Docker schema 2 counterparts, which have the same JSON shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    Descriptor,
    json::{self, DocumentError},
    media_type,
};

/// One image for one platform: a config and its layers, base first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Media type of this document; absent in some OCI images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of artifact, when this is not a runnable image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, base first.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Arbitrary metadata.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest of at most [`json::MAX_DOCUMENT`] bytes. Go's nulls are read as empty.
    ///
    /// # Errors
    /// [`DocumentError`]; also when the document could be taken for an index, or has a property in another
    /// spelling (see [`json::check_spelling`]), because two tools must not read the same digest as two
    /// different images (GHSA-77vh-xpmg-72qh).
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        const DOCUMENT: &str = "image manifest";
        let outline: Outline = json::parse(DOCUMENT, bytes)?;
        outline.check_version(DOCUMENT)?;
        outline.check_media_type(DOCUMENT, media_type::is_manifest)?;
        outline.refuse(DOCUMENT, "manifests", outline.manifests.is_some())?;
        json::check_spelling(DOCUMENT, bytes)?;
        json::parse(DOCUMENT, bytes)
    }

    /// An OCI image manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A list of manifests, one per platform (or nested indexes, or attestations).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Media type of this document; absent in some OCI images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of artifact, when the index is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The children, in order of preference.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this index refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Arbitrary metadata.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index of at most [`json::MAX_DOCUMENT`] bytes. Go's nulls are read as empty.
    ///
    /// # Errors
    /// [`DocumentError`]; also when the document could be taken for a manifest, see
    /// [`Manifest::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        const DOCUMENT: &str = "image index";
        let outline: Outline = json::parse(DOCUMENT, bytes)?;
        outline.check_version(DOCUMENT)?;
        outline.check_media_type(DOCUMENT, media_type::is_index)?;
        outline.refuse(DOCUMENT, "config", outline.config.is_some())?;
        outline.refuse(DOCUMENT, "layers", outline.layers.is_some())?;
        json::check_spelling(DOCUMENT, bytes)?;
        json::parse(DOCUMENT, bytes)
    }

    /// An OCI image index over `manifests`.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// What tells manifests, indexes and older documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default, deserialize_with = "json::null_is_default")]
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

impl Outline {
    fn check_version(&self, document: &'static str) -> Result<(), DocumentError> {
        match self.schema_version {
            2 => Ok(()),
            found => Err(DocumentError::SchemaVersion { document, found }),
        }
    }

    /// OCI documents may leave their media type out.
    fn check_media_type(
        &self,
        document: &'static str,
        is_expected: fn(&str) -> bool,
    ) -> Result<(), DocumentError> {
        match self.media_type.as_deref() {
            Some(found) if !is_expected(found) => {
                Err(DocumentError::WrongKind { document, evidence: format!("media type `{found}`") })
            }
            _ => Ok(()),
        }
    }

    fn refuse(
        &self,
        document: &'static str,
        property: &'static str,
        present: bool,
    ) -> Result<(), DocumentError> {
        if present {
            return Err(DocumentError::WrongKind { document, evidence: format!("property `{property}`") });
        }
        Ok(())
    }
}
