//! Git repositories that are kept between builds, so that only what is new has to be fetched.
//!
//! What is in them is git's. A repository holds nothing that could not be fetched again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{AtFlags, CWD, Timestamps, UTIME_NOW, utimensat};

use crate::{
    KeepPolicy, Store,
    error::{At, Result},
    garbage::Trash,
    lock::Lock,
    root::{self, Root},
};

/// The file with the keys of SSH hosts.
const KNOWN_HOSTS: &str = "known_hosts";

/// Where a repository is, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its directory.
    pub path: PathBuf,
    /// The name of the lock that whoever uses it has to hold.
    pub lock: String,
}

impl Store {
    /// The repository called `name`; the name may be secret. Notes that it is used.
    pub fn repository(&self, name: &str) -> Result<Repository> {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        let path = self.repositories()?.join(hash.as_str());
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match utimensat(CWD, &path, &times, AtFlags::empty()).map_err(io::Error::from) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(&path)?,
            _ => {}
        }
        Ok(Repository { lock: lock_name(&path), path })
    }

    /// A file for the keys of SSH hosts, which need not be there.
    pub fn known_hosts(&self) -> Result<PathBuf> {
        Ok(self.repositories()?.join(KNOWN_HOSTS))
    }

    /// Stores of earlier versions have no such directory.
    fn repositories(&self) -> Result<PathBuf> {
        let directory = self.inner.root.repositories();
        fs::create_dir_all(&directory).at(&directory)?;
        Ok(directory)
    }
}

fn lock_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("git {name}")
}

/// Takes away the repositories that nobody uses, and did not for long enough.
pub(crate) fn sweep(root: &Root, keep: &KeepPolicy, trash: &mut Trash) -> Result<()> {
    for name in root::names(&root.repositories())? {
        let path = root.repositories().join(name);
        let found = fs::metadata(&path).at(&path)?;
        let used = found.modified().at(&path)?;
        let age = SystemTime::now().duration_since(used).unwrap_or_default();
        let is_old = keep.all || keep.unused_for.is_some_and(|limit| age > limit);
        if !is_old || !found.is_dir() {
            continue;
        }
        if let Some(_unused) = Lock::try_exclusive(root.named_lock(&lock_name(&path)))? {
            trash.take(&path)?;
        }
    }
    Ok(())
}
