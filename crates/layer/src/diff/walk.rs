//! The walk: which entries a directory tree becomes, and in which order.
//!
//! Depth first; the members of a directory in the order of the bytes of their tar names; a directory
//! before what is in it. That is the order containerd and BuildKit walk in.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::DiffError;
use crate::{
    archive::{Entry, EntryKind, Sink, TarWriter, Timestamp},
    overlay::{self, Markers},
};

/// Directories nearer to the root than this stay open while the walk is below them; deeper ones are
/// closed and opened again, so that a deep tree does not use up file descriptors.
const KEPT_OPEN: usize = 64;

/// Longest extended attribute value and list of names (Linux `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 65_536;

/// Appends everything below `root` to `tar`, below `prefix` if that is not empty; `root` itself is no
/// entry.
pub(super) fn append<S: Sink>(
    root: &Path,
    prefix: &[u8],
    markers: Markers,
    tar: &mut TarWriter<S>,
) -> Result<(), DiffError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| DiffError::File {
        action: "open",
        path: root.to_owned(),
        source: errno.into(),
    })?;
    let mut walk = Walk {
        root: fd,
        prefix: prefix.to_vec(),
        markers,
        tar,
        first_links: HashMap::new(),
        xattr_buffer: Vec::new(),
    };
    walk.tree()
}

struct Walk<'a, S> {
    root: OwnedFd,
    /// Where the tree stands in the archive.
    prefix: Vec<u8>,
    markers: Markers,
    tar: &'a mut TarWriter<S>,
    /// Path of the first entry of each file that has several names, by device and inode.
    first_links: HashMap<(u64, u64), Vec<u8>>,
    xattr_buffer: Vec<u8>,
}

/// A directory whose members are being appended.
struct Level {
    path: Vec<u8>,
    /// Closed while the walk is deep below it.
    fd: Option<OwnedFd>,
    /// Members still to come, last first.
    members: Vec<Member>,
}

/// Something in a directory, by the name it has in the tar.
struct Member {
    name: Vec<u8>,
    /// `None`: a whiteout or the marker of an opaque directory, which is only a name.
    stat: Option<Stat>,
}

