//! Mounts as file descriptors (the mount API of Linux 5.2): made detached, then attached where they belong.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use crate::sys;

/// Neither programs, nor set-user-ID bits, nor devices.
pub(crate) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
/// No writing.
pub(crate) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Symlinks followed at most when a mount point has to be made.
const MAX_LINKS: u32 = 16;

/// A new mount of a file system. An option with an empty value is a flag.
pub(crate) fn file_system(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What /proc/mounts shows in its first column.
    fsconfig_set_string(&context, c"source", kind)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&context, *key)?;
        } else {
            fsconfig_set_string(&context, *key, *value)?;
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A copy of what is mounted at `path` (a bind mount), with what is below it if `recursive`.
pub(crate) fn copy(directory: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// [`copy`] of a path of the file system we are in.
pub(crate) fn copy_path(path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    copy(CWD, path, recursive)
}

/// Attaches a mount at `path`.
pub(crate) fn attach(mount: impl AsFd, directory: impl AsFd, path: &CStr) -> Result<(), Errno> {
    move_mount(mount, c"", directory, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a mount on something opened.
pub(crate) fn attach_on(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// A root directory whose symlinks must not lead out of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Root<'a>(pub(crate) BorrowedFd<'a>);

impl Root<'_> {
    /// Opens `path` without access to its content.
    pub(crate) fn open(self, path: &CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(self.0, path, flags, Mode::empty(), resolve) {
                // Something on this machine was renamed or mounted while a `..` was resolved (openat2(2)).
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
    }

    /// Opens `path`, which is made with its parents if it is missing.
    pub(crate) fn open_or_create(self, path: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
        self.open_or_create_for(path, kind, (0, 0))
    }

    /// The same; what is made belongs to this user and group.
    pub(crate) fn open_or_create_for(
        self,
        path: &CStr,
        kind: Kind,
        owner: (u32, u32),
    ) -> Result<OwnedFd, Errno> {
        match self.open(path) {
            Err(Errno::NOENT) => self.create(path.to_bytes(), kind, owner, MAX_LINKS),
            result => result,
        }
    }

    fn create(self, path: &[u8], kind: Kind, owner: (u32, u32), links: u32) -> Result<OwnedFd, Errno> {
        let path = trim_slashes(path);
        let cut = path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = cut.map_or((&b"/"[..], path), |cut| (&path[..cut], &path[cut + 1..]));
        let parent_fd = match self.open(&c_string(if parent.is_empty() { b"/" } else { parent })?) {
            Err(Errno::NOENT) => self.create(parent, Kind::Directory, owner, links)?,
            result => result?,
        };
        let name = c_string(name)?;
        let made = match kind {
            Kind::Directory => rustix::fs::mkdirat(&parent_fd, &name, Mode::from_raw_mode(0o755)),
            Kind::File => {
                rustix::fs::mknodat(&parent_fd, &name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)
            }
        };
        match made {
            // A symlink to nowhere: make what it points to.
            Err(Errno::EXIST) => {
                let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                let target = rustix::fs::readlinkat(&parent_fd, &name, Vec::new())?.into_bytes();
                let target = if target.starts_with(b"/") { target } else { [parent, b"/", &target].concat() };
                self.create(&target, kind, owner, links)
            }
            result => {
                result?;
                if owner != (0, 0) {
                    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                    rustix::fs::chownat(&parent_fd, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&parent_fd, &name, flags, Mode::empty())
            }
        }
    }
}

fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

fn c_string(bytes: &[u8]) -> Result<std::ffi::CString, Errno> {
    std::ffi::CString::new(bytes).map_err(|_| Errno::INVAL)
}

/// Whether something opened is a directory.
pub(crate) fn is_directory(fd: impl AsFd) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Takes rights away from a mount.
pub(crate) fn restrict(mount: impl AsFd, attributes: MountAttrFlags) -> Result<(), Errno> {
    sys::restrict_mount(mount.as_fd(), attributes, false)
}

/// Makes a mount, and what is below it if `recursive`, read-only.
pub(crate) fn make_read_only(mount: impl AsFd, recursive: bool) -> Result<(), Errno> {
    sys::restrict_mount(mount.as_fd(), READ_ONLY, recursive)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn mount_points_are_made_inside_the_root() {
        let dir = std::env::temp_dir().join(format!("archway-mounts-{}", std::process::id()));
        fs::create_dir_all(dir.join("etc")).unwrap();
        symlink("/run/stub/resolv.conf", dir.join("etc/resolv.conf")).unwrap();
        symlink("../../../../outside/x", dir.join("etc/escape")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let root = fs::File::open(&dir).unwrap();
        let root = Root(root.as_fd());

        root.open_or_create(c"/etc/resolv.conf", Kind::File).unwrap();
        assert!(dir.join("run/stub/resolv.conf").is_file());
        root.open_or_create(c"/etc/escape", Kind::Directory).unwrap();
        assert!(dir.join("outside/x").is_dir());
        assert!(is_directory(root.open_or_create(c"/a/b/c/", Kind::Directory).unwrap()).unwrap());
        assert!(!is_directory(root.open_or_create(c"/a/b/file", Kind::File).unwrap()).unwrap());
        assert_eq!(root.open_or_create(c"/loop", Kind::File).unwrap_err(), Errno::LOOP);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_others_rename_meanwhile_stops_nobody() {
        let dir = std::env::temp_dir().join(format!("archway-renames-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        symlink("../../../a/b/../b/../../a", dir.join("a/b/up")).unwrap();
        let root = fs::File::open(&dir).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (dir.join("one"), dir.join("other"));
                fs::write(&one, "").unwrap();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            let opened = (0..20_000).map(|_| Root(root.as_fd()).open(c"/a/b/up/b").map(drop));
            let failed: Vec<Errno> = opened.filter_map(Result::err).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(failed, []);
        });
        fs::remove_dir_all(dir).unwrap();
    }
}
