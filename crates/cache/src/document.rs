//! An entry as documents: a config that holds the records, a manifest that names it and the blobs.

use std::collections::BTreeMap;

use archway_oci::{
    Descriptor, Digest, Manifest, Platform,
    json::{self, DocumentError, MAX_DOCUMENT},
    media_type,
};
use archway_store::{CacheKey, SnapshotKey};
use serde::{Deserialize, Serialize};

use crate::{Entry, Form, Outcome, Record};

/// Artifact type of entries, and of the index that lists them.
pub const ARTIFACT_TYPE: &str = "application/vnd.archway.cache.v1";
/// Media type of an entry's config: the records.
pub const RECORDS: &str = "application/vnd.archway.cache.records.v1+json";
/// Annotation of an image's manifest that holds the records of its own layers.
pub const INLINE: &str = "dev.archway.cache.v1";
/// Config of the caches that BuildKit writes.
pub(crate) const BUILDKIT_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

const VERSION: u32 = 1;
/// The longest name of how a layer was made.
const MAX_FORM_NAME: usize = 100;

/// A document of a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It is not what its media type says.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The records are no JSON of the right shape.
    #[error("the records are malformed")]
    Malformed(#[source] serde_json::Error),
    /// The records are too large.
    #[error("the records are {size} bytes long, more than the {MAX_DOCUMENT} that are allowed")]
    TooLarge {
        /// Their size in bytes.
        size: u64,
    },
    /// A later Archway wrote it.
    #[error("the cache has version {found}; only {VERSION} is understood")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A record or a form contradicts itself, or the manifest.
    #[error("the records are wrong: {problem}")]
    Invalid {
        /// In what.
        problem: String,
    },
    /// There is something else.
    #[error("it is {what}, not a cache of Archway")]
    NotACache {
        /// What it is.
        what: &'static str,
    },
}

/// An entry ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Describes the manifest: platform, artifact type, and when it was exported.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Describes the config.
    pub config_descriptor: Descriptor,
    /// The config: the records.
    pub config: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct RecordsDocument {
    version: u32,
    records: Vec<RecordDocument>,
    layers: Vec<FormDocument>,
}

#[derive(Serialize, Deserialize)]
struct RecordDocument {
    key: CacheKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fact: Option<CacheKey>,
    #[serde(default, skip_serializing_if = "is_zero")]
    used: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormDocument {
    snapshot: SnapshotKey,
    form: String,
    diff_id: Digest,
    digest: Digest,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Entry {
    /// The entry as config and manifest. Equal entries give equal bytes.
    pub fn pack(&self, platform: &Platform, exported: jiff::Timestamp) -> Packed {
        let config = json::to_vec(&self.document());
        let config_descriptor = Descriptor::of(RECORDS, &config);
        let mut manifest = Manifest::new(config_descriptor.clone(), self.blobs());
        manifest.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        let manifest = json::to_vec(&manifest);
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        descriptor.platform = Some(platform.clone());
        descriptor.annotations = BTreeMap::from([(crate::index::EXPORTED.to_owned(), exported.to_string())]);
        Packed { descriptor, manifest, config_descriptor, config }
    }

    /// The entry that `manifest` and its `config` are.
    ///
    /// # Errors
    /// [`CacheError`]: both come from outside.
    pub fn unpack(manifest: &Manifest, config: &[u8]) -> Result<Self, CacheError> {
        Self::read(config, &manifest.layers)
    }

    /// The records as the value of the annotation [`INLINE`].
    pub fn to_inline(&self) -> String {
        serde_json::to_string(&self.document()).expect("records are plain data")
    }

    /// The records inside an image, if it has any.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn from_inline(manifest: &Manifest) -> Result<Option<Self>, CacheError> {
        let Some(text) = manifest.annotations.get(INLINE) else { return Ok(None) };
        Self::read(text.as_bytes(), &manifest.layers).map(Some)
    }

    fn document(&self) -> RecordsDocument {
        let records = self.records.iter().map(|(key, record)| {
            let (snapshot, created, fact) = match &record.outcome {
                Outcome::Fact(fact) => (None, None, Some(*fact)),
                Outcome::Delta { created, snapshot } => (Some(*snapshot), Some(*created), None),
            };
            RecordDocument { key: *key, snapshot, created, fact, used: record.used }
        });
        let layers = self.forms.iter().map(|((snapshot, name), form)| FormDocument {
            snapshot: *snapshot,
            form: name.clone(),
            diff_id: form.diff_id.clone(),
            digest: form.digest.clone(),
        });
        RecordsDocument { version: VERSION, records: records.collect(), layers: layers.collect() }
    }

    fn read(config: &[u8], blobs: &[Descriptor]) -> Result<Self, CacheError> {
        let size = config.len() as u64;
        if size > MAX_DOCUMENT {
            return Err(CacheError::TooLarge { size });
        }
        let document: RecordsDocument = serde_json::from_slice(config).map_err(CacheError::Malformed)?;
        if document.version != VERSION {
            return Err(CacheError::Version { found: document.version });
        }
        let blobs: BTreeMap<&Digest, &Descriptor> = blobs.iter().map(|blob| (&blob.digest, blob)).collect();
        let mut entry = Self::default();
        for record in document.records {
            let outcome = match (record.snapshot, record.created, record.fact) {
                (Some(snapshot), Some(created), None) => Outcome::Delta { created, snapshot },
                (None, None, Some(fact)) => Outcome::Fact(fact),
                _ => return Err(invalid(format!("{} leads to neither a delta nor a fact", record.key))),
            };
            entry.records.insert(record.key, Record { outcome, used: record.used });
        }
        for layer in document.layers {
            let FormDocument { snapshot, form, diff_id, digest } = layer;
            let name = form;
            if name.len() > MAX_FORM_NAME {
                return Err(invalid("the name of a form is too long".to_owned()));
            }
            let blob = blobs.get(&digest);
            let blob = blob.ok_or_else(|| invalid(format!("the manifest has no layer {digest}")))?;
            if media_type::layer_compression(&blob.media_type).is_none() {
                return Err(invalid(format!("`{}` is no type of a layer", blob.media_type)));
            }
            let form = Form { diff_id, digest, size: blob.size, media_type: blob.media_type.clone() };
            entry.forms.insert((snapshot, name), form);
        }
        entry.tidy();
        Ok(entry)
    }
}

fn invalid(problem: String) -> CacheError {
    CacheError::Invalid { problem }
}

/// Whether a manifest is an entry of a cache; an error says what else it is.
///
/// # Errors
/// [`CacheError::NotACache`].
pub fn check_entry(manifest: &Manifest) -> Result<(), CacheError> {
    let what = match manifest.config.media_type.as_str() {
        RECORDS => return Ok(()),
        BUILDKIT_CONFIG => "a cache of BuildKit",
        config if media_type::is_config(config) => "an image",
        _ => "an artifact of another kind",
    };
    Err(CacheError::NotACache { what })
}
