//! Makes each entry, in the order of the archive.

use std::{
    fs::File,
    io::{self, BufRead},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::Errno,
};

use super::{
    ExtractError, Ownership,
    born::Born,
    tree::{Directory, Place, Tree, failed, os_path},
};
use crate::{
    archive::{Entry, EntryKind, ReadError, TarReader, Timestamp},
    overlay::{self, Markers, Meaning, meaning},
    path,
};

/// What was made.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) skipped: Vec<PathBuf>,
    pub(super) implied_directories: Vec<PathBuf>,
    pub(super) opaque_root: bool,
}

/// An archive on its way into a directory.
pub(super) struct Extraction {
    tree: Tree,
    ownership: Ownership,
    born: Born,
    placed: Placed,
    /// Set at the end: making something in a directory changes its time.
    directory_times: Vec<DirectoryTime>,
}

struct DirectoryTime {
    path: Vec<u8>,
    mtime: Timestamp,
    /// Whether a symbolic link at `path` itself is followed. Otherwise a link there has replaced the
    /// directory.
    through_link: bool,
}

impl Extraction {
    pub(super) fn new(tree: Tree, ownership: Ownership) -> Self {
        let born = Born::new(tree.markers);
        Self { tree, ownership, born, placed: Placed::default(), directory_times: Vec::new() }
    }

    /// Makes `entry`, whose data is what `data` reads next.
    pub(super) fn place<R: BufRead>(
        &mut self,
        entry: &Entry,
        data: &mut TarReader<R>,
    ) -> Result<(), ExtractError> {
        self.placed.entries += 1;
        if entry.path.is_empty() {
            // The root is the caller's, and stays as it is (so does BuildKit's).
            return if entry.kind == EntryKind::Directory { Ok(()) } else { Err(ExtractError::Root) };
        }
        let meaning = match self.tree.markers {
            Markers::Translate => meaning(&entry.path),
            Markers::Literal => Meaning::Plain,
        };
        let parent = path::parent(&entry.path);
        match meaning {
            Meaning::Plain => self.plain(entry, data),
            Meaning::Bookkeeping => Ok(()),
            Meaning::Opaque => {
                self.tree.directory(parent)?;
                self.placed.opaque_root |= parent.is_empty();
                self.tree.make_opaque(parent)
            }
            Meaning::Whiteout(b"" | b"." | b"..") => {
                Err(ExtractError::Whiteout { path: os_path(&entry.path) })
            }
            Meaning::Whiteout(name) => {
                let directory = self.tree.directory(parent)?;
                let hidden = if parent.is_empty() { name.to_vec() } else { [parent, name].join(&b'/') };
                self.tree.whiteout(directory.as_fd(), name, &hidden)
            }
        }
    }

