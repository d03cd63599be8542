//! Writes what a placement says into a delta directory.
//!
//! Parents are opened beneath the delta without following symlinks: one item may have brought a
//! symlink where another has a directory.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use archway_graph::FileMode;

use super::{
    earlier::{CopiedFiles, Earlier},
    entry::{Entry, EntryKind, Mtime, SourceItem},
    files::{self, PlainFile},
    placement::{Directory, Placement, PlacementError},
};
use crate::{StepError, directory::NEW_DIRECTORY_MODE, tree};

/// Owner of copied files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What COPY's flags say about every copied file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    /// `--chown`; `None` keeps the source's.
    pub(crate) owner: Option<Owner>,
    /// `--chmod`; `None` keeps the source's.
    pub(crate) mode: Option<FileMode>,
}

impl Attributes {
    fn owner(&self, entry: &Entry) -> Owner {
        self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid })
    }

    fn mode(&self, entry: &Entry) -> u32 {
        let is_directory = entry.kind == EntryKind::Directory;
        self.mode.as_ref().map_or(entry.mode, |mode| mode.apply(entry.mode, is_directory))
    }

    /// Of a directory that has to be made for what is copied, or for an archive that is unpacked. For a
    /// copy a number is its mode too, without the bits that are no permissions; changes have nothing to
    /// change.
    pub(crate) fn parent(&self, is_archive: bool) -> Directory {
        let mode = match &self.mode {
            Some(FileMode::Exactly(mode)) if !is_archive => mode & 0o777,
            _ => NEW_DIRECTORY_MODE,
        };
        let owner = self.owner.unwrap_or_default();
        Directory { mode, uid: owner.uid, gid: owner.gid }
    }
}

/// Makes the directories of a placement, which are all a WORKDIR needs. They have no time of their own:
/// the layer is the same whenever it is made.
pub(crate) fn directories(delta: &Path, placement: &Placement, owner: Owner) -> Result<(), StepError> {
    let created = Directory { mode: NEW_DIRECTORY_MODE, uid: owner.uid, gid: owner.gid };
    let mut writer = Writer::open(delta)?;
    writer.place(placement, created, Mtime::default())?;
    writer.finish().map(drop)
}

/// Makes directories with these attributes; parents are among them.
pub(crate) fn attributes(
    delta: &Path,
    directories: &BTreeMap<String, (Directory, Mtime)>,
) -> Result<(), StepError> {
    let mut writer = Writer::open(delta)?;
    for (path, (attributes, mtime)) in directories {
        writer.directory(path, *attributes, *mtime)?;
    }
    writer.finish().map(drop)
}

/// Writes what is copied into a delta, one item after the other.
pub(crate) struct Writer {
    root: OwnedFd,
    /// The directory opened last: entries come sorted, so the next one is likely in it, too.
    parent: Option<(String, OwnedFd)>,
    /// First path of each file with several names, of one item: another item may write over it.
    links: HashMap<(u64, u64), String>,
    /// A delta from which files are taken that are the same.
    earlier: Option<Earlier>,
    /// Files that a later copy may take from this delta.
    copied: CopiedFiles,
    /// Times of directories, set at the end: writing into a directory changes them.
    directory_times: BTreeMap<String, Mtime>,
}

