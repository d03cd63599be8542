//! A user namespace with a binfmt_misc of its own (Linux 6.7).
//!
//! A process looks for an interpreter in the binfmt_misc of its own user namespace first. So this
//! machine's settings stay as they are, and no administrator has to do anything. The namespace maps
//! every id to itself: entering it changes nothing but the place where interpreters are looked up, and
//! what capabilities are about (the process has none over other namespaces).

use std::{
    ffi::{CStr, CString},
    fs,
    os::fd::{AsFd, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::MountAttrFlags,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid},
};

use crate::{
    mounts,
    sys::{self, Clone, Fork},
};

/// The namespace and what is registered in it.
#[derive(Debug)]
pub(crate) struct Registry {
    user_namespace: OwnedFd,
    /// A detached mount, which keeps the registrations alive.
    binfmt_misc: OwnedFd,
    registered: Vec<CString>,
}

impl Registry {
    /// Makes the namespace. The caller must have one thread only.
    pub(crate) fn create() -> Result<Self, Errno> {
        let (go, start) = pipe_with(PipeFlags::CLOEXEC)?;
        let (result, done) = pipe_with(PipeFlags::CLOEXEC)?;
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_FILES;
        // SAFETY: the caller has one thread. The file descriptor table is shared on purpose: the child
        // opens a mount for us. It closes nothing of ours, as it ends without running destructors.
        match unsafe { sys::clone3(flags) }? {
            Clone::Child => mount_for_parent(go.as_fd(), done.as_fd()),
            Clone::Parent { pid, pidfd } => {
                let made = Self::from_child(pid, &start, &result);
                if made.is_err() {
                    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                }
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                made
            }
        }
    }

    fn from_child(pid: Pid, start: &OwnedFd, result: &OwnedFd) -> Result<Self, Errno> {
        let pid = pid.as_raw_nonzero();
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), identity_map(map)?).map_err(errno)?;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let user_namespace = rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())?;
        rustix::io::write(start, &[0])?;
        let mut answer = [0; 4];
        rustix::io::read(result, &mut answer)?;
        match i32::from_le_bytes(answer) {
            failure @ ..0 => Err(Errno::from_raw_os_error(-failure)),
            mount => {
                // SAFETY: the child has opened it in the table that we share, and forgot it.
                let binfmt_misc = unsafe { OwnedFd::from_raw_fd(mount) };
                Ok(Self { user_namespace, binfmt_misc, registered: Vec::new() })
            }
        }
    }

    /// Registers an interpreter, unless one of that name is.
    pub(crate) fn register(&mut self, name: &CStr, line: &[u8]) -> Result<(), Errno> {
        if self.registered.iter().any(|known| known.as_c_str() == name) {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let register = rustix::fs::openat(&self.binfmt_misc, c"register", flags, Mode::empty())?;
        rustix::io::write(register, line)?;
        self.registered.push(name.to_owned());
        Ok(())
    }

    /// The namespace to enter.
    pub(crate) fn user_namespace(&self) -> BorrowedFd<'_> {
        self.user_namespace.as_fd()
    }
}

/// Whether this machine lets us make such a namespace: tries it, in a process that ends right after.
pub(crate) fn is_possible() -> bool {
    // SAFETY: the child makes system calls and allocates; it takes no other lock.
    match unsafe { sys::fork() } {
        Ok(Fork::Child) => sys::exit(if Registry::create().is_ok() { 0 } else { 1 }),
        Ok(Fork::Parent(pid)) => waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
            .is_ok_and(|status| status.is_some_and(|status| status.exit_status() == Some(0))),
        Err(_) => false,
    }
}

/// The child's part: waits until ids are mapped, mounts, and hands over the number of the mount's file
/// descriptor, or a negative error number.
fn mount_for_parent(go: BorrowedFd<'_>, done: BorrowedFd<'_>) -> ! {
    let mount = || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::io::read(go, &mut [0])?;
        mounts::file_system(c"binfmt_misc", &[], MountAttrFlags::empty())
    };
    let answer = match mount() {
        Ok(mount) => mount.into_raw_fd(),
        Err(errno) => -errno.raw_os_error(),
    };
    let _ = rustix::io::write(done, &answer.to_le_bytes());
    sys::exit(0)
}

/// The ids that exist in our namespace, each mapped to itself.
fn identity_map(map: &str) -> Result<String, Errno> {
    let own = fs::read_to_string(format!("/proc/self/{map}")).map_err(errno)?;
    Ok(own
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (first, count) = (fields.next()?, fields.nth(1)?);
            Some(format!("{first} {first} {count}\n"))
        })
        .collect())
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
