//! A minimal `/dev`.

use std::{
    ffi::CStr,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, makedev},
    io::Errno,
    mount::MountAttrFlags,
};

use crate::{
    mounts::{self, INERT, Kind, Root},
    sys,
};

/// Device files: name, name on this machine, major and minor number.
const DEVICES: [(&CStr, &CStr, u32, u32); 6] = [
    (c"null", c"/dev/null", 1, 3),
    (c"zero", c"/dev/zero", 1, 5),
    (c"full", c"/dev/full", 1, 7),
    (c"random", c"/dev/random", 1, 8),
    (c"urandom", c"/dev/urandom", 1, 9),
    (c"tty", c"/dev/tty", 5, 0),
];

/// Further character devices of an insecure step: name, major and minor number. BuildKit's list.
pub(crate) const INSECURE_DEVICES: [(&CStr, u32, u32); 6] = [
    (c"kmsg", 1, 11),
    (c"cuse", 10, 203),
    (c"fuse", 10, 229),
    (c"kvm", 10, 232),
    (c"net/tun", 10, 200),
    (c"loop-control", 10, 237),
];

/// Loop devices that an insecure step finds beyond the first free one.
const SPARE_LOOP_DEVICES: u32 = 7;

const LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
];

/// Mounts `/dev` with what is in it but for shared memory, and returns its directory.
pub(crate) fn mount(root: Root<'_>) -> Result<OwnedFd, Errno> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = mounts::file_system(c"tmpfs", &[(c"mode", c"755"), (c"size", c"65536k")], attributes)?;
    mounts::attach_on(&dev, root.open_or_create(c"/dev", Kind::Directory)?)?;
    for (name, host, major, minor) in DEVICES {
        device(&dev, name, host, makedev(major, minor))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    // Not every kernel offers its memory, in a file that is masked anyway.
    if root.open(c"/proc/kcore").is_ok() {
        rustix::fs::symlinkat(c"/proc/kcore", &dev, c"core")?;
    }
    for name in [c"pts", c"shm", c"mqueue"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    terminals(&dev)?;
    // Absent from kernels without POSIX message queues.
    if let Ok(queues) = mounts::file_system(c"mqueue", &[], INERT) {
        mounts::attach(queues, &dev, c"mqueue")?;
    }
    Ok(dev)
}

/// Mounts `/dev/shm` of `size` bytes.
pub(crate) fn mount_shared_memory(root: Root<'_>, size: &CStr) -> Result<(), Errno> {
    let memory = mounts::file_system(c"tmpfs", &[(c"mode", c"1777"), (c"size", size)], INERT)?;
    mounts::attach_on(memory, root.open(c"/dev/shm")?)
}

/// Adds the devices of an insecure step. A user namespace forbids that, and then there are none, as in BuildKit.
pub(crate) fn add_insecure(dev: &OwnedFd) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mkdirat(dev, c"net", Mode::from_raw_mode(0o755))?;
    for (name, major, minor) in INSECURE_DEVICES {
        match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor)) {
            Err(Errno::PERM) => return Ok(()),
            result => result?,
        }
    }
    for number in loop_devices() {
        let name = format!("loop{number}");
        rustix::fs::mknodat(dev, name, FileType::BlockDevice, mode, makedev(7, number))?;
    }
    Ok(())
}

/// The loop devices of an insecure step: those in use, the first free one, and some more.
pub(crate) fn loop_devices() -> std::ops::RangeInclusive<u32> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::open(c"/dev/loop-control", flags, Mode::empty());
    let free = control.and_then(|control| sys::free_loop_device(control.as_fd())).unwrap_or(0);
    0..=free + SPARE_LOOP_DEVICES
}

/// Makes a device file, or shows this machine's where a user namespace forbids that.
fn device(dev: &OwnedFd, name: &CStr, host: &CStr, number: u64) -> Result<(), Errno> {
    match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number) {
        Err(Errno::PERM) => {
            rustix::fs::mknodat(dev, name, FileType::RegularFile, Mode::from_raw_mode(0o666), 0)?;
            mounts::attach(mounts::copy_path(host, false)?, dev, name)
        }
        result => result,
    }
}

/// Pseudo-terminals of its own. Group 5 is `tty` everywhere, but need not be mapped.
fn terminals(dev: &OwnedFd) -> Result<(), Errno> {
    let options = [(c"newinstance", c""), (c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", c"5")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = match mounts::file_system(c"devpts", &options, attributes) {
        Err(Errno::INVAL) => mounts::file_system(c"devpts", &options[..3], attributes),
        result => result,
    };
    mounts::attach(terminals?, dev, c"pts")
}