impl Writer {
    pub(crate) fn open(delta: &Path) -> Result<Self, StepError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(delta, flags, Mode::empty()).map_err(io_error(delta))?;
        Ok(Self {
            root,
            parent: None,
            links: HashMap::new(),
            earlier: None,
            copied: CopiedFiles::new(),
            directory_times: BTreeMap::new(),
        })
    }

    /// Takes files that are the same from `earlier`.
    pub(crate) fn taking_from(self, earlier: Option<Earlier>) -> Self {
        Self { earlier, ..self }
    }

    /// Makes the directories that `items` go into, with these attributes where they are new.
    pub(crate) fn parents(
        &mut self,
        placement: &Placement,
        items: &[SourceItem],
        created: Directory,
    ) -> Result<(), StepError> {
        // Directories that only hold what is copied were changed when the newest of it arrived: a time
        // that does not depend on this machine's clock, nor on the base.
        let newest = items.iter().filter_map(|item| item.entries.first()).map(|entry| entry.mtime).max();
        self.place(placement, created, newest.unwrap_or_default())
    }

    fn place(&mut self, placement: &Placement, created: Directory, mtime: Mtime) -> Result<(), StepError> {
        let known = placement.existing.iter().chain(&placement.implied);
        let known = known.map(|(path, directory)| (path, *directory));
        let created = placement.created.iter().map(|path| (path, created));
        // Parents sort before their children.
        for (path, attributes) in known.chain(created).collect::<BTreeMap<_, _>>() {
            self.directory(path, attributes, mtime)?;
        }
        Ok(())
    }

    /// Copies `item` to `target`, whose parents are there.
    pub(crate) fn item(
        &mut self,
        item: &SourceItem,
        target: &str,
        placement: &Placement,
        attributes: &Attributes,
    ) -> Result<(), StepError> {
        self.links.clear();
        let (mut plain, mut names) = (Vec::new(), Vec::new());
        for entry in &item.entries {
            let path = match entry.path.as_str() {
                "" => target.to_owned(),
                below => tree::join(target, below),
            };
            let kept =
                path == "/" || placement.existing.contains_key(&path) || placement.created.contains(&path);
            if kept && entry.kind == EntryKind::Directory {
                // As BuildKit leaves it: of all that is copied into one directory, the last directory's.
                if let Some(time) = self.directory_times.get_mut(&path).filter(|_| entry.path.is_empty()) {
                    *time = entry.mtime;
                }
                continue;
            }
            if entry.implied && (placement.implied.contains_key(&path) || self.is_made(&path, entry)?) {
                continue;
            }
            match (&entry.kind, entry.hard_link) {
                (EntryKind::File { .. }, Some(inode)) if self.links.contains_key(&inode) => {
                    names.push((self.links[&inode].clone(), path));
                }
                (EntryKind::File { size }, inode) => {
                    if let Some(inode) = inode {
                        self.links.insert(inode, path.clone());
                    }
                    let owner = attributes.owner(entry);
                    plain.push(PlainFile { entry, size: *size, path, owner, mode: attributes.mode(entry) });
                }
                _ => self.entry(entry, &path, attributes).map_err(|error| error.at(&path))?,
            }
        }
        // All directories are there.
        let copied = files::place(self.root.as_fd(), item, &plain, self.earlier.as_ref())?;
        self.copied.extend(copied);
        for (first, path) in names {
            self.hard_link(&first, &path).map_err(|error| error.at(&path))?;
        }
        Ok(())
    }

    /// Whether an earlier item brought this directory, which then only takes the mode of `entry`.
    fn is_made(&mut self, path: &str, entry: &Entry) -> Result<bool, StepError> {
        if !self.directory_times.contains_key(path) {
            return Ok(false);
        }
        let (parent, name) = self.at(path).map_err(io_error(path))?;
        let mode = Mode::from_raw_mode(entry.mode);
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(io_error(path))?;
        Ok(true)
    }

    /// Copies what is no regular file.
    fn entry(&mut self, entry: &Entry, path: &str, attributes: &Attributes) -> Result<(), EntryError> {
        let (owner, mode) = (attributes.owner(entry), attributes.mode(entry));
        if entry.kind == EntryKind::Directory {
            let directory = Directory { mode, uid: owner.uid, gid: owner.gid };
            self.directory(path, directory, entry.mtime)?;
            return set_xattrs_at(self.at(path)?, entry);
        }
        let (parent, name) = self.at(path)?;
        remove_other(parent, name, path)?;
        match &entry.kind {
            EntryKind::Directory | EntryKind::File { .. } => unreachable!("handled above"),
            EntryKind::Symlink { target } => rustix::fs::symlinkat(target.as_str(), parent, name)?,
            EntryKind::Special { file_type, device } => {
                let file_type = FileType::from_raw_mode(*file_type);
                rustix::fs::mknodat(parent, name, file_type, Mode::from_raw_mode(mode), *device)?;
            }
        }
        chown(parent, name, owner)?;
        if matches!(entry.kind, EntryKind::Special { .. }) {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// A new name for a file that was copied already.
    fn hard_link(&mut self, first: &str, path: &str) -> Result<(), EntryError> {
        let (parent, name) = self.at(path)?;
        remove_other(parent, name, path)?;
        let parent = rustix::io::fcntl_dupfd_cloexec(parent, 0)?;
        let (first_parent, first_name) = self.at(first)?;
        Ok(rustix::fs::linkat(first_parent, first_name, &parent, name_of(path), AtFlags::empty())?)
    }

    /// Makes the directory, or gives it these attributes if it was made already.
    fn directory(&mut self, path: &str, attributes: Directory, mtime: Mtime) -> Result<(), StepError> {
        let make = |writer: &mut Self| -> Result<(), EntryError> {
            let (parent, name) = writer.at(path)?;
            match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                // An earlier item may have brought a link there, which must not be followed.
                Err(Errno::EXIST) if !is_directory(parent, name)? => {
                    return Err(StepError::from(PlacementError::NotADirectory(path.to_owned())).into());
                }
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            chown(parent, name, Owner { uid: attributes.uid, gid: attributes.gid })?;
            Ok(rustix::fs::chmodat(parent, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())?)
        };
        make(self).map_err(|failed| failed.at(path))?;
        self.directory_times.insert(path.to_owned(), mtime);
        Ok(())
    }

    /// Gives the directories their times. Returns the files that a later copy may take from this delta.
    pub(crate) fn finish(self) -> Result<CopiedFiles, StepError> {
        for (path, mtime) in self.directory_times.iter().rev() {
            let directory = open_directory(self.root.as_fd(), path).map_err(io_error(path))?;
            let opened = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory));
            rustix::fs::utimensat(rustix::fs::CWD, opened, &times(*mtime), AtFlags::empty())
                .map_err(io_error(path))?;
        }
        Ok(self.copied)
    }

    /// The directory that holds `path`, and the name in it.
    fn at<'a>(&mut self, path: &'a str) -> Result<(BorrowedFd<'_>, &'a str), Errno> {
        let wanted = tree::parent(path);
        if self.parent.as_ref().is_none_or(|(opened, _)| opened != wanted) {
            self.parent = Some((wanted.to_owned(), open_directory(self.root.as_fd(), wanted)?));
        }
        let (_, directory) = self.parent.as_ref().expect("set above");
        Ok((directory.as_fd(), name_of(path)))
    }
}

