//! The directory that is extracted into, and the only way to reach into it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags},
    io::Errno,
};

use super::ExtractError;
use crate::{
    overlay::{self, Markers},
    path,
};

/// Most symbolic links on the way to one directory (Linux `MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// What is at a place where an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing, or what was there is gone.
    Free,
    /// Nothing, and a whiteout was there: what is made hides a lower layer's.
    WasWhiteout,
    /// A directory, which stays.
    Directory,
    /// A link to a directory, or to nothing yet: as `ADD` of a root file system with `lib/` onto one
    /// with `lib -> usr/lib` wants it, a directory's entry is for what the link leads to.
    Link,
}

/// A directory that something goes into.
pub(super) struct Directory {
    fd: OwnedFd,
    /// Its group, which it may pass on to what is made in it.
    pub(super) gid: u32,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) struct Tree {
    root: OwnedFd,
    pub(super) markers: Markers,
    /// The directory the last entry went to. Forgotten when anything is removed, for that may have been
    /// on the way to it.
    recent: Option<(Vec<u8>, Rc<Directory>)>,
    /// Directories made because something in them was wanted.
    implied: BTreeSet<Vec<u8>>,
    memory: Memory,
}

/// Memory for what is remembered until the end of the archive, in bytes.
struct Memory {
    most: u64,
    left: u64,
}

impl Memory {
    /// What a path takes besides its bytes, roughly.
    const PATH: u64 = 64;
}

