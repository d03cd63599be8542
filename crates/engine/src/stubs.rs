//! What mounting leaves behind: the same as BuildKit with runc.
//!
//! Mount points that an image lacks are made for the time of a step, below its root file system. If the
//! process changes something beside one, their parents become part of its changes. BuildKit removes what
//! it made and finds empty afterwards, also where the process had put something and taken it away again;
//! a root file system must not tell which of the two was at work.

use std::{
    fs::Permissions,
    io,
    os::{fd::AsFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use archway_graph::Mount;
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Timestamps},
    io::Errno,
};

use crate::{
    directory::NEW_DIRECTORY_MODE,
    tree::{self, Tree},
};

/// Directories that stay, although they were made to mount on.
const LASTING: [&str; 3] = ["dev", "proc", "sys"];

/// Files that every step has mounted.
const STANDARD: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Whether there may be anything to remove: most steps change nothing near a mount.
pub(crate) fn are_possible(delta: &Path, mounts: &[Mount]) -> bool {
    targets(mounts).any(|target| {
        let top = tree::components(target).next().map(|top| delta.join(top));
        top.is_some_and(|top| top.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
    })
}

fn targets(mounts: &[Mount]) -> impl Iterator<Item = &str> {
    STANDARD.into_iter().chain(mounts.iter().map(|mount| mount.target.as_str()))
}

/// Removes from `delta` the empty directories that lead to `mounts`, and are not in `base`.
pub(crate) fn remove(delta: &Path, base: &dyn Tree, mounts: &[Mount]) -> io::Result<()> {
    let root = rustix::fs::open(delta, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for target in targets(mounts) {
        let resolved = tree::resolve(base, target)?;
        if resolved.found.is_some() {
            continue;
        }
        let parents: Vec<&str> = tree::ancestors(&resolved.path).filter(|path| *path != "/").collect();
        for path in std::iter::once(resolved.path.as_str()).chain(parents.into_iter().rev()) {
            if base.lstat(path)?.is_some() {
                break;
            }
            if !remove_if_empty(&root, path)? {
                break;
            }
        }
    }
    Ok(())
}

/// Makes those directories in `delta` that every step has something mounted on, if neither it nor one of
/// the layers below (`lowers`, topmost first) has them: with BuildKit they stay.
pub(crate) fn leave_standard(delta: &Path, lowers: &[PathBuf]) -> io::Result<()> {
    for name in LASTING {
        let is_there = |directory: &Path| directory.join(name).symlink_metadata().is_ok();
        // The image has them, or the first step that ran on it left them.
        if lowers.iter().rev().any(|lower| is_there(lower)) || is_there(delta) {
            continue;
        }
        let path = delta.join(name);
        std::fs::create_dir(&path)?;
        // Not left to the umask.
        std::fs::set_permissions(&path, Permissions::from_mode(NEW_DIRECTORY_MODE))?;
    }
    Ok(())
}

/// Whether the way up goes on: the directory is gone, or was not there.
fn remove_if_empty(root: impl AsFd, path: &str) -> io::Result<bool> {
    let open = |path: &str, flags: OFlags| {
        // A process may have put links in the way, and they lead anywhere.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let relative = path.trim_start_matches('/');
    let directory = match open(relative, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => return Ok(true),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        directory => directory?,
    };
    let mut entries = Dir::read_from(&directory)?;
    let is_entry = |entry: &rustix::fs::DirEntry| !matches!(entry.file_name().to_bytes(), b"." | b"..");
    if entries.any(|entry| entry.as_ref().map_or(true, is_entry)) {
        return Ok(false);
    }
    let (parent, name) = relative.rsplit_once('/').unwrap_or((".", relative));
    let parent = open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let before = rustix::fs::fstat(&parent)?;
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
    let times = Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: before.st_atime, tv_nsec: before.st_atime_nsec as _ },
        last_modification: rustix::fs::Timespec {
            tv_sec: before.st_mtime,
            tv_nsec: before.st_mtime_nsec as _,
        },
    };
    rustix::fs::futimens(&parent, &times)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::SystemTime};

    use archway_graph::MountSource;

    use super::*;
    use crate::tree::fixtures::MapTree;

    fn mount(target: &str) -> Mount {
        Mount { target: target.into(), source: MountSource::Tmpfs { size: None }, read_only: false }
    }

    #[test]
    fn only_empty_directories_that_the_base_lacks_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["root/.cache/go", "kept/full/mount", "there/mount", "other", "etc"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path("kept/full/file"), "").unwrap();
        let old = SystemTime::UNIX_EPOCH;
        fs::File::open(path("root")).unwrap().set_modified(old).unwrap();
        let base = MapTree::new(&["d:/root", "d:/there", "d:/there/mount"]);
        let mounts = ["/root/.cache/go", "/kept/full/mount", "/there/mount", "/nothing/here"].map(mount);
        remove(directory.path(), &base, &mounts).unwrap();
        for name in ["root", "kept/full", "there/mount", "other"] {
            assert!(path(name).is_dir(), "{name}");
        }
        for name in ["root/.cache", "kept/full/mount", "etc"] {
            assert!(!path(name).exists(), "{name}");
        }
        assert_eq!(fs::metadata(path("root")).unwrap().modified().unwrap(), old);
    }

    #[test]
    fn directories_that_everything_needs_stay() {
        let (lower, delta) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(lower.path().join("proc")).unwrap();
        symlink("elsewhere", delta.path().join("sys")).unwrap();
        leave_standard(delta.path(), &[lower.path().to_owned()]).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(delta.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dev", "sys"]);
    }

    #[test]
    fn links_are_not_followed() {
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(outside.path().join("empty")).unwrap();
        symlink(outside.path(), directory.path().join("link")).unwrap();
        remove(directory.path(), &MapTree::new(&[]), &[mount("/link/empty")]).unwrap();
        assert!(outside.path().join("empty").exists());
    }
}
