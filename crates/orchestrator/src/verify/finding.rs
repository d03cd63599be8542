//! What a verification finds.

use std::sync::Arc;

use archway_audit::{Severity, drift::Drift};
use archway_oci::{Digest, Platform, json::DocumentError};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::contents::Fault;

/// Something that is wrong, or good to know.
#[derive(Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The platform whose image it is about; `None`: it is about all of them.
    pub platform: Option<Platform>,
    /// The manifest it is about.
    pub manifest: Option<Digest>,
    /// The layer it is about.
    pub layer: Option<Digest>,
    /// What it is.
    pub problem: Problem,
}

/// What may be wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The image is not what its descriptor says.
    #[error(transparent)]
    Image(archway_oci::verify::Finding),
    /// A document is not what its media type says.
    #[error(transparent)]
    Document(DocumentError),
    /// The registry gives a document another media type than its descriptor does.
    #[error("the registry says that it is `{served}`, the index `{expected}`")]
    ServedMediaType {
        /// In the descriptor.
        expected: String,
        /// In the answer.
        served: String,
    },
    /// A blob is missing, or has other bytes, or is no layer.
    #[error("{}", with_cause(.0))]
    Blob(Arc<Fault>),
    /// A layer holds other files than the config says.
    #[error("layer {layer} has the diffID {actual}, the image config says {expected}")]
    DiffId {
        /// Counted from 0.
        layer: usize,
        /// In the config.
        expected: Digest,
        /// Of the bytes.
        actual: Digest,
    },
    /// Two images for one platform: which one is taken depends on who asks.
    #[error("the index has another image for this platform, {first}")]
    DuplicatePlatform {
        /// The one before.
        first: Digest,
    },
    /// Indexes in indexes, deeper than anybody follows.
    #[error("indexes are nested more than {most} deep")]
    TooDeep {
        /// The limit.
        most: usize,
    },
    /// More manifests than an index sensibly has.
    #[error("there are more than {most} manifests; the others were not looked at")]
    TooMany {
        /// The limit.
        most: usize,
    },
    /// There is nothing that could be run.
    #[error("there is no image in it")]
    Empty,
    /// An attestation is about an image that the index does not have.
    #[error("the attestation is about {subject}, which the index does not list")]
    AttestationSubject {
        /// What it is about.
        subject: String,
    },
    /// A layer that must not be redistributed is elsewhere.
    #[error("it must not be redistributed and is not in this registry; it was not looked at")]
    ForeignLayer,
    /// A file.
    #[error("{0}")]
    File(archway_audit::Finding),
    /// More findings of that kind.
    #[error("and {count} more files")]
    MoreFiles {
        /// How many.
        count: usize,
    },
    /// What differs between platforms.
    #[error("{0}")]
    Drift(Drift),
}

/// A fault and why it is one.
fn with_cause(fault: &Fault) -> String {
    match fault {
        Fault::Unreadable { source, .. } => format!("{fault}: {}", causes(source)),
        _ => fault.to_string(),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

impl Problem {
    /// A name for machines.
    pub fn name(&self) -> &'static str {
        use archway_oci::verify::Finding as Image;

        match self {
            Self::Image(Image::ConfigPlatform { .. } | Image::DescriptorPlatform { .. }) => "platform",
            Self::Image(Image::ManifestMediaType { .. } | Image::MediaType { .. }) => "media-type",
            Self::Image(Image::Size { .. }) => "size",
            Self::Image(Image::RootFsType(_) | Image::DiffIds { .. } | Image::History { .. }) => {
                "layer-count"
            }
            Self::Document(_) => "document",
            Self::ServedMediaType { .. } => "media-type",
            Self::Blob(fault) => match **fault {
                Fault::Missing { .. } => "missing-blob",
                Fault::Size { .. } => "blob-size",
                Fault::Digest { .. } => "blob-digest",
                Fault::Unreadable { .. } => "unreadable-layer",
            },
            Self::DiffId { .. } => "diff-id",
            Self::DuplicatePlatform { .. } => "duplicate-platform",
            Self::TooDeep { .. } => "nesting",
            Self::TooMany { .. } => "manifest-count",
            Self::Empty => "empty",
            Self::AttestationSubject { .. } => "attestation-subject",
            Self::ForeignLayer => "foreign-layer",
            Self::File(finding) => finding.problem.name(),
            Self::MoreFiles { .. } => "more-files",
            Self::Drift(drift) => drift.name(),
        }
    }

    /// The file it is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::File(finding) => Some(&finding.path),
            _ => None,
        }
    }
}

impl Finding {
    /// About a manifest, or what belongs to it.
    pub(super) fn of_manifest(manifest: &Digest, severity: Severity, problem: Problem) -> Self {
        Self { severity, platform: None, manifest: Some(manifest.clone()), layer: None, problem }
    }

    /// About everything.
    pub(super) fn of_all(severity: Severity, problem: Problem) -> Self {
        Self { severity, platform: None, manifest: None, layer: None, problem }
    }
}

/// `docs/verification.md` lists the keys.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("check", self.problem.name())?;
        if let Some(platform) = &self.platform {
            map.serialize_entry("platform", &platform.specifier())?;
        }
        if let Some(manifest) = &self.manifest {
            map.serialize_entry("manifest", manifest)?;
        }
        if let Some(layer) = &self.layer {
            map.serialize_entry("layer", layer)?;
        }
        if let Some(path) = self.problem.path() {
            map.serialize_entry("path", path)?;
        }
        map.serialize_entry("message", &self.problem.to_string())?;
        map.end()
    }
}