impl Tree {
    /// `memory`: bytes for all paths that are remembered.
    pub(super) fn open(root: &Path, markers: Markers, memory: u64) -> Result<Self, ExtractError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|errno| failed("open", root.as_os_str().as_bytes())(errno))?;
        let memory = Memory { most: memory, left: memory };
        Ok(Self { root: fd, markers, recent: None, implied: BTreeSet::new(), memory })
    }

    /// Takes memory for a path that is remembered until the end.
    pub(super) fn remember(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        let Memory { most, left } = &mut self.memory;
        let rest = left.checked_sub(path.len() as u64 + Memory::PATH);
        *left = rest.ok_or(ExtractError::Memory { most: *most })?;
        Ok(())
    }

    /// The directory at `path`, made if missing along with those above it.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Rc<Directory>, ExtractError> {
        if let Some((recent, directory)) = &self.recent
            && recent == path
        {
            return Ok(Rc::clone(directory));
        }
        let fd = match self.existing(path, OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_path(path)?,
            Err(errno) => return Err(failed("open", path)(errno)),
        };
        let gid = rustix::fs::fstat(&fd).map_err(failed("stat", path))?.st_gid;
        let directory = Rc::new(Directory { fd, gid });
        self.recent = Some((path.to_vec(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// The directory at `path`, if it is one, resolving symbolic links within the root.
    pub(super) fn existing(&self, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
        let at: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.root, at, flags, Mode::empty(), resolve) {
                // Something on this machine was renamed while a `..` was resolved (openat2(2)).
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
    }

    /// Takes a directory that turns out to have an entry from those that have none.
    pub(super) fn is_explicit(&mut self, path: &[u8]) {
        self.implied.remove(path);
    }

    /// The directories that have no entry.
    pub(super) fn implied(&self) -> impl Iterator<Item = &[u8]> {
        self.implied.iter().map(Vec::as_slice)
    }

    /// Walks to `path` component by component, making what is missing. Symbolic links are read here
    /// rather than followed, so that the missing end of one can be made inside the root.
    fn make_path(&mut self, path: &[u8]) -> Result<OwnedFd, ExtractError> {
        let mut to_come: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut here: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(name) = to_come.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    here.truncate(path::parent(&here).len());
                    continue;
                }
                _ => {}
            }
            let fd = self.existing(&here, OFlags::PATH).map_err(failed("open", &here))?;
            let next = path::join(&here, &name);
            match stat(fd.as_fd(), &name).map_err(failed("stat", &next))? {
                Some(stat) if kind(&stat) == FileType::Directory => here = next,
                Some(stat) if kind(&stat) == FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(failed("resolve", path)(Errno::LOOP));
                    }
                    let target = rustix::fs::readlinkat(&fd, name.as_slice(), Vec::new())
                        .map_err(failed("read the link", &next))?
                        .into_bytes();
                    if target.starts_with(b"/") {
                        here.clear();
                    }
                    to_come.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                found => {
                    let whiteout = found.is_some_and(|stat| self.is_whiteout(&stat));
                    if found.is_some() && !whiteout {
                        return Err(failed("create a directory at", &next)(Errno::NOTDIR));
                    }
                    self.make_implied(fd.as_fd(), &name, &next, whiteout)?;
                    here = next;
                }
            }
        }
        self.existing(&here, OFlags::PATH).map_err(failed("open", &here))
    }

    fn make_implied(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        whiteout: bool,
    ) -> Result<(), ExtractError> {
        if whiteout {
            self.remove(parent, name, path, false)?;
        }
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(failed("create", path))?;
        // The umask may have taken bits away.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())
            .map_err(failed("set the mode of", path))?;
        if whiteout {
            self.make_opaque(path)?;
        }
        self.remember(path)?;
        self.implied.insert(path.to_vec());
        Ok(())
    }

    /// Makes something at `name` in `parent`. Nearly always the place is free, so nobody looks before.
    pub(super) fn create<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<Result<T, Errno>, ExtractError> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear(parent, name, path, false)?;
                Ok(make())
            }
            made => Ok(made),
        }
    }

    /// Makes the place `name` in `parent` free for an entry. A directory stays if the entry is one.
    pub(super) fn clear(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        for_directory: bool,
    ) -> Result<Place, ExtractError> {
        let Some(stat) = stat(parent, name).map_err(failed("stat", path))? else { return Ok(Place::Free) };
        let is_directory = kind(&stat) == FileType::Directory;
        if is_directory && for_directory {
            return Ok(Place::Directory);
        }
        if for_directory && self.markers == Markers::Literal && kind(&stat) == FileType::Symlink {
            match self.existing(path, OFlags::PATH) {
                Err(Errno::NOTDIR) => {}
                _ => return Ok(Place::Link),
            }
        }
        self.remove(parent, name, path, is_directory)?;
        Ok(if self.is_whiteout(&stat) { Place::WasWhiteout } else { Place::Free })
    }

    fn remove(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        is_directory: bool,
    ) -> Result<(), ExtractError> {
        self.recent = None;
        let removed = if is_directory {
            remove_directory(parent, name)
        } else {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
        };
        removed.map_err(failed("remove", path))
    }

    /// Whether what is at `name` in `parent` only hides something.
    pub(super) fn is_whiteout_at(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
        Ok(stat(parent, name)?.is_some_and(|stat| self.is_whiteout(&stat)))
    }

    fn is_whiteout(&self, stat: &Stat) -> bool {
        self.markers == Markers::Translate && kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// Hides, at `name` in `parent`, what the layers below have there.
    pub(super) fn whiteout(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ExtractError> {
        match stat(parent, name).map_err(failed("stat", path))? {
            // The layer has its own directory there: only what is below is gone.
            Some(stat) if kind(&stat) == FileType::Directory => self.make_opaque(path),
            // The layer's own file hides what is below.
            Some(_) => Ok(()),
            None => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(failed("create a whiteout at", path)),
        }
    }

    /// Marks the directory at `path` (empty: the root) as hiding those below.
    pub(super) fn make_opaque(&self, path: &[u8]) -> Result<(), ExtractError> {
        let fd = self.existing(path, OFlags::RDONLY).map_err(failed("open", path))?;
        rustix::fs::fsetxattr(&fd, overlay::OPAQUE_XATTR, overlay::OPAQUE_VALUE, XattrFlags::empty())
            .map_err(failed("mark as opaque", path))
    }
}

/// Removes a directory and all that is in it, following nothing.
fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for member in Dir::read_from(&fd)? {
        let member = member?;
        let name = member.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(&fd, name, AtFlags::empty()) {
            // Linux says ISDIR, POSIX says PERM.
            Err(Errno::ISDIR | Errno::PERM) => remove_directory(fd.as_fd(), name)?,
            done => done?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn stat(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn os_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

pub(super) fn failed(action: &'static str, path: &[u8]) -> impl Fn(Errno) -> ExtractError + use<> {
    let path = os_path(path);
    move |errno| ExtractError::File { action, path: path.clone(), source: io::Error::from(errno) }
}
