//! Snapshots: directories that hold the delta of one layer, in the form overlayfs keeps an upper
//! directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    SnapshotKey, Store,
    error::{At, Result, StoreError},
    root,
    session::Session,
};

/// The snapshots of a store.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    store: &'a Store,
}

impl<'a> Snapshots<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The delta directory, if there is one. It must not be changed.
    pub fn path(&self, key: &SnapshotKey) -> Result<Option<PathBuf>> {
        self.store.protect(&object(key))?;
        let path = self.location(key);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(Some(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Starts a snapshot: an empty delta directory (mode 0755) and an empty work directory beside it.
    pub fn begin(&self) -> Result<PendingSnapshot> {
        let session = self.store.session()?;
        let directory = session.fresh_path();
        let pending = PendingSnapshot {
            delta: directory.join("delta"),
            work: directory.join("work"),
            directory,
            _session: session,
        };
        fs::create_dir(&pending.directory).at(&pending.directory)?;
        for path in [&pending.delta, &pending.work] {
            fs::create_dir(path).at(path)?;
            // Not left to the umask: a layer may hold it.
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).at(path)?;
        }
        Ok(pending)
    }

    /// Puts a finished snapshot in place and returns its delta directory. If another build was
    /// faster, its snapshot stays and this one is dropped. Nothing may be mounted on it any more.
    pub fn commit(&self, pending: PendingSnapshot, key: &SnapshotKey) -> Result<PathBuf> {
        self.store.protect(&object(key))?;
        let path = self.location(key);
        match renameat_with(CWD, &pending.delta, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => self.store.committed(),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(StoreError::io(&path, error.into())),
        }
        Ok(path)
    }

    /// All snapshots, in no order.
    pub fn list(&self) -> Result<Vec<SnapshotKey>> {
        let names = root::names(&self.store.inner.root.snapshots())?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    /// Where the snapshot is, or would be.
    pub(crate) fn location(&self, key: &SnapshotKey) -> PathBuf {
        self.store.inner.root.snapshots().join(key.to_string())
    }
}

/// How leases name a snapshot.
pub(crate) fn object(key: &SnapshotKey) -> String {
    format!("snapshot {key}")
}

/// A snapshot being made. Dropped without [`Snapshots::commit`], it leaves nothing.
#[derive(Debug)]
pub struct PendingSnapshot {
    directory: PathBuf,
    delta: PathBuf,
    work: PathBuf,
    /// Keeps the directory.
    _session: Arc<Session>,
}

impl PendingSnapshot {
    /// Where the changes go (overlayfs `upperdir`).
    pub fn delta(&self) -> &Path {
        &self.delta
    }

    /// Overlayfs `workdir`, on the same file system.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Drop for PendingSnapshot {
    fn drop(&mut self) {
        // What stays behind goes with the session.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
