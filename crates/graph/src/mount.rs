//! What a RUN mounts.

mod problem;

use archway_oci::Platform;
use serde::Serialize;

pub use problem::MountProblem;

use crate::op::NodeId;

/// A mount of one RUN. All values are expanded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Mount {
    /// Where, absolute and cleaned; never `/`.
    pub target: String,
    /// What.
    #[serde(flatten)]
    pub source: MountSource,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MountSource {
    /// A file or directory of another node's root file system. What is written is lost.
    Bind(NodePath),
    /// A directory that outlives the build and is part of no image.
    Cache(CacheMount),
    /// Memory.
    Tmpfs {
        /// Most bytes it holds; `None` is what the kernel allows.
        size: Option<u64>,
    },
    /// The value of a secret, as a file in memory.
    Secret {
        /// Which; its value is no part of the graph.
        id: String,
        /// Whether the step fails without it; else there is no file.
        required: bool,
        /// Owner and permission bits of the file.
        access: Access,
    },
    /// The socket of an ssh agent.
    Ssh {
        /// Which.
        id: String,
        /// Whether the step fails without it; else there is no socket.
        required: bool,
        /// Owner and permission bits of the socket.
        access: Access,
    },
}

/// A file or directory of a node's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NodePath {
    /// Whose.
    pub node: NodeId,
    /// Absolute and cleaned. Symlinks are followed inside the root file system.
    pub path: String,
}

/// A directory that outlives the build.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct CacheMount {
    /// As written, else the target.
    pub id: String,
    /// The platform whose directory it is; `None` if all platforms share it.
    pub platform: Option<Platform>,
    /// What happens when two steps want it at the same time.
    pub sharing: Sharing,
    /// What a new directory holds.
    pub initial: Option<NodePath>,
    /// Owner and permission bits of a new directory, where they are given.
    pub access: Option<Access>,
}

/// What happens when two steps want one cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Both use it.
    Shared,
    /// The second gets another directory.
    Private,
    /// The second waits.
    Locked,
}

/// Owner and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Access {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// A secret that a RUN gets as an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SecretVariable {
    /// Name of the variable.
    pub name: String,
    /// Which secret.
    pub id: String,
    /// Whether the step fails without it; else the variable is empty.
    pub required: bool,
}

impl MountSource {
    /// The root file system it reads.
    pub fn input(&self) -> Option<NodeId> {
        match self {
            Self::Bind(part) => Some(part.node),
            Self::Cache(cache) => cache.initial.as_ref().map(|part| part.node),
            Self::Tmpfs { .. } | Self::Secret { .. } | Self::Ssh { .. } => None,
        }
    }
}
