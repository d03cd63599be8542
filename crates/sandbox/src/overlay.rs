//! Overlay mounts of any number of directories.

use std::{
    ffi::{CStr, CString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
    },
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{SandboxError, mounts};

/// Most read-only directories of one overlay: the kernel's 500, less the one with the mount points.
pub const MAX_LOWERS: usize = 499;

/// Length limit of a file system's options before Linux 6.5: one page with its final NUL.
const OPTIONS_PAGE: usize = 4096;

/// Mounts `lowers` (top first), and `upper` with its `work` directory over them, without attaching the
/// mount anywhere: it lives as long as the returned directory, whose files can be reached with
/// `openat2`. Read-only without an upper directory; then there must be two or more `lowers`.
///
/// Changes are not written to disk when the mount goes away: who needs that has to `fsync` the files,
/// or `syncfs`.
///
/// # Errors
/// [`SandboxError::Overlay`].
pub fn mount_detached(lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<OwnedFd, SandboxError> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL);
    let mounted = || {
        let lowers = lowers.iter().map(|dir| path(dir)).collect::<Result<Vec<_>, _>>()?;
        let upper = upper.map(|(upper, work)| Ok::<_, Errno>((path(upper)?, path(work)?))).transpose()?;
        let lowers: Vec<&CStr> = lowers.iter().map(CString::as_c_str).collect();
        let upper = upper.as_ref().map(|(upper, work)| (upper.as_c_str(), work.as_c_str()));
        match one_by_one(&lowers, upper) {
            Err(Errno::INVAL) => in_private_namespace(&lowers, upper),
            result => result,
        }
    };
    mounted().map_err(|error: Errno| SandboxError::Overlay { lowers: lowers.len(), source: error.into() })
}

/// Mounts an overlay, detached, where the kernel takes directories one by one (Linux 6.5).
/// `EINVAL` if it does not, or if the directories are unsuitable.
pub(crate) fn one_by_one(lowers: &[&CStr], upper: Option<(&CStr, &CStr)>) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", c"overlay")?;
    for lower in lowers {
        fsconfig_set_string(&context, c"lowerdir+", *lower)?;
    }
    if let Some((upper, work)) = upper {
        forget_volatile_use(work)?;
        fsconfig_set_string(&context, c"upperdir", upper)?;
        fsconfig_set_string(&context, c"workdir", work)?;
        // Without it, unmounting writes the *whole* file system of the upper directory to disk.
        // Whoever keeps the changes decides when that happens.
        fsconfig_set_flag(&context, c"volatile")?;
    }
    fsconfig_set_flag(&context, c"userxattr")?;
    fsconfig_create(&context)?;
    let attributes = if upper.is_none() { mounts::READ_ONLY } else { MountAttrFlags::empty() };
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Removes the mark by which the kernel refuses a work directory after a volatile use. It is meant for
/// uses after a crash of the machine; ours end with the build that makes the directories.
fn forget_volatile_use(work: &CStr) -> Result<(), Errno> {
    let work = rustix::fs::open(work, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for (path, flags) in
        [(c"work/incompat/volatile/dirty", AtFlags::empty()), (c"work/incompat/volatile", AtFlags::REMOVEDIR)]
    {
        match rustix::fs::unlinkat(&work, path, flags) {
            Ok(()) => {}
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Mounts an overlay on kernels that take all directories in one string of less than a page: the
/// string names symlinks in `scratch`, an empty directory in memory of a private mount namespace.
/// Changes the working directory.
pub(crate) fn in_one_string(
    scratch: BorrowedFd<'_>,
    lowers: &[&CStr],
    upper: Option<(&CStr, &CStr)>,
) -> Result<OwnedFd, Errno> {
    let mut options = b"userxattr,lowerdir=".to_vec();
    for (number, lower) in lowers.iter().enumerate() {
        let name = number.to_string();
        rustix::fs::symlinkat(*lower, scratch, name.as_str())?;
        if number > 0 {
            options.push(b':');
        }
        options.extend(name.as_bytes());
    }
    if let Some((upper, work)) = upper {
        rustix::fs::symlinkat(upper, scratch, c"upper")?;
        rustix::fs::symlinkat(work, scratch, c"work")?;
        forget_volatile_use(work)?;
        options.extend(b",upperdir=upper,workdir=work,volatile");
    }
    if options.len() >= OPTIONS_PAGE {
        return Err(Errno::TOOBIG);
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::fs::mkdirat(scratch, c"mount", Mode::from_raw_mode(0o755))?;
    rustix::process::fchdir(scratch)?;
    let flags = if upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
    mount(c"overlay", c"mount", c"overlay", flags, options.as_c_str())?;
    mounts::copy(scratch, c"mount", false)
}

/// [`in_one_string`] in a thread with a mount namespace of its own, so that nobody else sees it.
fn in_private_namespace(lowers: &[&CStr], upper: Option<(&CStr, &CStr)>) -> Result<OwnedFd, Errno> {
    thread::scope(|scope| {
        let mounting = scope.spawn(|| {
            // SAFETY: the thread's file descriptor table stays shared; only its mount namespace, root
            // and working directory become its own, and it ends right after.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change(c"/", private)?;
            let scratch = mounts::file_system(c"tmpfs", &[], MountAttrFlags::empty())?;
            mounts::attach(&scratch, CWD, c"/")?;
            in_one_string(scratch.as_fd(), lowers, upper)
        });
        mounting.join().unwrap_or(Err(Errno::IO))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{AtFlags, statat};

    use super::*;

    /// What kernels before 6.5 need works on newer ones too.
    #[test]
    fn directories_can_be_named_in_one_string() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = std::env::temp_dir().join(format!("archway-overlay-{}", std::process::id()));
        let path = |name: &str| {
            let path = directory.join(name);
            fs::create_dir_all(&path).unwrap();
            CString::new(path.into_os_string().into_encoded_bytes()).unwrap()
        };
        let lowers: Vec<_> = (0..200).map(|number| path(&format!("a,strange:name-{number:080}"))).collect();
        let lowers: Vec<&CStr> = lowers.iter().map(CString::as_c_str).collect();
        let (upper, work) = (path("upper"), path("work"));
        fs::write(directory.join("upper/file"), "").unwrap();
        let root = in_private_namespace(&lowers, Some((&upper, &work))).unwrap();
        assert!(statat(&root, c"file", AtFlags::empty()).is_ok());
        drop(root);
        fs::remove_dir_all(directory).unwrap();
    }
}
