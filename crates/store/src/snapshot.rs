//! Snapshots: directories that hold the delta of one layer, in the form overlayfs keeps an upper
//! directory.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    About, SnapshotKey, Store, about,
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

    /// Starts a snapshot: an empty delta directory (mode 0755), and a work directory beside it.
    pub fn begin(&self) -> Result<PendingSnapshot> {
        let session = self.store.session()?;
        let delta = session.fresh_path();
        fs::create_dir(&delta).at(&delta)?;
        let pending = PendingSnapshot { work: session.take_work()?, delta, session };
        // Not left to the umask: a layer may hold it.
        fs::set_permissions(&pending.delta, Permissions::from_mode(0o755)).at(&pending.delta)?;
        Ok(pending)
    }

    /// Puts a finished snapshot in place and returns its delta directory. If another build was
    /// faster, its snapshot stays and this one is dropped. Nothing may be mounted on it any more.
    pub fn commit(&self, mut pending: PendingSnapshot, key: &SnapshotKey) -> Result<PathBuf> {
        self.store.protect(&object(key))?;
        let path = self.location(key);
        match renameat_with(CWD, &pending.delta, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => self.store.committed(),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(StoreError::io(&path, error.into())),
        }
        pending.session.give_work(std::mem::take(&mut pending.work));
        Ok(path)
    }

    /// Notes what a snapshot is, unless that is known.
    pub fn describe(&self, key: &SnapshotKey, about: &About) -> Result<()> {
        let index = &self.store.inner.index;
        index.write(|t| about::note(t, key, about).map_err(|error| index.failed(error)))
    }

    /// What is known of a snapshot.
    pub fn about(&self, key: &SnapshotKey) -> Result<Option<About>> {
        self.store.inner.index.read(|c| about::find(c, key))
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
    delta: PathBuf,
    /// Empty once it was given back.
    work: PathBuf,
    /// Keeps the directories.
    session: Arc<Session>,
}

impl PendingSnapshot {
    /// Where the changes go (overlayfs `upperdir`).
    pub fn delta(&self) -> &Path {
        &self.delta
    }

    /// Overlayfs `workdir`, on the same file system. It may have been one before; overlayfs cleans it
    /// when it is mounted, provided that no earlier mount was `volatile`.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Drop for PendingSnapshot {
    fn drop(&mut self) {
        // After a commit the delta is gone, or another one is in its place. What cannot be removed
        // goes with the session.
        let _ = fs::remove_dir_all(&self.delta);
        if !self.work.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.work);
        }
    }
}
