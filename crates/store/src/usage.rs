//! Disk usage.

use std::{
    collections::HashSet,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::{
    Store,
    error::{Result, StoreError},
    root,
};

/// A number of things and the disk space they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes allocated on the disk.
    pub bytes: u64,
}

/// What takes space in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Blobs.
    pub blobs: Tally,
    /// Snapshots.
    pub snapshots: Tally,
    /// Cache records, with the whole index and the tables about blobs and snapshots.
    pub index: Tally,
    /// Tables of file hashes.
    pub file_hashes: Tally,
    /// Cache mounts.
    pub cache_mounts: Tally,
    /// Unfinished objects of running and dead processes, and what is being removed.
    pub temporary: Tally,
}

pub(crate) fn measure(store: &Store) -> Result<Usage> {
    let inner = &store.inner;
    let root = &inner.root;
    let records =
        inner.index.read(|c| c.query_row("SELECT count(*) FROM cache", [], |row| row.get::<_, u64>(0)))?;
    let mut index = Tally { count: records, bytes: 0 };
    for suffix in ["", "-wal", "-shm"] {
        let mut path = inner.index.path().as_os_str().to_owned();
        path.push(suffix);
        index.bytes += disk_usage(Path::new(&path))?;
    }
    index.bytes += tally(&root.members())?.bytes + tally(&root.copied())?.bytes;
    let (sessions, trash) = (tally(&root.sessions())?, tally(&root.trash())?);
    Ok(Usage {
        blobs: tally(&root.blobs())?,
        snapshots: tally(&root.snapshots())?,
        index,
        file_hashes: tally(&root.file_hashes())?,
        cache_mounts: tally(&root.cache_mounts())?,
        temporary: Tally { count: sessions.count + trash.count, bytes: sessions.bytes + trash.bytes },
    })
}

/// The entries of a directory.
fn tally(directory: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    for name in root::names(directory)? {
        tally.count += 1;
        tally.bytes += disk_usage(&directory.join(name))?;
    }
    Ok(tally)
}

/// Bytes that a file, or a directory with everything in it, takes on the disk; each hard-linked file
/// counts once. What vanishes meanwhile takes none.
pub(crate) fn disk_usage(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut linked = HashSet::new();
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io(&path, error)),
            Ok(metadata) => metadata,
        };
        if metadata.is_dir() {
            pending.extend(root::names(&path)?.into_iter().map(|name| path.join(name)));
        } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        bytes += allocated(&metadata);
    }
    Ok(bytes)
}

/// Blocks of `stat` are of 512 bytes on every file system.
fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}
