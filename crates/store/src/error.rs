//! What can go wrong with a store.

use std::{
    io,
    path::{Path, PathBuf},
};

use archway_oci::Digest;

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A store operation failed. The store itself is valid all the same.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space or no quota left.
    #[error("no space left on the device that holds `{path}`")]
    NoSpace {
        /// File that was written.
        path: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("`{path}` is on a read-only file system")]
    ReadOnly {
        /// File that was written.
        path: PathBuf,
    },
    /// This user may not do it.
    #[error("permission denied: `{path}`")]
    PermissionDenied {
        /// File that was used.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("cannot use `{path}`")]
    Io {
        /// File that was used.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index could not be read or written.
    #[error("cannot use the index `{path}`")]
    Index {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The store was changed by a newer version of Archway.
    #[error(
        "the store `{path}` has format {found}, and this version of archway knows formats up to {supported}"
    )]
    NewerStore {
        /// The database.
        path: PathBuf,
        /// Format of the store.
        found: u32,
        /// Newest format this version knows.
        supported: u32,
    },
    /// A record in the index does not make sense.
    #[error("the index `{path}` has an invalid {record} record")]
    InvalidRecord {
        /// The database.
        path: PathBuf,
        /// Kind of record.
        record: &'static str,
    },
    /// A cache mount that would be replaced is in use.
    #[error("the cache mount `{id}` is in use")]
    InUse {
        /// Its id.
        id: String,
    },
    /// The bytes written are not the ones announced.
    #[error("content has digest {actual}, not {expected}")]
    DigestMismatch {
        /// Digest announced.
        expected: Digest,
        /// Digest of the bytes written.
        actual: Digest,
    },
    /// Only SHA-256 blobs can be stored.
    #[error("cannot store a blob with digest {0}: only sha256 is supported")]
    UnsupportedDigest(Digest),
}

impl StoreError {
    /// A failure of the file system at `path`.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            _ => Self::Io { path, source },
        }
    }

    /// A failure of the index at `path`.
    pub(crate) fn index(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace { path },
            Some(rusqlite::ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(rusqlite::ErrorCode::PermissionDenied) => Self::PermissionDenied { path },
            _ => Self::Index { path, source },
        }
    }
}

/// Adds the path to errors of the file system.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| StoreError::io(path, error.into()))
    }
}
