//! Removal of what nothing needs: mark from image names, cache records and leases, then sweep.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

mod mark;

use self::mark::Mark;
use crate::{
    Store, copied,
    error::{At, Result, StoreError},
    lock::Lock,
    member, repository,
    root::{self, Root},
    session::{self, Observed},
    usage,
};

/// What a collection keeps besides images and what running processes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepPolicy {
    /// Drop the build cache: every cache record, base layer and file hash that no image needs.
    pub all: bool,
    /// Drop the parts of the build cache that were not used for this long.
    pub unused_for: Option<Duration>,
}

impl KeepPolicy {
    /// The time of last use, in seconds since 1970, before which cache records are dropped.
    fn oldest_use(&self) -> Option<i64> {
        if self.all {
            return Some(i64::MAX);
        }
        let age = i64::try_from(self.unused_for?.as_secs()).unwrap_or(i64::MAX);
        Some(Timestamp::now().as_second().saturating_sub(age))
    }
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Cache records.
    pub cache_records: u64,
    /// Directories left by processes that died.
    pub dead_sessions: u64,
    /// Bytes freed on the disk.
    pub bytes: u64,
}

pub(crate) fn collect(store: &Store, keep: &KeepPolicy) -> Result<Collected> {
    let inner = &store.inner;
    let root = &inner.root;
    let mut collected = Collected::default();
    let collecting = Lock::exclusive(root.garbage_lock())?;
    let mut trash = Trash::new(root, &collecting)?;
    let leased = inspect_sessions(root, &mut trash, &mut collected)?;
    let needed = inner.index.write(|transaction| {
        let mut mark = Mark::new(store, transaction, leased);
        mark.images()?;
        if let Some(oldest) = keep.oldest_use() {
            collected.cache_records = mark.expire(oldest)?;
        }
        mark.build_cache()?;
        mark.layers()?;
        Ok(mark.finish())
    })?;
    for digest in store.blobs().list()? {
        if !needed.contains(&crate::blob::object(&digest)) {
            trash.take(&store.blobs().location(&digest))?;
            collected.blobs += 1;
        }
    }
    for key in store.snapshots().list()? {
        if !needed.contains(&crate::snapshot::object(&key)) {
            trash.take(&store.snapshots().location(&key))?;
            collected.snapshots += 1;
        }
    }
    member::sweep(root, |object| needed.contains(object), &mut trash)?;
    copied::sweep(root, |object| needed.contains(object), &mut trash)?;
    sweep_file_hashes(root, keep, &mut trash)?;
    repository::sweep(root, keep, &mut trash)?;
    sweep_locks(root)?;
    drop(collecting);

    collected.bytes = trash.empty()?;
    Ok(collected)
}

/// Takes away what dead processes left; returns what live ones use.
fn inspect_sessions(root: &Root, trash: &mut Trash, collected: &mut Collected) -> Result<HashSet<String>> {
    let mut leased = HashSet::new();
    for name in root::names(&root.sessions())? {
        let directory = root.sessions().join(name);
        match session::observe(&directory)? {
            Observed::Live(objects) => leased.extend(objects),
            Observed::Dead => {
                trash.take(&directory)?;
                collected.dead_sessions += 1;
            }
        }
    }
    Ok(leased)
}

fn sweep_file_hashes(root: &Root, keep: &KeepPolicy, trash: &mut Trash) -> Result<()> {
    for name in root::names(&root.file_hashes())? {
        let path = root.file_hashes().join(name);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).at(&path)?;
        let age = modified.elapsed().unwrap_or_default();
        if keep.all || keep.unused_for.is_some_and(|limit| age > limit) {
            trash.take(&path)?;
        }
    }
    Ok(())
}

fn sweep_locks(root: &Root) -> Result<()> {
    for name in root::names(&root.locks())? {
        if let Some(lock) = Lock::try_exclusive(root.locks().join(name))? {
            lock.remove()?;
        }
    }
    Ok(())
}

/// Takes things away at once and removes them later, so that locks are held only briefly.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: PathBuf,
    count: u64,
}

impl Trash {
    /// Also takes what collections that were killed left. The garbage lock has to be held, so that
    /// no other collection is taking things away.
    pub(crate) fn new(root: &Root, _collecting: &Lock) -> Result<Self> {
        let all = root.trash();
        let leftovers = root::names(&all)?;
        let directory = tempfile::tempdir_in(&all).at(&all)?.keep();
        let mut trash = Self { directory, count: 0 };
        for name in leftovers {
            trash.take(&all.join(name))?;
        }
        Ok(trash)
    }

    /// Moves `path` away. It is no error if it is gone.
    pub(crate) fn take(&mut self, path: &Path) -> Result<()> {
        self.count += 1;
        match fs::rename(path, self.directory.join(self.count.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, error)),
            _ => Ok(()),
        }
    }

    /// Removes everything taken away. Returns the bytes freed.
    pub(crate) fn empty(self) -> Result<u64> {
        let bytes = usage::disk_usage(&self.directory)?;
        match fs::remove_dir_all(&self.directory) {
            // Another collection may have thought that we died.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(&self.directory, error))
            }
            _ => Ok(bytes),
        }
    }
}
