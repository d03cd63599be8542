//! Build contexts as immutable source snapshots.
//!
//! A [`Snapshot`] remembers every file of a context directory: what is there, not its bytes. Bytes
//! are read in place, and only while the file still has the status it had when the snapshot was
//! made: what was changed since is an error, so all platforms build from the same source.
//!
//! | module | holds |
//! |---|---|
//! | [`entry`] | what is known of one file |
//! | [`scan`](Snapshot::scan) | the walk, with `.dockerignore` applied |
//! | [`select`](Snapshot::select) | which files the sources of a COPY mean |
//! | [`content`](Snapshot::digest) | the digest of selected files |
//! | [`reader`] | reading a file that must not have changed |

mod content;
pub mod entry;
mod error;
pub mod reader;
mod resolve;
mod scan;
mod select;
mod similar;

use std::{
    collections::BTreeMap,
    ops::Range,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
    time::SystemTime,
};

use archway_dockerfile::ignore::IgnorePatterns;
use archway_store::FileHashes;

pub use archway_store::StatKey;
pub use entry::{Entry, Kind};
pub use error::{Obstacle, SourceError};
pub use reader::SourceFile;
pub use select::{Below, Match, Part, Selection};

use crate::entry::Special;

/// The files of a context directory at one moment.
#[derive(Debug)]
pub struct Snapshot {
    directory: PathBuf,
    root: OwnedFd,
    ignore: IgnorePatterns,
    /// By path, bytewise. The first is the root.
    entries: Vec<Entry>,
    /// What cannot be part of an image, by path.
    special: BTreeMap<String, Special>,
    /// What could not be looked at, by path.
    obstacles: BTreeMap<String, Obstacle>,
    scanned: SystemTime,
    /// For each entry, the hash of its content once it is known.
    hashes: Vec<OnceLock<blake3::Hash>>,
    /// The stat cache, once it is loaded.
    known: Mutex<Option<FileHashes>>,
}

impl Snapshot {
    /// The context directory, absolute.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Everything that is not ignored, by path (bytewise). The first entry is the root, with an
    /// empty path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Paths of sockets and devices, which are left out, and what they are.
    pub fn special(&self) -> impl Iterator<Item = (&str, Special)> {
        self.special.iter().map(|(path, kind)| (path.as_str(), *kind))
    }

    /// Paths of what could not be looked at, and why. Something in a directory among them may be missing from
    /// [`Self::entries`].
    pub fn obstacles(&self) -> impl Iterator<Item = (&str, &Obstacle)> {
        self.obstacles.iter().map(|(path, obstacle)| (path.as_str(), obstacle))
    }

    /// The entry at `path` (cleaned, relative to the context; empty for the root).
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(self.position(path)?)
    }

    fn position(&self, path: &str) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()
    }

    /// Where the entries below the directory at `index` are.
    fn below(&self, index: usize) -> Range<usize> {
        match self.entries.get(index) {
            Some(directory) if directory.path.is_empty() => 1..self.entries.len(),
            // `0` follows `/`.
            Some(directory) => {
                let from = |end: &str| {
                    let bound = format!("{}{end}", directory.path);
                    self.entries.partition_point(|entry| entry.path < bound)
                };
                from("/")..from("0")
            }
            None => 0..0,
        }
    }
}
