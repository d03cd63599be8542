//! What to run: the caller's description of one process.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
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
    /// Working directory, absolute, or empty for `/`. Made, owned by root, if it does not exist.
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// Its host name; at most 64 bytes.
    pub hostname: String,
    /// Its network.
    pub network: Network,
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
    /// A file or directory of this machine, with what is mounted below it.
    Bind(PathBuf),
    /// Memory.
    Tmpfs {
        /// Most bytes it holds; `None` is the kernel's default, half of the memory.
        size: Option<u64>,
    },
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
