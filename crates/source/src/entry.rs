//! What is known of one file of a context.

use std::fmt;

use archway_store::StatKey;

/// A file, directory, link or fifo, as it was when the snapshot was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the context, with `/`; empty for the context itself.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-uid, set-gid and sticky. Always 0755 for the context itself, whose
    /// mode is an accident of the checkout, and 0777 for links.
    pub mode: u32,
    /// User and group that it belongs to in an image. Root's, unless the snapshot keeps owners.
    pub owner: (u32, u32),
    /// Device, inode, size, times.
    pub stat: StatKey,
    /// Whether it is a file with other names, in the context or elsewhere: those have the same `stat`.
    pub linked: bool,
}

impl Entry {
    /// Last component of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link; never followed by the snapshot.
    Symlink {
        /// What it says.
        target: String,
    },
    /// A named pipe.
    Fifo,
}

/// What cannot be part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}
