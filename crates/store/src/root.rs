//! The directories of a store.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::error::{At, Result};

const DIRECTORIES: [&str; 7] =
    ["blobs", "blobs/sha256", "snapshots", "file-hashes", "locks", "sessions", "trash"];

/// Paths below the store's directory.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    /// The store at `path`, whose directories are made if they are missing. Nobody else may look
    /// inside: snapshots hold other people's set-uid files.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).at(path)?;
        let root = Self { path };
        // The last one is there: so are the others.
        if !root.trash().is_dir() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&root.path).at(&root.path)?;
            for name in DIRECTORIES {
                let directory = root.path.join(name);
                builder.create(&directory).at(&directory)?;
            }
        }
        // Tells a read-only disk from a damaged index, which SQLite does not.
        rustix::fs::access(&root.path, Access::WRITE_OK | Access::EXEC_OK).at(&root.path)?;
        Ok(root)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.path.join("index.sqlite")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.path.join("blobs/sha256")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// Does not exist before the first cache mount.
    pub(crate) fn cache_mounts(&self) -> PathBuf {
        self.path.join("cache-mounts")
    }

    /// Does not exist before the first layer of several members.
    pub(crate) fn members(&self) -> PathBuf {
        self.path.join("members")
    }

    /// Does not exist before the first large copy.
    pub(crate) fn copied(&self) -> PathBuf {
        self.path.join("copied")
    }

    /// Does not exist before somebody has read a layer blob and noted what is in it.
    pub(crate) fn facts(&self) -> PathBuf {
        self.path.join("facts")
    }

    pub(crate) fn file_hashes(&self) -> PathBuf {
        self.path.join("file-hashes")
    }

    pub(crate) fn sessions(&self) -> PathBuf {
        self.path.join("sessions")
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.path.join("git")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.path.join("trash")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.path.join("locks")
    }

    /// Held shared to add to a lease, exclusively to collect garbage.
    pub(crate) fn garbage_lock(&self) -> PathBuf {
        self.path.join("garbage.lock")
    }

    /// Held to make or migrate the index.
    pub(crate) fn index_lock(&self) -> PathBuf {
        self.path.join("index.lock")
    }

    /// The file of a lock with any name.
    pub(crate) fn named_lock(&self, name: &str) -> PathBuf {
        self.locks().join(blake3::hash(name.as_bytes()).to_hex().as_str())
    }
}

/// The names in a directory, in no order. A missing directory is empty.
pub(crate) fn names(directory: &Path) -> Result<Vec<OsString>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at(directory)?,
    };
    entries.map(|entry| Ok(entry.at(directory)?.file_name())).collect()
}