    fn plain<R: BufRead>(&mut self, entry: &Entry, data: &mut TarReader<R>) -> Result<(), ExtractError> {
        if self.tree.markers == Markers::Literal && is_special(&entry.kind) {
            self.tree.remember(&entry.path)?;
            self.placed.skipped.push(os_path(&entry.path));
            return Ok(());
        }
        let parent = self.tree.directory(path::parent(&entry.path))?;
        let name = path::name(&entry.path);
        match &entry.kind {
            EntryKind::File { size } => self.file(&parent, name, entry, *size, data),
            EntryKind::Directory => self.directory(&parent, name, entry),
            EntryKind::Symlink { target } => {
                let make = || rustix::fs::symlinkat(target.as_slice(), &parent, name);
                self.tree
                    .create(parent.as_fd(), name, &entry.path, make)?
                    .map_err(failed("create", &entry.path))?;
                self.own_at(&parent, name, entry)?;
                set_times_at(&parent, name, entry)
            }
            EntryKind::Hardlink { target } => self.hardlink(&parent, name, entry, target),
            EntryKind::CharDevice { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(&parent, name, entry, FileType::CharacterDevice, device)
            }
            EntryKind::BlockDevice { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(&parent, name, entry, FileType::BlockDevice, device)
            }
            EntryKind::Fifo => self.node(&parent, name, entry, FileType::Fifo, 0),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        size: u64,
        data: &mut TarReader<R>,
    ) -> Result<(), ExtractError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A read-only mode forbids attributes, which then come before it.
        let has_attributes = entry.xattrs.keys().any(|name| overlay::is_image_xattr(name));
        let mode = if has_attributes { 0o600 } else { entry.mode & 0o777 };
        let make = || rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode));
        let file = self.tree.create(parent.as_fd(), name, &entry.path, make)?;
        let file = File::from(file.map_err(failed("create", &entry.path))?);
        self.copy(&file, entry, size, data)?;
        let is_done = !has_attributes
            && self.owner(entry).is_none_or(|(uid, gid)| self.born.has_owner(uid, gid, parent.gid))
            && self.born.has_mode(entry.mode, &file).map_err(failed("stat", &entry.path))?;
        if !is_done {
            self.metadata(file.as_fd(), entry)?;
        }
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(failed("set the time of", &entry.path))?;
        self.placed.bytes = self.placed.bytes.saturating_add(size);
        Ok(())
    }

    /// Writes the segments of a file; what is between them stays a hole.
    fn copy<R: BufRead>(
        &self,
        file: &File,
        entry: &Entry,
        size: u64,
        data: &mut TarReader<R>,
    ) -> Result<(), ExtractError> {
        let write = |source| ExtractError::File { action: "write", path: os_path(&entry.path), source };
        let mut end = 0;
        for at in 0..data.segments().len() {
            let segment = data.segments()[at];
            let mut done = 0;
            while done < segment.length {
                let available = available(data)?;
                let most = usize::try_from(segment.length - done).unwrap_or(usize::MAX);
                let count = available.len().min(most);
                file.write_all_at(&available[..count], segment.offset + done).map_err(write)?;
                data.consume(count);
                done += count as u64;
            }
            // GNU tar ends a map with an empty segment, which makes no file longer.
            if done > 0 {
                end = segment.offset + done;
            }
        }
        if end < size { file.set_len(size).map_err(write) } else { Ok(()) }
    }

    fn directory(&mut self, parent: &Directory, name: &[u8], entry: &Entry) -> Result<(), ExtractError> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        let place = match make() {
            Err(Errno::EXIST) => self.tree.clear(parent.as_fd(), name, &entry.path, true)?,
            made => made.map(|()| Place::Directory).map_err(failed("create", &entry.path))?,
        };
        self.tree.is_explicit(&entry.path);
        self.tree.remember(&entry.path)?;
        let (path, through_link) = (entry.path.clone(), place == Place::Link);
        self.directory_times.push(DirectoryTime { path, mtime: entry.mtime, through_link });
        match place {
            Place::Directory => {}
            Place::Free | Place::WasWhiteout => make().map_err(failed("create", &entry.path))?,
            Place::Link => {
                self.tree.directory(&entry.path)?;
                let fd = self.tree.existing(&entry.path, OFlags::RDONLY);
                let fd = fd.map_err(failed("open", &entry.path))?;
                return self.metadata(fd.as_fd(), entry);
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed("open", &entry.path))?;
        if place == Place::WasWhiteout {
            self.tree.make_opaque(&entry.path)?;
        }
        self.metadata(fd.as_fd(), entry)
    }

    /// Another name of what an earlier entry made, whose metadata stands. The target's parents are
    /// resolved within the root, the target itself is not followed.
    fn hardlink(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), ExtractError> {
        let missing = || ExtractError::LinkTarget { path: os_path(&entry.path), target: os_path(target) };
        if target.is_empty() {
            return Err(missing());
        }
        let directory = match self.tree.existing(path::parent(target), OFlags::PATH) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            Err(errno) => return Err(failed("open", target)(errno)),
        };
        // A whiteout is nothing that could have another name.
        if self.tree.is_whiteout_at(directory.as_fd(), path::name(target)).map_err(failed("stat", target))? {
            return Err(missing());
        }
        let make = || rustix::fs::linkat(&directory, path::name(target), parent, name, AtFlags::empty());
        match self.tree.create(parent.as_fd(), name, &entry.path, make)? {
            Err(Errno::NOENT) => Err(missing()),
            done => done.map_err(failed("create", &entry.path)),
        }
    }

    /// A device or a named pipe.
    fn node(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        kind: FileType,
        device: rustix::fs::Dev,
    ) -> Result<(), ExtractError> {
        let mode = Mode::from_raw_mode(entry.mode);
        let make = || rustix::fs::mknodat(parent, name, kind, mode, device);
        match self.tree.create(parent.as_fd(), name, &entry.path, make)? {
            Err(Errno::PERM) if kind != FileType::Fifo => {
                self.tree.remember(&entry.path)?;
                self.placed.skipped.push(os_path(&entry.path));
                return Ok(());
            }
            done => done.map_err(failed("create", &entry.path))?,
        }
        self.own_at(parent, name, entry)?;
        // It was made here just now, so it is no link; and the umask may have taken bits away.
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
            .map_err(failed("set the mode of", &entry.path))?;
        set_times_at(parent, name, entry)
    }

    /// Owner, attributes, mode of a file or directory, in the order in which none undoes another:
    /// a change of owner clears setuid and capabilities; a read-only mode forbids attributes.
    fn metadata(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), ExtractError> {
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(owner_failed(entry, uid, gid))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| overlay::is_image_xattr(name)) {
            match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {}
                done => done.map_err(failed("set an extended attribute of", &entry.path))?,
            }
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
            .map_err(failed("set the mode of", &entry.path))
    }

    fn own_at(&self, parent: &Directory, name: &[u8], entry: &Entry) -> Result<(), ExtractError> {
        let Some((uid, gid)) = self.owner(entry) else { return Ok(()) };
        if self.born.has_owner(uid, gid, parent.gid) {
            return Ok(());
        }
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(owner_failed(entry, uid, gid))
    }

    fn owner(&self, entry: &Entry) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self.ownership {
            Ownership::Keep => (entry.uid, entry.gid),
            Ownership::Squash => return None,
            Ownership::Set { uid, gid } => (uid, gid),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Sets the times of directories and gives the result.
    pub(super) fn finish(mut self) -> Result<Placed, ExtractError> {
        let mut implied = Vec::new();
        for path in self.tree.implied() {
            if self.set_directory_time(path, Timestamp::default(), false)? {
                implied.push(os_path(path));
            }
        }
        self.placed.implied_directories = implied;
        for time in &self.directory_times {
            self.set_directory_time(&time.path, time.mtime, time.through_link)?;
        }
        Ok(self.placed)
    }

    /// False if the directory is no more: a later entry took its place.
    fn set_directory_time(
        &self,
        path: &[u8],
        mtime: Timestamp,
        through_link: bool,
    ) -> Result<bool, ExtractError> {
        let follow = if through_link { OFlags::empty() } else { OFlags::NOFOLLOW };
        match self.tree.existing(path, OFlags::RDONLY | follow) {
            Ok(fd) => {
                rustix::fs::futimens(&fd, &times(mtime)).map_err(failed("set the time of", path))?;
                Ok(true)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => Err(failed("open", path)(errno)),
        }
    }
}

/// What `ADD` leaves out, as BuildKit does: an archive brings content, not ways to the machine.
fn is_special(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo)
}

/// Data of the current file, at least one byte.
fn available<R: BufRead>(data: &mut TarReader<R>) -> Result<&[u8], ReadError> {
    let offset = data.offset();
    match data.fill_buf() {
        Ok([]) => Err(ReadError::Truncated { offset }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Truncated { offset }),
        done => done.map_err(|source| ReadError::Stream { source }),
    }
}

fn set_times_at(parent: &Directory, name: &[u8], entry: &Entry) -> Result<(), ExtractError> {
    rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the time of", &entry.path))
}

fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) },
    }
}

fn owner_failed(entry: &Entry, uid: Uid, gid: Gid) -> impl Fn(Errno) -> ExtractError + use<> {
    let path = os_path(&entry.path);
    move |errno| ExtractError::Owner {
        path: path.clone(),
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        source: errno.into(),
    }
}
