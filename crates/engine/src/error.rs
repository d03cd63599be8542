//! Why a step failed.

use std::{io, path::PathBuf, sync::Arc};

use archway_graph::NodeId;
use archway_layer::{DiffError, extract::ExtractError};
use archway_report::Reason;

use crate::{copy::placement::PlacementError, user::UserError};

/// A step failed, and with it every platform that needs it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// The node.
    pub node: NodeId,
    /// Why.
    pub error: Arc<StepError>,
    /// Last lines of its output.
    pub log_tail: Vec<String>,
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The process ended with a code other than 0.
    #[error("the command ended with exit code {0}")]
    Exit(i32),
    /// The process was killed.
    #[error("the command was killed by signal {0}")]
    Signal(i32),
    /// The process, or one that it started, was killed because the step's memory was used up.
    #[error("the command used more memory than a step may")]
    OutOfMemory,
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
    /// A source of COPY or ADD.
    #[error(transparent)]
    Source(#[from] archway_source::SourceError),
    /// A pattern matches nothing in a stage or image.
    #[error("`{pattern}` does not exist in {from}")]
    MissingInRootFs {
        /// As written.
        pattern: String,
        /// The stage or image.
        from: String,
    },
    /// The destination of COPY, ADD or WORKDIR.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A user or group name.
    #[error(transparent)]
    User(#[from] UserError),
    /// An archive given to ADD.
    #[error("cannot unpack `{name}`")]
    Archive {
        /// Its name in the context.
        name: String,
        /// Why.
        source: ExtractError,
    },
    /// A git repository.
    #[error(transparent)]
    Git(#[from] archway_remote::git::GitError),
    /// A download.
    #[error(transparent)]
    Download(#[from] archway_remote::http::HttpError),
    /// A base image's blob could not be fetched.
    #[error("cannot pull {image}")]
    Pull {
        /// The image.
        image: String,
        /// Why.
        source: archway_registry::Error,
    },
    /// A base image's layer could not be unpacked.
    #[error("cannot unpack a layer of {image}")]
    Extract {
        /// The image.
        image: String,
        /// Why.
        source: ExtractError,
    },
    /// A base image's manifest and config do not agree.
    #[error("{image} has {layers} layers, and its config lists {diff_ids}")]
    LayerCount {
        /// The image.
        image: String,
        /// Layers of its manifest.
        layers: usize,
        /// diffIDs of its config.
        diff_ids: usize,
    },
    /// A layer of a base image is of a type that is not known.
    #[error("{image} has a layer of the unknown type `{media_type}`")]
    LayerType {
        /// The image.
        image: String,
        /// The layer's media type.
        media_type: String,
    },
    /// A layer of a base image is not what the image's config says.
    #[error("layer {layer} of {image} has diffID {actual}, its config says {expected}")]
    DiffIdMismatch {
        /// The image.
        image: String,
        /// Digest of the blob.
        layer: archway_oci::Digest,
        /// What its config says.
        expected: archway_oci::Digest,
        /// What the bytes are.
        actual: archway_oci::Digest,
    },
    /// Nothing here runs this platform's programs.
    #[error(transparent)]
    Emulation(archway_sandbox::EmulationError),
    /// The process could not be limited.
    #[error(transparent)]
    Cgroup(#[from] archway_sandbox::CgroupError),
    /// The sandbox could not start the process.
    #[error(transparent)]
    Sandbox(archway_sandbox::SandboxError),
    /// A layer could not be made.
    #[error("cannot make a layer")]
    Layer(#[source] DiffError),
    /// A delta that another machine made could not be had.
    #[error("cannot use the layer {layer} of the build cache {cache}")]
    RemoteDelta {
        /// The delta.
        snapshot: archway_store::SnapshotKey,
        /// The layer that holds it.
        layer: archway_oci::Digest,
        /// The cache.
        cache: String,
        /// Why.
        source: crate::remote::SourceError,
    },
    /// A delta disappeared while the build ran.
    #[error("the delta {key} is no longer in the store")]
    DeltaMissing {
        /// Its key.
        key: archway_store::SnapshotKey,
    },
    /// A blob disappeared while the build ran.
    #[error("the blob {digest} is no longer in the store")]
    BlobMissing {
        /// Its digest.
        digest: archway_oci::Digest,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] archway_store::StoreError),
    /// A file could not be written or read while a delta was made.
    #[error("cannot write `{path}`")]
    Io {
        /// Path in the root file system, or on this machine.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret that a RUN requires.
    #[error("the secret `{id}` is required, and was not given")]
    SecretMissing {
        /// Its id.
        id: String,
    },
    /// A secret that cannot be an environment variable.
    #[error("the secret `{id}` cannot be an environment variable: it is no text")]
    SecretNotText {
        /// Its id.
        id: String,
    },
    /// An ssh agent that a RUN requires.
    #[error("the ssh agent `{id}` is required, and was not given")]
    SshMissing {
        /// Its id.
        id: String,
    },
    /// What a cache mount is to begin with is a file.
    #[error("a cache mount cannot begin with `{path}`: it is no directory")]
    CacheSourceIsNoDirectory {
        /// As written.
        path: String,
    },
    /// Another platform met the same failure first.
    #[error(transparent)]
    Shared(Arc<StepError>),
    /// A task of the engine panicked: a bug.
    #[error("internal error: {0}")]
    Panicked(String),
}

impl StepError {
    /// The documented reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Exit(_)
            | Self::Signal(_)
            | Self::User(_)
            | Self::SecretMissing { .. }
            | Self::SecretNotText { .. }
            | Self::SshMissing { .. }
            | Self::CacheSourceIsNoDirectory { .. } => Reason::StepFailed,
            Self::OutOfMemory => Reason::OutOfMemory,
            Self::Cancelled => Reason::Cancelled,
            Self::Source(archway_source::SourceError::SourceChanged { .. }) => Reason::SourceChanged,
            Self::Git(error) if error.is_temporary() => Reason::FetchFailed,
            Self::Download(error) if error.is_temporary() => Reason::FetchFailed,
            Self::Git(error) if error.is_about_source() => Reason::SourceMissing,
            Self::Download(error) if error.is_about_source() => Reason::SourceMissing,
            Self::Git(_) | Self::Download(_) => Reason::BuilderFailed,
            Self::Source(_) | Self::MissingInRootFs { .. } => Reason::SourceMissing,
            Self::Placement(_) | Self::Archive { .. } => Reason::StepFailed,
            Self::Pull { .. }
            | Self::Extract { .. }
            | Self::LayerCount { .. }
            | Self::LayerType { .. }
            | Self::DiffIdMismatch { .. } => Reason::ImagePullFailed,
            Self::Emulation(_) => Reason::EmulationUnavailable,
            Self::Sandbox(error) if error.is_program_missing() => Reason::StepFailed,
            Self::Shared(error) => error.reason(),
            Self::Sandbox(_)
            | Self::Cgroup(_)
            | Self::Layer(_)
            | Self::RemoteDelta { .. }
            | Self::DeltaMissing { .. }
            | Self::BlobMissing { .. }
            | Self::Store(_)
            | Self::Io { .. }
            | Self::Panicked(_) => Reason::BuilderFailed,
        }
    }

    /// The delta of another machine that could not be had.
    pub(crate) fn remote_delta(&self) -> Option<archway_store::SnapshotKey> {
        match self {
            Self::RemoteDelta { snapshot, .. } => Some(*snapshot),
            Self::Shared(error) => error.remote_delta(),
            _ => None,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
