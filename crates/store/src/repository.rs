//! Git repositories that are kept between builds, so that only what is new has to be fetched.
//!
//! What is in them is git's. A repository holds nothing that could not be fetched again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Timestamps, UTIME_NOW, utimensat};

use crate::{
    Store,
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

/// The repositories that are kept.
pub(crate) fn list(root: &Root) -> Result<Vec<PathBuf>> {
    let directory = root.repositories();
    let paths = root::names(&directory)?.into_iter().map(|name| directory.join(name));
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// Whether somebody uses the repository now.
pub(crate) fn is_in_use(root: &Root, path: &Path) -> Result<bool> {
    Ok(Lock::try_exclusive(root.named_lock(&lock_name(path)))?.is_none())
}

/// Takes a repository away, unless somebody uses it; says whether it is gone.
pub(crate) fn take_away(root: &Root, path: &Path, trash: &mut Trash) -> Result<bool> {
    let Some(_unused) = Lock::try_exclusive(root.named_lock(&lock_name(path)))? else { return Ok(false) };
    trash.take(path)?;
    Ok(true)
}
