//! The root file system of a step, seen from outside: a detached overlay mount of its deltas.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use archway_sandbox::overlay;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid},
    io::Errno,
};

use tempfile::TempDir;

use crate::{
    StepError,
    directory::NEW_DIRECTORY_MODE,
    stack,
    tree::{self, Found, Kind, Tree},
};

/// Times that opening is tried again after a race.
const MAX_RACES: usize = 10_000;
/// Longest symlink target that is read.
const MAX_LINK: usize = 4096;

/// A root file system that can be read. Unmounted when dropped.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    /// Directories that only make up the numbers.
    _padding: Option<TempDir>,
}

impl View {
    /// Mounts `deltas` (bottom first), read-only.
    pub fn open(deltas: &[PathBuf]) -> Result<Self, StepError> {
        Self::mount(deltas, None)
    }

    /// Mounts `deltas` with `upper` on top, which receives every change; `work` is empty and beside it.
    pub fn open_writable(deltas: &[PathBuf], upper: &Path, work: &Path) -> Result<Self, StepError> {
        Self::mount(deltas, Some((upper, work)))
    }

    /// An overlay needs two layers, and `scratch` has none.
    fn mount(deltas: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<Self, StepError> {
        let mut lowers = stack::without_repeats(deltas);
        lowers.reverse();
        let mut padding = None;
        if lowers.len() < 2 {
            let directory = tempfile::tempdir().map_err(StepError::io(std::env::temp_dir()))?;
            for name in ["a", "b"] {
                let empty = directory.path().join(name);
                std::fs::create_dir(&empty).map_err(StepError::io(&empty))?;
                lowers.push(empty);
            }
            padding = Some(directory);
        }
        let root = overlay::mount_detached(&lowers, upper).map_err(StepError::Sandbox)?;
        Ok(Self { root, _padding: padding })
    }

    /// The root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A path to the root directory, good as long as the view lives, in this process only.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.root.as_raw_fd()).into()
    }

    /// The status of what is at `path`; symlinks in its parents are followed inside the root, the
    /// last component is not.
    pub fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => Ok(Some(rustix::fs::fstat(fd)?)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file for reading, following symlinks inside the root; `None` if it is missing.
    pub fn open_file(&self, path: &str) -> io::Result<Option<File>> {
        match self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Target of the symlink at `path`.
    pub fn read_link(&self, path: &str) -> io::Result<String> {
        let link = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = rustix::fs::readlinkat(&link, "", Vec::with_capacity(MAX_LINK))?;
        target.into_string().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Makes the directory at `path` and its parents where they are missing, with this owner, and opens it.
    pub fn make_directories(&self, path: &str, uid: u32, gid: u32) -> io::Result<OwnedFd> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let mode = Mode::from_raw_mode(NEW_DIRECTORY_MODE);
        let resolved = tree::resolve(self, path)?.path;
        for directory in tree::ancestors(&resolved).chain([resolved.as_str()]) {
            let relative = directory.trim_start_matches('/');
            match rustix::fs::mkdirat(&self.root, relative, mode) {
                Ok(()) => {
                    rustix::fs::chownat(&self.root, relative, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                    // The umask may have taken bits away.
                    rustix::fs::chmodat(&self.root, relative, mode, AtFlags::empty())?;
                }
                Err(Errno::EXIST | Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.open_at(&resolved, OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    fn open_at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let relative = path.trim_start_matches('/');
        let path = if relative.is_empty() { "." } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        // Something on this machine may be renamed or mounted while a `..` is resolved (openat2(2)).
        (0..MAX_RACES)
            .map(|_| open())
            .find(|opened| !matches!(opened, Err(Errno::AGAIN)))
            .unwrap_or_else(open)
    }
}

impl Tree for View {
    fn lstat(&self, path: &str) -> io::Result<Option<Found>> {
        let Some(stat) = self.stat(path)? else { return Ok(None) };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink(self.read_link(path)?),
            _ => Kind::Special,
        };
        Ok(Some(Found { kind, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }))
    }
}
