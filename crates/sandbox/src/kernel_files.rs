//! `/proc`, `/sys` and control groups, and what is hidden of them.

use std::{ffi::CStr, os::fd::BorrowedFd};

use rustix::{io::Errno, mount::MountAttrFlags};

use crate::mounts::{self, INERT, Kind, READ_ONLY, Root};

/// Shown empty: what tells about the machine, or could be used against it. Docker's list.
pub(crate) const MASKED: [&CStr; 12] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/scsi",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/sys/devices/virtual/powercap",
    c"/sys/firmware",
];

/// Shown read-only. Docker's list.
pub(crate) const READ_ONLY_PATHS: [&CStr; 5] =
    [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Mounts `/proc` of the pid namespace. Where the kernel refuses, because part of this machine's is
/// covered (inside a container), this machine's is shown.
pub(crate) fn mount_proc(root: Root<'_>) -> Result<(), Errno> {
    let proc = match mounts::file_system(c"proc", &[], INERT) {
        Err(Errno::PERM) => mounts::copy_path(c"/proc", true),
        result => result,
    };
    mounts::attach_on(proc?, root.open_or_create(c"/proc", Kind::Directory)?)
}

/// Mounts `/sys`, read-only unless `writable`. Where the kernel refuses, because the network namespace belongs to
/// someone else (rootless), this machine's is shown.
pub(crate) fn mount_sys(root: Root<'_>, writable: bool) -> Result<(), Errno> {
    let access = if writable { MountAttrFlags::empty() } else { READ_ONLY };
    let target = root.open_or_create(c"/sys", Kind::Directory)?;
    match mounts::file_system(c"sysfs", &[], INERT | access) {
        Err(Errno::PERM) => {
            let sys = mounts::copy_path(c"/sys", true)?;
            mounts::make_read_only(&sys, true)?;
            mounts::attach_on(&sys, target)
        }
        sys => {
            mounts::attach_on(sys?, target)?;
            mount_control_groups(root, access)
        }
    }
}

/// Mounts the unified hierarchy where this machine has nothing but it.
fn mount_control_groups(root: Root<'_>, access: MountAttrFlags) -> Result<(), Errno> {
    let unified = rustix::fs::statfs(c"/sys/fs/cgroup").is_ok_and(|fs| fs.f_type as u64 == CGROUP2_MAGIC);
    if !unified {
        return Ok(());
    }
    match mounts::file_system(c"cgroup2", &[], INERT | access) {
        // Not ours to see.
        Err(Errno::PERM) => Ok(()),
        groups => mounts::attach_on(groups?, root.open(c"/sys/fs/cgroup")?),
    }
}

/// Hides and protects paths of `/proc` and `/sys` in `root`, which has an empty directory `empty`. `dev` is the
/// new `/dev`.
pub(crate) fn mask(root: Root<'_>, dev: BorrowedFd<'_>) -> Result<(), Errno> {
    for path in READ_ONLY_PATHS {
        let Some(target) = existing(root.open(path))? else { continue };
        let copy = mounts::copy(&target, c"", true)?;
        mounts::make_read_only(&copy, true)?;
        mounts::attach_on(&copy, target)?;
    }
    for path in MASKED {
        let Some(target) = existing(root.open(path))? else { continue };
        if mounts::is_directory(&target)? {
            let empty = mounts::copy(root.0, c"empty", false)?;
            mounts::make_read_only(&empty, false)?;
            mounts::attach_on(&empty, target)?;
        } else {
            mounts::attach_on(mounts::copy(dev, c"null", false)?, target)?;
        }
    }
    Ok(())
}

fn existing<T>(opened: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match opened {
        Err(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    }
}
