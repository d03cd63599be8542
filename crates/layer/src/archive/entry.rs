//! The metadata of one archive member.

use std::collections::BTreeMap;

/// A moment as a file system states it: seconds since the epoch, plus nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC; negative before it.
    pub seconds: i64,
    /// Nanoseconds to add, below 1 000 000 000 also for negative seconds.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// A whole second.
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// What an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; this many bytes of data follow.
    File {
        /// Bytes of data.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text, unchanged.
        target: Vec<u8>,
    },
    /// Another name of an earlier entry.
    Hardlink {
        /// Path of that entry, relative to the archive's root.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Driver number.
        major: u32,
        /// Device number within the driver.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Driver number.
        major: u32,
        /// Device number within the driver.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One archive member without its data.
///
/// Paths are bytes, relative to the archive's root, without a leading or trailing slash and without
/// `.` or `..` components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes. Empty for the root itself, which is read but never written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification. Written as whole seconds, rounded down.
    pub mtime: Timestamp,
    /// Extended attributes by full name (`user.x`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entry {
    /// An entry of root's, of the epoch, without extended attributes.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: BTreeMap::new(),
        }
    }

    /// A regular file of `size` bytes.
    pub fn file(path: impl Into<Vec<u8>>, size: u64, mode: u32) -> Self {
        Self::new(path, EntryKind::File { size }, mode)
    }

    /// A directory.
    pub fn directory(path: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self::new(path, EntryKind::Directory, mode)
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, EntryKind::Symlink { target: target.into() }, 0o777)
    }

    /// Bytes of data that follow the header.
    pub fn data_size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}
