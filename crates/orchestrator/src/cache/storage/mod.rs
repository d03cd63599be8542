//! Where caches are kept: documents and blobs by digest, and one place that changes.
//!
//! A registry, a layout and a bucket hold the same documents. They differ in how the index is replaced:
//! a layout is locked, a bucket compares, and a registry does neither, so that an exporter has to look
//! again whether its entry is still there.

mod local;
mod registry;
mod s3;

use std::time::Duration;

pub use self::s3::BucketError;

use archway_cache::CacheError;
use archway_engine::Layer;
use archway_oci::{Descriptor, Digest, Reference};

use super::Location;
use crate::{Context, Error};

/// A cache cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is nothing.
    #[error("there is no cache yet")]
    Missing,
    /// It took too long to read.
    #[error("it did not answer within {seconds} seconds")]
    Slow {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A document is not what it should be.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A document of another kind is not what it should be.
    #[error(transparent)]
    Document(#[from] archway_oci::json::DocumentError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] archway_registry::Error),
    /// The directory.
    #[error(transparent)]
    Layout(#[from] archway_oci::layout::LayoutError),
    /// A file of the directory.
    #[error("cannot {action} `{path}`")]
    File {
        /// `lock`, `read`.
        action: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An object has other bytes than its name says.
    #[error("{digest} has other content")]
    Damaged {
        /// Its digest.
        digest: Digest,
    },
    /// This machine's store.
    #[error(transparent)]
    Store(#[from] archway_store::StoreError),
    /// A layer could not be had or pushed.
    #[error(transparent)]
    Layer(Box<Error>),
    /// Others changed the index each time.
    #[error("other builds changed the cache {rounds} times while this one tried to")]
    Contended {
        /// How often it was tried.
        rounds: u32,
    },
}

/// The topmost document of a cache.
pub(crate) struct Top {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    /// What to compare with when it is replaced.
    version: Option<String>,
}

/// Whether a replaced index stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// Nobody else can have replaced it unseen.
    Surely,
    /// Somebody may have, who had read the old one: it has to be looked at again after this time.
    Perhaps(Duration),
    /// Somebody had changed it: nothing was written.
    No,
}

/// A place for caches.
pub(crate) enum Storage {
    Registry(registry::RegistryStorage),
    Local(local::LocalStorage),
    S3(s3::S3Storage),
}

/// Calls the method of whichever storage it is.
macro_rules! each {
    ($storage:expr, $inner:ident => $call:expr) => {
        match $storage {
            Storage::Registry($inner) => $call,
            Storage::Local($inner) => $call,
            Storage::S3($inner) => $call,
        }
    };
}

impl Storage {
    /// Nothing is read or written yet. Blobs that one of `pushed_to` has need not be sent there again.
    pub(crate) fn at(
        context: &Context,
        location: &Location,
        pushed_to: &[Reference],
    ) -> Result<Self, StorageError> {
        Ok(match location {
            Location::Registry(reference) => {
                Self::Registry(registry::RegistryStorage::new(context, reference, pushed_to))
            }
            Location::Local { directory, tag } => {
                Self::Local(local::LocalStorage::new(context, directory, tag))
            }
            Location::S3(bucket) => Self::S3(s3::S3Storage::new(context, bucket)?),
        })
    }

    /// The repository whose blobs an image may name where they are.
    pub(crate) fn repository(&self) -> Option<&Reference> {
        match self {
            Self::Registry(registry) => Some(registry.reference()),
            Self::Local(_) | Self::S3(_) => None,
        }
    }

    /// Keeps others from writing, where that is possible, until it is dropped.
    pub(crate) async fn turn(&self) -> Result<Option<std::fs::File>, StorageError> {
        match self {
            Self::Local(local) => local.lock().await.map(Some),
            Self::Registry(_) | Self::S3(_) => Ok(None),
        }
    }

    /// The topmost document; `None` if there is none.
    pub(crate) async fn top(&self) -> Result<Option<Top>, StorageError> {
        each!(self, storage => storage.top().await)
    }

    /// A document, its digest checked.
    pub(crate) async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StorageError> {
        each!(self, storage => storage.document(descriptor).await)
    }

    /// Whether a blob is there.
    pub(crate) async fn contains(&self, blob: &Descriptor) -> Result<bool, StorageError> {
        each!(self, storage => storage.contains(blob).await)
    }

    /// Brings a blob into the store, if it is not there.
    pub(crate) async fn fetch(&self, blob: &Descriptor) -> Result<(), StorageError> {
        each!(self, storage => storage.fetch(blob).await)
    }

    /// Adds a layer, if it is not there.
    pub(crate) async fn put_layer(&self, layer: Layer) -> Result<(), StorageError> {
        each!(self, storage => storage.put_layer(layer).await)
    }

    /// Adds a document, by its digest.
    pub(crate) async fn put_document(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        each!(self, storage => storage.put_document(descriptor, bytes).await)
    }

    /// Replaces `old`, or nothing, by another index.
    pub(crate) async fn replace(&self, old: Option<&Top>, index: &[u8]) -> Result<Replaced, StorageError> {
        each!(self, storage => storage.replace(old, index).await)
    }

    /// Removes blobs that nothing of this cache needs any more, where nobody else would.
    pub(crate) async fn remove_unneeded(&self, old: &[Digest]) -> Result<(), StorageError> {
        match self {
            Self::Local(local) => local.remove_unneeded(old).await,
            Self::Registry(_) | Self::S3(_) => Ok(()),
        }
    }
}