pub(super) enum EntryError {
    Io(Errno),
    Step(StepError),
}

impl EntryError {
    /// The error, of the file at `path`.
    pub(super) fn at(self, path: &str) -> StepError {
        match self {
            Self::Io(errno) => io_error(path)(errno),
            Self::Step(error) => error,
        }
    }
}

impl From<Errno> for EntryError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

impl From<StepError> for EntryError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

/// Makes room for a file at `path`: an earlier item may have brought another one. A directory stays.
pub(super) fn remove_other(parent: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), EntryError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(StepError::from(PlacementError::IsADirectory(path.to_owned())).into()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn set_xattrs_at((parent, name): (BorrowedFd<'_>, &str), entry: &Entry) -> Result<(), EntryError> {
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for (name, value) in &entry.xattrs {
        rustix::fs::fsetxattr(&directory, name.as_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn chown(parent: BorrowedFd<'_>, name: &str, owner: Owner) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn open_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let relative = path.trim_start_matches('/');
    rustix::fs::openat2(
        root,
        if relative.is_empty() { "." } else { relative },
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(super) fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds as _ };
    Timestamps { last_access: time, last_modification: time }
}

fn io_error(path: impl AsRef<Path>) -> impl Fn(Errno) -> StepError {
    let path = path.as_ref().to_owned();
    move |errno| StepError::Io { path: path.clone(), source: errno.into() }
}
