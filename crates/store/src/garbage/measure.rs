//! Disk space. Files with several names are counted once, wherever the names are.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    SnapshotKey, Store, cache_mount,
    error::{Result, StoreError},
    root,
};

/// Threads that walk. More do not help: the kernel's locks on directories are the limit.
const WALKERS: usize = 4;

/// A file, by device and inode.
pub(crate) type FileId = (u64, u64);

/// The space that one thing takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    /// Bytes of files that nothing else has.
    pub(crate) own: u64,
    /// Bytes of files that others may have, too.
    pub(crate) linked: Vec<(FileId, u64)>,
}

impl Footprint {
    /// Of a file, or of a directory with all that is in it. What vanishes meanwhile takes no space.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let mut own = 0;
        // Bytes, names found, names there are.
        let mut linked: HashMap<FileId, (u64, u64, u64)> = HashMap::new();
        walk(path, |metadata| match is_linked(metadata) {
            false => own += allocated(metadata),
            true => {
                let found = linked.entry(file_id(metadata)).or_default();
                *found = (allocated(metadata), found.1 + 1, metadata.nlink());
            }
        })?;
        let mut footprint = Self { own, linked: Vec::new() };
        for (id, (bytes, found, names)) in linked {
            if found < names {
                footprint.linked.push((id, bytes));
            } else {
                footprint.own += bytes;
            }
        }
        Ok(footprint)
    }

    /// Adds a file that others may have, too; nothing if it is missing.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<()> {
        walk(path, |metadata| self.linked.push((file_id(metadata), allocated(metadata))))
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.own + self.linked.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// The space of several things together.
pub(crate) fn sum<'a>(footprints: impl IntoIterator<Item = &'a Footprint>) -> u64 {
    let mut counted = HashSet::new();
    let mut bytes = 0;
    for footprint in footprints {
        bytes += footprint.own;
        for (id, linked) in &footprint.linked {
            if counted.insert(*id) {
                bytes += linked;
            }
        }
    }
    bytes
}

/// What takes long to measure, measured without a lock. Snapshots do not change; of the others this is as good
/// as later.
#[derive(Debug, Default)]
pub(crate) struct Measured(HashMap<PathBuf, Footprint>);

impl Measured {
    /// Walks the snapshots of the store, its cache mounts and its git repositories.
    pub(crate) fn take(store: &Store) -> Result<Self> {
        let root = &store.inner.root;
        let mut paths = cache_mount::data_directories(root)?;
        for directory in [root.snapshots(), root.repositories()] {
            paths.extend(root::names(&directory)?.into_iter().map(|name| directory.join(name)));
        }
        let next = AtomicUsize::new(0);
        let measured = Mutex::new(HashMap::with_capacity(paths.len()));
        let walk = || -> Result<()> {
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                let footprint = Footprint::of(path)?;
                measured.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), footprint);
            }
            Ok(())
        };
        let walkers = thread::available_parallelism().map_or(1, usize::from).min(WALKERS);
        thread::scope(|scope| {
            let others: Vec<_> = (1..walkers).map(|_| scope.spawn(walk)).collect();
            let first = walk();
            others
                .into_iter()
                .map(|other| other.join().expect("walking does not panic"))
                .fold(first, Result::and)
        })?;
        Ok(Self(measured.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Of a snapshot; measured now if it is newer.
    pub(crate) fn snapshot(&self, store: &Store, key: &SnapshotKey) -> Result<Footprint> {
        self.path(&store.snapshots().location(key))
    }

    /// Of what is at `path`; measured now if it is newer.
    pub(crate) fn path(&self, path: &Path) -> Result<Footprint> {
        self.0.get(path).map_or_else(|| Footprint::of(path), |known| Ok(known.clone()))
    }
}

/// Bytes that a file, or a directory with everything in it, takes on the disk.
pub(crate) fn disk_usage(path: &Path) -> Result<u64> {
    Ok(Footprint::of(path)?.bytes())
}

/// Bytes that are free when everything in the directory `path` is removed.
pub(crate) fn freed_with_content(path: &Path) -> Result<u64> {
    let itself = fs::symlink_metadata(path).map_or(0, |metadata| allocated(&metadata));
    Ok(Footprint::of(path)?.own.saturating_sub(itself))
}

fn walk(path: &Path, mut visit: impl FnMut(&Metadata)) -> Result<()> {
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io(&path, error)),
            Ok(metadata) => metadata,
        };
        if metadata.is_dir() {
            pending.extend(root::names(&path)?.into_iter().map(|name| path.join(name)));
        }
        visit(&metadata);
    }
    Ok(())
}

fn is_linked(metadata: &Metadata) -> bool {
    !metadata.is_dir() && metadata.nlink() > 1
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Blocks of `stat` are of 512 bytes on every file system.
fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_several_names_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        for path in [&a, &b] {
            fs::create_dir(path).unwrap();
        }
        let empty = disk_usage(&a).unwrap();
        fs::write(a.join("file"), vec![1; 100_000]).unwrap();
        fs::hard_link(a.join("file"), a.join("again")).unwrap();
        let once = disk_usage(&a).unwrap();
        assert!((100_000..110_000).contains(&(once - empty)), "{once}");
        // Both of its names are in it: nobody else has it.
        assert_eq!(freed_with_content(&a).unwrap(), once - empty);

        fs::hard_link(a.join("file"), b.join("elsewhere")).unwrap();
        assert_eq!((disk_usage(&a).unwrap(), disk_usage(&b).unwrap()), (once, once));
        assert_eq!(freed_with_content(&a).unwrap(), 0);
        let both = [Footprint::of(&a).unwrap(), Footprint::of(&b).unwrap()];
        assert_eq!(sum(&both), once + empty);
        assert_eq!(freed_with_content(directory.path()).unwrap(), once + empty);
    }
}
