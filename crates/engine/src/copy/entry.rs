//! What a COPY takes: described once, whether it comes from the context, a stage or the Dockerfile.

use std::{fs::File, io::Read, path::PathBuf};

use serde::Serialize;

use crate::StepError;

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub(crate) struct Mtime {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}

impl Mtime {
    /// A time in nanoseconds since 1970.
    pub(crate) fn from_nanoseconds(nanoseconds: i64) -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self { seconds: nanoseconds.div_euclid(SECOND), nanoseconds: nanoseconds.rem_euclid(SECOND) }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum EntryKind {
    Directory,
    File {
        size: u64,
    },
    Symlink {
        target: String,
    },
    /// A device or fifo: the type bits of its mode, and the device number.
    Special {
        file_type: u32,
        device: u64,
    },
}

/// One file system object to copy.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Path below its item, slash-separated; empty for the item itself.
    pub(crate) path: String,
    pub(crate) kind: EntryKind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    /// Names and values, sorted by name.
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    /// Identity of a file that has several names.
    pub(crate) hard_link: Option<(u64, u64)>,
    /// Whether it is a directory that is copied only for something in it. One that is there already keeps
    /// all but its mode.
    pub(crate) implied: bool,
}

/// A file that is being read. What was read counts only once [`Reading::finish`] has succeeded.
pub(crate) trait Reading: Read + Send {
    /// Says whether the file is still what it was when its content was hashed.
    fn finish(self: Box<Self>) -> Result<(), StepError>;
}

/// A file that nobody changes.
impl Reading for File {
    fn finish(self: Box<Self>) -> Result<(), StepError> {
        Ok(())
    }
}

/// One source that a pattern matched, with everything in it.
pub(crate) struct SourceItem {
    /// Its last path component, empty for a root.
    pub(crate) name: String,
    /// The item itself, then what is in it, parents before children, sorted.
    pub(crate) entries: Vec<Entry>,
    /// Reads the files.
    pub(crate) open: Box<dyn Open>,
    /// Whether it is unpacked if it is an archive; `None`: as the instruction says.
    pub(crate) unpack: Option<bool>,
}

impl SourceItem {
    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        let sizes = self.entries.iter().map(|entry| match entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        });
        sizes.sum()
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.entries.first().is_some_and(|root| root.kind == EntryKind::Directory)
    }
}

/// Opens the files of an item.
pub(crate) trait Open: Send + Sync {
    /// Opens the file of `entry` for reading.
    fn open(&self, entry: &Entry) -> Result<Box<dyn Reading>, StepError>;

    /// The hash of the file's content, if it is known without reading it.
    fn content(&self, entry: &Entry) -> Option<blake3::Hash> {
        let _ = entry;
        None
    }

    /// Where the file is, for messages.
    fn path(&self, entry: &Entry) -> PathBuf;
}
