//! System calls that `rustix` does not offer, each in the smallest safe wrapper.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

use rustix::{io::Errno, mount::MountAttrFlags, process::Pid};

/// The calling thread's last error.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// Both sides of a fork.
#[derive(Debug)]
pub(crate) enum Fork {
    /// In the new process.
    Child,
    /// In the old one.
    Parent(Pid),
}

/// `fork(2)` by the C library, so that its allocator is usable in the child even if the caller has
/// other threads.
///
/// # Safety
/// If the caller has other threads, the child must not take locks other than the allocator's: their
/// holders do not exist in it.
pub(crate) unsafe fn fork() -> Result<Fork, Errno> {
    // SAFETY: the caller keeps the child away from locks.
    let pid = checked(unsafe { libc::fork() }.into())?;
    Ok(Pid::from_raw(pid as i32).map_or(Fork::Child, Fork::Parent))
}

/// Both sides of `clone3(2)`.
#[derive(Debug)]
pub(crate) enum Clone {
    /// In the new process.
    Child,
    /// In the old one: the new process.
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// `clone3(2)` without shared memory: like `fork`, with `flags` on top.
///
/// # Safety
/// The caller must have one thread only: the C library does not learn of the new process, so locks
/// that another thread holds would stay locked in the child.
pub(crate) unsafe fn clone3(flags: c_int) -> Result<Clone, Errno> {
    let mut pidfd: c_int = -1;
    // SAFETY: `clone_args` is plain numbers, for which zeros mean "none".
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned()) | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: `args` and `pidfd` live until the call returns; without a stack and without CLONE_VM
    // the child goes on with a copy of this one.
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })?;
    match Pid::from_raw(pid as i32) {
        None => Ok(Clone::Child),
        // SAFETY: the kernel has just opened it for this process (CLONE_PIDFD).
        Some(pid) => Ok(Clone::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Ends the process without running anything of the C library or Rust.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default action and unblocks it.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default action involves no handler. KILL, STOP and the C library's own signals
        // are refused, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is valid, and the old one is not asked for.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Marks every file descriptor from `first` on to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes all file descriptors except `keep`, for a process that was just made.
///
/// # Safety
/// Nothing in the process may use another file descriptor afterwards, nor own one in the sense of
/// Rust and drop it.
pub(crate) unsafe fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    keep.sort_unstable();
    let mut first = 0;
    for kept in keep {
        if kept > first {
            close_range(first, kept - 1, 0)?;
        }
        first = kept + 1;
    }
    close_range(first, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only; who owns the descriptors is the caller's concern.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_ns: u64,
}

/// Adds attributes to a mount, and to those below it if `recursive` (`mount_setattr(2)`).
pub(crate) fn restrict_mount(
    mount: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    recursive: bool,
) -> Result<(), Errno> {
    let attributes = MountAttr { set: attributes.bits().into(), clear: 0, propagation: 0, user_ns: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and attributes are valid for the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    })
    .map(drop)
}

/// Sets a resource limit of the calling process (setrlimit(2)).
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads the new limit, which is valid for the call; the old one is not asked for.
    checked(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, ptr::null_mut::<libc::rlimit64>())
    })
    .map(drop)
}

/// The number of a loop device that is free.
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
    // SAFETY: the request takes no argument.
    checked(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }.into()).map(|number| number as u32)
}

/// Starts an empty session keyring, so that the process does not possess its starter's keys.
pub(crate) fn join_new_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    checked(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>(), 0, 0, 0)
    })
    .map(drop)
}

/// Installs a system call filter for the calling thread. Like runc, without the mitigation against
/// speculative store bypass that older kernels tie to filters, which slows programs down.
pub(crate) fn install_filter(filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which is valid for the call, and does not write to it.
    checked(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    })
    .map(drop)
}

/// Brings up the interface `lo` of the current network namespace.
pub(crate) fn bring_up_loopback(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` has the type that this request reads.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
        .map(drop)
}

/// Pointers to `strings` with a null at the end, as `execve` takes them. They are valid as long as
/// `strings` is.
fn pointers<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Vec<*const c_char> {
    strings.into_iter().map(CStr::as_ptr).chain([ptr::null()]).collect()
}

/// Replaces the calling process by `program`; returns only if that fails.
pub(crate) fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let argv = pointers(argv.iter().map(CString::as_c_str));
    let env = pointers(env.iter().map(CString::as_c_str));
    // SAFETY: the arrays end with null and their strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// Like [`execute`], with a program that is open already.
pub(crate) fn execute_open(program: BorrowedFd<'_>, argv: &[&CStr], env: &[CString]) -> Errno {
    let argv = pointers(argv.iter().copied());
    let env = pointers(env.iter().map(CString::as_c_str));
    // SAFETY: as in `execute`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}
