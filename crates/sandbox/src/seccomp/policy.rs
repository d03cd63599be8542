//! Which system calls a process may make: the policy of Docker's default profile for its default
//! capabilities.
//!
//! What is not named is refused with `EPERM` if the kernel has had it at the time of writing (the table
//! of the `syscalls` crate), and with `ENOSYS` otherwise, so that programs fall back to older calls.

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is made.
    Allow,
    /// `EPERM`.
    Deny,
    /// `ENOSYS`.
    Absent,
    /// Made if its first argument has none of [`NAMESPACE_FLAGS`].
    Clone,
    /// Made if its first argument is one of [`SOCKET_FAMILIES`].
    Socket,
    /// Made if its first argument is one of [`PERSONALITIES`].
    Personality,
}

/// Flags of `clone` that make namespaces.
pub(super) const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP)
    .cast_unsigned();

/// Ranges of address families: all but those that Linux has dropped, `AF_ALG` (38: a large attack
/// surface in the kernel) and `AF_VSOCK` (40: reaches the hypervisor from every network namespace).
pub(super) const SOCKET_FAMILIES: [(u32, u32); 8] =
    [(1, 11), (13, 18), (21, 22), (24, 24), (26, 33), (35, 36), (39, 39), (41, 45)];

/// Execution domains: Linux (0), 32-bit Linux (8), both with `UNAME26` (0x20000), and the question
/// for the current one.
pub(super) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The policy, in the form in which it is asked.
#[derive(Debug)]
pub(super) struct Policy {
    /// The [`allowed`] names, sorted: the tables of two architectures ask for 800 names, among 350.
    allowed: Vec<&'static str>,
}

impl Policy {
    pub(super) fn new() -> Self {
        let mut allowed: Vec<_> = allowed().collect();
        allowed.sort_unstable();
        Self { allowed }
    }

    /// The rule for a system call that the kernel has.
    pub(super) fn rule(&self, name: &str) -> Rule {
        match name {
            "clone" => Rule::Clone,
            // Its flags are behind a pointer, where a filter cannot look; without it, `clone` is used.
            "clone3" => Rule::Absent,
            "socket" => Rule::Socket,
            "personality" => Rule::Personality,
            name if self.allowed.binary_search(&name).is_ok() => Rule::Allow,
            _ => Rule::Deny,
        }
    }
}

/// The names of all calls that are allowed whatever their arguments.
fn allowed() -> impl Iterator<Item = &'static str> {
    [FILES, PATHS, ATTRIBUTES, EVENTS, MEMORY, PROCESSES, IDENTITY, SIGNALS, TIME, SOCKETS, IPC, MACHINE]
        .into_iter()
        .flat_map(str::split_whitespace)
}

/// Open files.
const FILES: &str = "
    open openat openat2 creat close close_range dup dup2 dup3 read write readv writev pread64 pwrite64
    preadv pwritev preadv2 pwritev2 lseek _llseek readahead sendfile sendfile64 copy_file_range splice tee
    vmsplice fcntl fcntl64 flock ioctl ftruncate ftruncate64 truncate truncate64 fallocate fadvise64
    fadvise64_64 arm_fadvise64_64 sync fsync fdatasync syncfs sync_file_range
    arm_sync_file_range getdents getdents64 pipe pipe2 cachestat name_to_handle_at
    io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64";

/// The directory tree.
const PATHS: &str = "
    chdir fchdir chroot getcwd mkdir mkdirat rmdir mknod mknodat link linkat unlink unlinkat symlink
    symlinkat readlink readlinkat rename renameat renameat2 umask listmount statmount";

/// What is known of a file.
const ATTRIBUTES: &str = "
    access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat
    lchown lchown32 stat stat64 fstat fstat64 lstat lstat64 fstatat64 newfstatat statx statfs statfs64
    fstatfs fstatfs64 utime utimes futimesat utimensat utimensat_time64
    getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
    listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat";

/// Waiting for something.
const EVENTS: &str = "
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl
    epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init
    inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark";

/// Address spaces.
const MEMORY: &str = "
    brk mmap mmap2 munmap mremap mprotect msync madvise mincore mlock mlock2 mlockall munlock munlockall
    mseal membarrier memfd_create memfd_secret remap_file_pages pkey_alloc pkey_free pkey_mprotect
    map_shadow_stack process_mrelease process_vm_readv process_vm_writev";

/// Processes and threads.
const PROCESSES: &str = "
    fork vfork execve execveat exit exit_group wait4 waitid waitpid pidfd_open pidfd_send_signal ptrace prctl
    getpid getppid gettid getpgid getpgrp setpgid getsid setsid getpriority setpriority
    getrlimit setrlimit prlimit64 ugetrlimit getrusage ioprio_get ioprio_set
    sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
    sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval sched_rr_get_interval_time64 sched_yield
    futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue get_robust_list set_robust_list
    get_thread_area set_thread_area set_tid_address rseq getcpu seccomp landlock_create_ruleset
    landlock_add_rule landlock_restrict_self";

/// Users, groups and capabilities.
const IDENTITY: &str = "
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid
    getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32
    setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups
    setgroups32 capget capset";

/// Signals.
const SIGNALS: &str = "
    kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn sigprocmask sigreturn sigaltstack
    signalfd signalfd4 pause alarm restart_syscall";

/// Clocks and timers.
const TIME: &str = "
    time gettimeofday times nanosleep adjtimex clock_adjtime clock_adjtime64 clock_getres
    clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer
    setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64";

/// Sockets.
const SOCKETS: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt setsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto shutdown socketcall socketpair";

/// System V and POSIX inter-process communication.
const IPC: &str = "
    ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
    mq_open mq_unlink mq_getsetattr mq_notify mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64";

/// The machine, and what only some machines have.
const MACHINE: &str = "
    uname sysinfo getrandom arch_prctl modify_ldt uretprobe breakpoint cacheflush set_tls";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_exists_somewhere_and_once() {
        let known: HashSet<&str> = (syscalls::x86_64::Sysno::iter().map(|call| call.name()))
            .chain(syscalls::x86::Sysno::iter().map(|call| call.name()))
            .chain(syscalls::aarch64::Sysno::iter().map(|call| call.name()))
            .chain(syscalls::arm::Sysno::iter().map(|call| call.name()))
            .collect();
        // Of 32-bit ARM, outside of its table.
        let private = ["breakpoint", "cacheflush", "set_tls"];
        let mut seen = HashSet::new();
        for name in allowed() {
            assert!(known.contains(name) || private.contains(&name), "{name} does not exist");
            assert!(seen.insert(name), "{name} is named twice");
        }
    }

    #[test]
    fn what_reaches_out_of_the_sandbox_is_denied() {
        let denied = "mount umount2 pivot_root setns unshare bpf keyctl add_key request_key reboot
            init_module finit_module delete_module kexec_load perf_event_open swapon settimeofday clock_settime
            open_by_handle_at fsopen move_mount open_tree mount_setattr userfaultfd io_uring_setup iopl ioperm acct
            quotactl sethostname syslog kcmp pidfd_getfd fanotify_init";
        let policy = Policy::new();
        for name in denied.split_whitespace() {
            assert_eq!(policy.rule(name), Rule::Deny, "{name}");
        }
    }
}
