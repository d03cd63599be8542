//! What the layers of an image hold, in memory: the tree of files, and of each file as much as somebody
//! asked for.
//!
//! ```text
//! layer ──► read_layer ──► LayerContents ─┐
//! layer ──► read_layer ──► LayerContents ─┴─► Contents::stack: the root file system
//! ```
//! A layer is read in one pass, however many want to know something of it, and gives its diffID at the
//! same time. Nothing is written anywhere. A layer that several images share is read once and stacked often.
//!
//! Layers are hostile: what they may take of memory is a [`Budget`], and links never lead out of the root.

mod delta;
mod file;
mod layer;
mod stored;
mod tree;

use std::{
    io::{BufRead, Read},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use archway_oci::{Digest, media_type::LayerCompression};

use crate::{
    archive::{self, ReadError, TarReader},
    compress::Decoder,
    stream,
    windows::{self, Layout},
};
pub use layer::LayerContents;
pub use tree::Contents;

/// How many bytes of a file a [`Selector`] sees before it decides.
pub const HEAD: usize = 512;

/// How much of a regular file's bytes to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// This many from its beginning, or all if it is shorter.
    Head(usize),
    /// All of a file that has no more than `limit` bytes, and nothing of a larger one.
    Whole {
        /// In bytes.
        limit: u64,
    },
}

/// A regular file, as a [`Selector`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// Relative to the root, without leading and trailing slashes.
    pub path: &'a [u8],
    /// Bytes it has.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Its first bytes, [`HEAD`] at most.
    pub head: &'a [u8],
}

/// Who wants to know something of files. A closure that gives a [`Keep`] is one.
pub trait Selector: Sync {
    /// How much of a file to read.
    fn keep(&self, file: &Meta<'_>) -> Keep;

    /// What to remember of the bytes that were read. A large file that says little is best made small here.
    fn distil(&self, file: &Meta<'_>, bytes: &[u8]) -> Option<Arc<[u8]>> {
        let _ = file;
        Some(bytes.into())
    }
}

impl<F: Fn(&Meta<'_>) -> Keep + Sync> Selector for F {
    fn keep(&self, file: &Meta<'_>) -> Keep {
        self(file)
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is. A hard link is the file it is a name of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes it has.
        size: u64,
        /// What the selector wanted to keep.
        content: Option<Arc<[u8]>>,
    },
    /// A symbolic link.
    Symlink {
        /// Its text, unchanged.
        target: Vec<u8>,
    },
    /// A device or a named pipe.
    Other,
}

impl Entry {
    /// Bytes of a regular file that were kept.
    pub fn content(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::File { content, .. } => content.as_deref(),
            _ => None,
        }
    }

    fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// Bytes of memory that everything read with it may take together.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    left: AtomicU64,
}

impl Budget {
    /// What an entry takes besides its name, roughly.
    const ENTRY: usize = 160;

    /// `bytes` for all that share it.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { total: bytes, left: AtomicU64::new(bytes) })
    }

    fn take(&self, bytes: usize) -> Result<(), ContentsError> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.map(drop).map_err(|_| ContentsError::Budget { total: self.total })
    }
}

/// How a layer is read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// How paths stand in the layer.
    pub layout: Layout,
    /// What is refused.
    pub limits: archive::Limits,
    /// Names and contents may take this much memory.
    pub budget: Arc<Budget>,
}

impl Default for ReadOptions {
    /// A gibibyte: the names of five million files, or the package databases of any image.
    fn default() -> Self {
        let (layout, limits) = (Layout::default(), archive::Limits::default());
        Self { layout, limits, budget: Budget::new(1 << 30) }
    }
}

/// A layer that was read.
#[derive(Debug, Clone)]
pub struct ReadLayer {
    /// Digest of the whole uncompressed stream, padding after the archive included.
    pub diff_id: Digest,
    /// Length of that stream in bytes.
    pub uncompressed_size: u64,
    /// The same files for each selector, with what it kept.
    pub contents: Vec<LayerContents>,
}

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The archive is damaged, hostile or cannot be read.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// Names and kept contents take more memory than allowed.
    #[error("the files would take more than {total} bytes of memory")]
    Budget {
        /// What was allowed.
        total: u64,
    },
    /// A delta cannot be read.
    #[error("cannot read {}", path.display())]
    Delta {
        /// What of it.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A hard link to something the archive does not have before it.
    #[error("`{}` is a hard link to `{}`, which is not there", path.display(), target.display())]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// What it should be a name of.
        target: PathBuf,
    },
    /// A whiteout of nothing (`.wh.`), of `.` or of `..`.
    #[error("`{}` is not a valid whiteout", path.display())]
    Whiteout {
        /// Path in the archive.
        path: PathBuf,
    },
    /// An entry that is no directory is named as the root.
    #[error("the archive replaces its own root with something that is no directory")]
    Root,
}

/// Reads a layer to its end: on one thread it is decompressed, on another hashed, on this one read.
///
/// # Errors
/// [`ContentsError`]. Whether the bytes are those of a descriptor is for `reader` to find.
pub fn read_layer<R: Read + Send>(
    reader: R,
    compression: LayerCompression,
    options: &ReadOptions,
    selectors: &[&dyn Selector],
) -> Result<ReadLayer, ContentsError> {
    let decoder = Decoder::new(reader, compression).map_err(|source| ReadError::Stream { source })?;
    let (contents, (diff_id, uncompressed_size)) =
        stream::hashed(decoder, |chunks| read_archive(chunks, options, selectors));
    Ok(ReadLayer { diff_id, uncompressed_size, contents: contents? })
}

/// As [`read_layer`], for who does not ask whether the diffID is right: the same files for each selector,
/// with what it kept.
///
/// # Errors
/// Those of [`read_layer`].
pub fn read_contents<R: Read + Send>(
    reader: R,
    compression: LayerCompression,
    options: &ReadOptions,
    selectors: &[&dyn Selector],
) -> Result<Vec<LayerContents>, ContentsError> {
    let decoder = Decoder::new(reader, compression).map_err(|source| ReadError::Stream { source })?;
    stream::pumped(decoder, |chunks| read_archive(chunks, options, selectors))
}

fn read_archive(
    chunks: stream::Chunks,
    options: &ReadOptions,
    selectors: &[&dyn Selector],
) -> Result<Vec<LayerContents>, ContentsError> {
    let mut tar = TarReader::new(chunks, options.limits.clone());
    let contents = read_entries(&mut tar, options, selectors)?;
    stream::drain(tar, options.limits.total)?;
    Ok(contents)
}

fn read_entries<R: BufRead>(
    tar: &mut TarReader<R>,
    options: &ReadOptions,
    selectors: &[&dyn Selector],
) -> Result<Vec<LayerContents>, ContentsError> {
    let mut reading = layer::Reading::new(&options.budget, selectors);
    while let Some(entry) = tar.next_entry()? {
        let entry = match options.layout {
            Layout::Unix => Some(entry),
            Layout::Windows => windows::inside(entry),
        };
        if let Some(entry) = entry {
            reading.add(entry, tar)?;
        }
    }
    Ok(reading.finish())
}
