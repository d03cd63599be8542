//! What a new process needs in memory before it has a root file system.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{CWD, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
    mount::MountAttrFlags,
};

use crate::{
    Step,
    fault::{At as _, Fault},
    mounts::{self, INERT, Kind, READ_ONLY, Root},
    overlay,
    plan::{Changes, File, Layers, MemoryFile, Stub},
};

const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// What is below the lowest layer of an overlay, so that even one layer makes an overlay.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bottom {
    /// The mount points of the root file system.
    MountPoints,
    /// Nothing.
    Empty,
}

impl Bottom {
    /// Its directory, seen from the scratch directory and from a directory in it.
    fn names(self) -> (&'static CStr, &'static CStr) {
        match self {
            Self::MountPoints => (c"lower", c"../lower"),
            Self::Empty => (c"empty", c"../empty"),
        }
    }
}

/// A tmpfs of this process alone: `/proc`, `/sys` and `/dev` until there is a root file system, mount points to go
/// below that (`lower`), generated files (`files`), an empty directory (`empty`), the place of the root file
/// system (`root`) and of others that parts are mounted from (`sources`). It is mounted over `/`, where no
/// path leads to it, and is gone with the old root.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) OwnedFd);

impl Scratch {
    pub(crate) fn new() -> Result<Self, Errno> {
        let scratch = mounts::file_system(c"tmpfs", &[(c"mode", c"755")], MountAttrFlags::empty())?;
        mounts::attach(&scratch, CWD, c"/")?;
        for name in [c"root", c"lower", c"files", c"empty", c"links", c"sources"] {
            rustix::fs::mkdirat(&scratch, name, DIRECTORY)?;
        }
        Ok(Self(scratch))
    }

    /// Makes the mount points that go below the root file system.
    pub(crate) fn make_mount_points(&self, stubs: &[Stub]) -> Result<(), Errno> {
        let lower = rustix::fs::openat(&self.0, c"lower", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        for stub in stubs {
            if stub.directory {
                rustix::fs::mkdirat(&lower, stub.path.as_c_str(), DIRECTORY)?;
            } else {
                let mode = Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(&lower, stub.path.as_c_str(), FileType::RegularFile, mode, 0)?;
            }
        }
        Ok(())
    }

    /// Moves `/proc`, `/sys` and `/dev` to a root file system.
    pub(crate) fn furnish(&self, root: Root<'_>) -> Result<(), Fault> {
        for (path, step) in [(c"/proc", Step::Proc), (c"/sys", Step::Sys), (c"/dev", Step::Dev)] {
            let target = root.open_or_create(path, Kind::Directory).at(step)?;
            let source = Root(self.0.as_fd()).open(path).at(step)?;
            mounts::attach_on(source, target).at(step)?;
        }
        Ok(())
    }

    /// Mounts an overlay of `lowers`, top first, with `bottom` below and `changes` on top, and attaches it nowhere.
    pub(crate) fn overlay(
        &self,
        lowers: &[CString],
        bottom: Bottom,
        changes: Option<&Changes>,
    ) -> Result<OwnedFd, Errno> {
        let mut lowers: Vec<&CStr> = lowers.iter().map(CString::as_c_str).collect();
        // Relative to this directory, which has no path of its own.
        let (here, from_links) = bottom.names();
        lowers.push(here);
        rustix::process::fchdir(&self.0)?;
        let changes = changes.map(|changes| (changes.upper.as_c_str(), changes.work.as_c_str()));
        match overlay::one_by_one(&lowers, changes) {
            Err(Errno::INVAL) => {
                let links = mounts::file_system(c"tmpfs", &[], MountAttrFlags::empty())?;
                mounts::attach(&links, &self.0, c"links")?;
                *lowers.last_mut().expect("it has just been pushed") = from_links;
                overlay::in_one_string(links.as_fd(), &lowers, changes)
            }
            result => result,
        }
    }

    /// A part of a root file system, to be mounted elsewhere. The whole has to be attached somewhere: a
    /// mount that is not cannot be copied.
    pub(crate) fn part(&self, index: usize, layers: &Layers) -> Result<OwnedFd, Errno> {
        let whole = match (layers.lowers.as_slice(), &layers.changes) {
            // An overlay of one directory needs one for changes.
            ([], None) => mounts::copy(&self.0, c"empty", false)?,
            (lowers, changes) => self.overlay(lowers, Bottom::Empty, changes.as_ref())?,
        };
        let name = CString::new(format!("sources/{index}")).map_err(|_| Errno::INVAL)?;
        rustix::fs::mkdirat(&self.0, name.as_c_str(), DIRECTORY)?;
        mounts::attach(&whole, &self.0, &name)?;
        let part = Root(whole.as_fd()).open(&layers.path)?;
        mounts::copy(part, c"", true)
    }

    /// Writes a file that only its owner may see, to be mounted elsewhere.
    pub(crate) fn private_file(&self, index: usize, file: &MemoryFile) -> Result<OwnedFd, Errno> {
        let name = CString::new(format!("files/private-{index}")).map_err(|_| Errno::INVAL)?;
        let written = self.write(&name, file.content.bytes(), 0o600)?;
        let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
        rustix::fs::fchown(&written, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&written, Mode::from_raw_mode(file.mode))?;
        // An open writer would make its execution fail.
        drop(written);
        let copy = mounts::copy(&self.0, &name, false)?;
        let executable = file.mode & 0o111 != 0;
        let attributes = if executable { INERT - MountAttrFlags::MOUNT_ATTR_NOEXEC } else { INERT };
        mounts::restrict(&copy, attributes | READ_ONLY)?;
        Ok(copy)
    }

    fn write(&self, name: &CStr, content: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let writer = rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(mode))?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&writer, rest)?..];
        }
        Ok(writer)
    }

    /// Writes a file and shows it read-only at its place.
    pub(crate) fn show(&self, index: usize, file: &File, root: Root<'_>) -> Result<(), Errno> {
        let name = CString::new(format!("files/{index}")).map_err(|_| Errno::INVAL)?;
        // An open writer would make its execution fail.
        drop(self.write(&name, &file.content, file.mode)?);
        let copy = mounts::copy(&self.0, &name, false)?;
        mounts::make_read_only(&copy, false)?;
        mounts::attach_on(&copy, root.open_or_create(&file.target, Kind::File)?)
    }
}