impl<S: Sink> Walk<'_, S> {
    fn tree(&mut self) -> Result<(), DiffError> {
        let root = self.open_directory(b"")?;
        let mut levels = vec![self.list(root, Vec::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(member) = level.members.pop() else {
                levels.pop();
                continue;
            };
            let path = join(&level.path, &member.name);
            let Some(stat) = member.stat else {
                self.append_entry(&Entry::file(path, 0, 0), io::empty())?;
                continue;
            };
            let fd = match level.fd.take() {
                Some(fd) => fd,
                None => self.open_directory(&level.path)?,
            };
            let deep = levels.len() > KEPT_OPEN;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let below = self.directory(path)?;
                    if let Some(level) = levels.last_mut().filter(|_| !deep) {
                        level.fd = Some(fd);
                    }
                    levels.push(below);
                }
                kind => {
                    self.leaf(fd.as_fd(), &member.name, path, kind, &stat)?;
                    if let Some(level) = levels.last_mut() {
                        level.fd = Some(fd);
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends a directory's own entry and lists it.
    fn directory(&mut self, path: Vec<u8>) -> Result<Level, DiffError> {
        let fd = self.open_directory(&path)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed("stat", &path))?;
        let mut entry = entry(path.clone(), EntryKind::Directory, &stat);
        entry.xattrs = self.xattrs(fd.as_fd(), &path)?;
        self.append_entry(&entry, io::empty())?;
        self.list(fd, path)
    }

    fn list(&mut self, fd: OwnedFd, path: Vec<u8>) -> Result<Level, DiffError> {
        let mut members = Vec::new();
        for found in Dir::read_from(&fd).map_err(failed("list", &path))? {
            let name = found.map_err(failed("list", &path))?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                members.extend(self.classify(fd.as_fd(), &path, name)?);
            }
        }
        if self.markers == Markers::Translate && is_opaque(fd.as_fd(), &path)? {
            members.push(Member { name: overlay::OPAQUE_NAME.to_vec(), stat: None });
        }
        members.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        Ok(Level { path, fd: Some(fd), members })
    }

    /// What `name` is in the tar; nothing for a socket.
    fn classify(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        name: Vec<u8>,
    ) -> Result<Option<Member>, DiffError> {
        let stat = rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("stat", &join(path, &name))(errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(None);
        }
        if self.markers == Markers::Literal {
            return Ok(Some(Member { name, stat: Some(stat) }));
        }
        if name.starts_with(overlay::WHITEOUT_PREFIX) {
            return Err(DiffError::ReservedName { path: os_path(join(path, &name)) });
        }
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Ok(Some(Member { name: [overlay::WHITEOUT_PREFIX, &name].concat(), stat: None }));
        }
        Ok(Some(Member { name, stat: Some(stat) }))
    }

    /// Appends what is not a directory.
    fn leaf(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        kind: FileType,
        stat: &Stat,
    ) -> Result<(), DiffError> {
        let kind = match kind {
            FileType::RegularFile => return self.file(directory, name, path, stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())
                    .map_err(failed("read the link", &path))?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice => {
                let (major, minor) = device(stat);
                EntryKind::CharDevice { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device(stat);
                EntryKind::BlockDevice { major, minor }
            }
            FileType::Fifo => EntryKind::Fifo,
            // It was none of these when it was listed.
            _ => return Err(DiffError::Changed { path: os_path(path) }),
        };
        self.append_entry(&entry(path, kind, stat), io::empty())
    }

    /// Appends a regular file: its data at its first name, a hard link at the others.
    fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        listed: &Stat,
    ) -> Result<(), DiffError> {
        let inode = (listed.st_dev, listed.st_ino);
        if let Some(first) = self.first_links.get(&inode) {
            let link = EntryKind::Hardlink { target: first.clone() };
            return self.append_entry(&entry(path, link, listed), io::empty());
        }
        // NONBLOCK: should a pipe have taken the file's place, do not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed("open", &path))?;
        let stat = rustix::fs::fstat(&file).map_err(failed("stat", &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(DiffError::Changed { path: os_path(path) });
        }
        if listed.st_nlink > 1 {
            self.first_links.insert(inode, path.clone());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let xattrs = self.xattrs(file.as_fd(), &path)?;
        let mut entry = entry(path, EntryKind::File { size }, &stat);
        entry.xattrs = xattrs;
        self.append_entry(&entry, File::from(file))
    }

    fn append_entry(&mut self, entry: &Entry, data: impl io::Read) -> Result<(), DiffError> {
        if self.prefix.is_empty() {
            return Ok(self.tar.append(entry, data)?);
        }
        let mut moved = Entry { path: join(&self.prefix, &entry.path), ..entry.clone() };
        if let EntryKind::Hardlink { target } = &mut moved.kind {
            *target = join(&self.prefix, target);
        }
        Ok(self.tar.append(&moved, data)?)
    }

    /// Opens a directory by its path from the root, through no symbolic link.
    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, DiffError> {
        let at: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, at, flags, Mode::empty(), resolve).map_err(failed("open", path))
    }

    /// The extended attributes that belong to the image.
    fn xattrs(&mut self, fd: BorrowedFd<'_>, path: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, DiffError> {
        self.xattr_buffer.resize(XATTR_MAX, 0);
        let names = match rustix::fs::flistxattr(fd, &mut self.xattr_buffer[..]) {
            Ok(length) => self.xattr_buffer[..length].to_vec(),
            Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
            Err(errno) => return Err(failed("list the extended attributes of", path)(errno)),
        };
        let mut kept = BTreeMap::new();
        for name in names.split(|byte| *byte == 0).filter(|name| overlay::is_image_xattr(name)) {
            let length = rustix::fs::fgetxattr(fd, name, &mut self.xattr_buffer[..])
                .map_err(failed("read an extended attribute of", path))?;
            kept.insert(name.to_vec(), self.xattr_buffer[..length].to_vec());
        }
        Ok(kept)
    }
}

fn is_opaque(directory: BorrowedFd<'_>, path: &[u8]) -> Result<bool, DiffError> {
    let read = |name: &str, value: &mut [u8]| rustix::fs::fgetxattr(directory, name, value);
    overlay::is_opaque(read).map_err(failed("read an extended attribute of", path))
}

fn entry(path: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
    let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
    entry.uid = stat.st_uid;
    entry.gid = stat.st_gid;
    entry.mtime = Timestamp::from_seconds(stat.st_mtime);
    entry
}

fn device(stat: &Stat) -> (u32, u32) {
    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

fn os_path(path: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(path))
}

fn failed<'a>(action: &'static str, path: &'a [u8]) -> impl Fn(Errno) -> DiffError + 'a {
    move |errno| DiffError::File { action, path: os_path(path.to_vec()), source: errno.into() }
}
