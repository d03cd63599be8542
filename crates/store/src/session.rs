//! Sessions: what a running process uses, and where it makes things.
//!
//! A session is a directory that holds unfinished objects and a lease. The lease is locked for as
//! long as the process lives, and names, a line each, the objects the process uses. Lines are
//! appended under the shared garbage lock; the collector reads them under the exclusive one. So an
//! object found *after* it was named cannot be removed any more.

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::{At, Result, StoreError},
    lock::Gate,
    root::Root,
};

const LEASE: &str = "lease";

/// The session of this process; ends when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    lease: Mutex<Lease>,
    next: AtomicU64,
    /// Overlay work directories that nothing is mounted on any more.
    spare_work: Mutex<Vec<PathBuf>>,
}

#[derive(Debug)]
struct Lease {
    file: File,
    objects: HashSet<String>,
    /// The garbage lock.
    collecting: Gate,
}

impl Session {
    pub(crate) fn start(root: &Root) -> Result<Self> {
        let sessions = root.sessions();
        let mut collecting = Gate::open(root.garbage_lock())?;
        // The collector must not see the session before its lease is locked.
        let (directory, file) = collecting.shared(|| {
            let directory = tempfile::Builder::new()
                .prefix(&format!("{}-", std::process::id()))
                .tempdir_in(&sessions)
                .at(&sessions)?
                .keep();
            let path = directory.join(LEASE);
            let file = File::options().create_new(true).append(true).open(&path).at(&path)?;
            file.lock().at(&path)?;
            Ok((directory, file))
        })?;
        let lease = Mutex::new(Lease { file, objects: HashSet::new(), collecting });
        Ok(Self { directory, lease, next: AtomicU64::new(0), spare_work: Mutex::new(Vec::new()) })
    }

    /// Names `object` in the lease, unless it is there.
    pub(crate) fn protect(&self, object: &str) -> Result<()> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let Lease { file, objects, collecting } = &mut *lease;
        if !objects.contains(object) {
            // A line that a full disk cut short ends here.
            let line = format!("\n{object}");
            collecting.shared(|| file.write_all(line.as_bytes()).at(&self.directory))?;
            objects.insert(object.to_owned());
        }
        Ok(())
    }

    /// A path that nobody uses, for an unfinished object.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A work directory: making and removing one for each step costs more than starting a process.
    pub(crate) fn take_work(&self) -> Result<PathBuf> {
        let spare = self.spare_work.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            Some(path) => Ok(path),
            None => {
                let path = self.fresh_path();
                fs::create_dir(&path).at(&path)?;
                Ok(path)
            }
        }
    }

    /// Takes back a work directory that nothing is mounted on.
    ///
    /// What overlayfs made in it (`work`, and the marks of a volatile mount) it would remove at the next
    /// mount. It is moved aside and goes with the session: to remove and make the same files over and over
    /// takes some file systems longer each time (ext4 without a journal looks at all inodes that were freed
    /// within a minute before it takes one).
    pub(crate) fn give_work(&self, path: PathBuf) {
        let used = path.join(format!("used-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        // Nothing was mounted on it, or it cannot be moved: then overlayfs cleans it.
        let _ = fs::rename(path.join("work"), used);
        self.spare_work.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whatever stays behind is removed by the next collection.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What the collector sees of a session.
pub(crate) enum Observed {
    /// Its process runs, and uses these objects.
    Live(HashSet<String>),
    /// Its process is gone.
    Dead,
}

/// Looks at the session in `directory`. The caller holds the exclusive garbage lock.
pub(crate) fn observe(directory: &Path) -> Result<Observed> {
    let path = directory.join(LEASE);
    let mut lease = match File::open(&path) {
        // It is just being dropped.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Observed::Dead),
        file => file.at(&path)?,
    };
    match lease.try_lock() {
        Ok(()) => Ok(Observed::Dead),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            lease.read_to_string(&mut text).at(&path)?;
            Ok(Observed::Live(text.lines().map(str::to_owned).collect()))
        }
        Err(TryLockError::Error(error)) => Err(StoreError::io(&path, error)),
    }
}
