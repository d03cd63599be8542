//! What to run: the caller's description of one process.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use crate::emulation::Interpreter;

/// One process in a root file system.
///
/// The process is pid 1 of a new pid namespace. It gets new mount, ipc, uts and cgroup namespaces,
/// Docker's default capabilities, masked paths and seccomp policy, and a `/proc`, `/sys` and `/dev`
/// of its own.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Its root file system.
    pub rootfs: Rootfs,
    /// Program and arguments; not empty. A program without a slash is looked up in the `PATH` of [`Spec::env`].
    pub argv: Vec<String>,
    /// `NAME=value`, exactly what the process gets.
    pub env: Vec<String>,
    /// Working directory, absolute, or empty for `/`. Made, owned by [`Spec::user`], if it does not exist.
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// Its host name; at most 64 bytes.
    pub hostname: String,
    /// Its network.
    pub network: Network,
    /// What it may do.
    pub security: Security,
    /// Bytes that `/dev/shm` holds; `None` is 64 MiB, as in Docker.
    pub shm_size: Option<u64>,
    /// Limits that are not those of the caller.
    pub limits: Vec<Limit>,
    /// Control groups that it enters, besides those of the caller: [`Cgroup::directories`](crate::Cgroup::directories).
    pub cgroups: Vec<PathBuf>,
    /// How much it stands back when processors are busy: 0, like its caller, to 19.
    pub niceness: u8,
    /// Further entries for `/etc/hosts`.
    pub extra_hosts: Vec<HostEntry>,
    /// Further mounts, in order, after the standard ones.
    pub mounts: Vec<Mount>,
    /// Executable files (mode 0755, owner root) shown read-only inside the root file system.
    pub files: Vec<ScriptFile>,
    /// What runs its machine code, for a platform that is not this machine's.
    pub interpreter: Option<Interpreter>,
}

/// A root file system: an overlay of directories, mounted with `userxattr`.
///
/// A directory with the usual mount points (`/proc`, `/etc/hosts`, …) is put below the lowest layer, so
/// that mounting leaves no stubs in `upper`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rootfs {
    /// Read-only directories, top first; at most [`overlay::MAX_LOWERS`](crate::overlay::MAX_LOWERS).
    pub lowers: Vec<PathBuf>,
    /// Receives every change, which is not written to disk before the caller does so (`fsync`, `syncfs`).
    /// Without it the root file system is read-only.
    pub upper: Option<PathBuf>,
    /// The overlay's own directory, empty and on the same file system as `upper`; set exactly if
    /// `upper` is.
    pub work: Option<PathBuf>,
}

/// Numeric user and groups, as seen inside (which is the same as outside but for rootless use).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
}

/// What network a process sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// Only a loopback interface of its own.
    None,
}

/// What a process may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Security {
    /// Docker's default capabilities and system call policy; `/proc` and `/sys` masked and read-only.
    #[default]
    Sandboxed,
    /// Everything its caller may do: every capability, no system call policy, nothing masked, and the
    /// devices that BuildKit gives to such steps (`/dev/fuse`, `/dev/kvm`, loop devices, …).
    Insecure,
}

/// A resource limit (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What counts; `None` is no limit.
    pub soft: Option<u64>,
    /// What the process can raise it to; `None` is no limit.
    pub hard: Option<u64>,
}

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Size of a core file.
    Core,
    /// Processor time, in seconds.
    Cpu,
    /// Size of the data segment.
    Data,
    /// Size of a file that is written.
    Fsize,
    /// File locks.
    Locks,
    /// Memory that is locked.
    Memlock,
    /// Bytes in message queues.
    Msgqueue,
    /// Niceness, as 20 minus the value.
    Nice,
    /// Open files.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Memory that is resident.
    Rss,
    /// Real-time priority.
    Rtprio,
    /// Time without a blocking call in real-time scheduling, in microseconds.
    Rttime,
    /// Pending signals.
    Sigpending,
    /// Size of the stack.
    Stack,
}

impl Resource {
    /// Every resource by its name in `--ulimit`.
    pub const NAMES: [(&'static str, Self); 15] = [
        ("core", Self::Core),
        ("cpu", Self::Cpu),
        ("data", Self::Data),
        ("fsize", Self::Fsize),
        ("locks", Self::Locks),
        ("memlock", Self::Memlock),
        ("msgqueue", Self::Msgqueue),
        ("nice", Self::Nice),
        ("nofile", Self::Nofile),
        ("nproc", Self::Nproc),
        ("rss", Self::Rss),
        ("rtprio", Self::Rtprio),
        ("rttime", Self::Rttime),
        ("sigpending", Self::Sigpending),
        ("stack", Self::Stack),
    ];

    /// The resource of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, resource)| *resource == self).map_or("", |(name, _)| name)
    }
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: std::net::IpAddr,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, absolute inside the root file system. Symlinks are followed inside the root file system;
    /// what is missing is made below the lowest layer.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file, socket or directory of this machine, with what is mounted below it.
    Bind(PathBuf),
    /// A file or directory of another root file system, which is mounted for this purpose only.
    Layers {
        /// The root file system. What is written goes to its `upper`.
        rootfs: Rootfs,
        /// Where in it; symlinks are followed inside it. It has to be there.
        path: String,
        /// Whether it is a directory.
        directory: bool,
    },
    /// Memory.
    Tmpfs {
        /// Most bytes it holds; `None` is the kernel's default, half of the memory.
        size: Option<u64>,
    },
    /// A file in memory, which only the process sees. Always read-only.
    File {
        /// Its bytes.
        content: Private,
        /// Permission bits; without one for execution it cannot be executed.
        mode: u32,
        /// User it belongs to.
        uid: u32,
        /// Group it belongs to.
        gid: u32,
    },
}

/// Bytes that are nobody's business: [`Debug`](fmt::Debug) does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Private(Arc<[u8]>);

impl Private {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Into<Arc<[u8]>>> From<T> for Private {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(…)")
    }
}

/// A file made for the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFile {
    /// Where, absolute inside the root file system.
    pub path: String,
    /// Its bytes.
    pub content: String,
}

/// What the process' standard streams are; `None` is `/dev/null`.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
}

impl Stdio {
    /// The caller's own streams.
    ///
    /// # Errors
    /// When one of them is closed, or too many files are open.
    pub fn inherit() -> io::Result<Self> {
        let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(Some);
        Ok(Self {
            stdin: own(io::stdin().as_fd())?,
            stdout: own(io::stdout().as_fd())?,
            stderr: own(io::stderr().as_fd())?,
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}
