//! A cache directory shared by all tests of a user: each entry is made once, by whoever comes first.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Names another cache directory.
pub const DIRECTORY: &str = "ARCHWAY_TEST_CACHE";

/// A directory of entries that are complete or absent, also after a kill.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at `$ARCHWAY_TEST_CACHE`, else `$XDG_CACHE_HOME/archway-testkit`, else
    /// `~/.cache/archway-testkit`, else under the temporary directory.
    pub fn open() -> io::Result<Self> {
        let xdg = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let home =
            || env::var_os("HOME").filter(|dir| !dir.is_empty()).map(|home| Path::new(&home).join(".cache"));
        let root = env::var_os(DIRECTORY)
            .map(PathBuf::from)
            .unwrap_or_else(|| xdg.or_else(home).unwrap_or_else(env::temp_dir).join("archway-testkit"));
        Self::at(root)
    }

    /// The cache at `root`, which is made if needed.
    pub fn at(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root: root.canonicalize()? })
    }

    /// The directory of entry `name`. When there is none yet, `make` fills an empty directory that
    /// becomes the entry; other processes and threads that want the same entry wait meanwhile.
    ///
    /// # Errors
    /// Those of `make`, and of creating, locking and renaming; the entry is then absent.
    pub fn entry<E: From<io::Error>>(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let entry = self.root.join(name);
        if entry.is_dir() {
            return Ok(entry);
        }
        let _lock = self.lock(name)?;
        if !entry.is_dir() {
            let pending = tempfile::Builder::new().prefix(".making-").tempdir_in(&self.root)?;
            make(pending.path())?;
            fs::rename(pending.path(), &entry)?;
        }
        Ok(entry)
    }

    /// Holds the lock of `name` until the file is dropped. A killed process lets go of it.
    pub fn lock(&self, name: &str) -> io::Result<fs::File> {
        let file = fs::File::create(self.root.join(format!("{name}.lock")))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// A directory that is not an entry: whoever uses it must hold [`Cache::lock`] of that name.
    pub fn scratch(&self, name: &str) -> io::Result<PathBuf> {
        let directory = self.root.join(name);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn makes_an_entry_once_for_many_threads() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path()).unwrap();
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let make = |dir: &Path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        fs::write(dir.join("file"), "content")
                    };
                    let entry = cache.entry("one", make).unwrap();
                    assert_eq!(fs::read(entry.join("file")).unwrap(), b"content");
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_failure_leaves_no_entry() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path()).unwrap();
        cache.entry("one", |_| Err(io::Error::other("no network"))).unwrap_err();
        let entry = cache.entry("one", |dir| fs::write(dir.join("file"), "second try")).unwrap();
        assert_eq!(fs::read(entry.join("file")).unwrap(), b"second try");
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the entry and its lock, nothing half-made: {left:?}");
    }
}
