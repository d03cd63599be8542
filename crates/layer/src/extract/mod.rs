//! From an archive to a directory: layers of other people into overlay delta directories, and the
//! archives that `ADD` unpacks.
//!
//! The archive is hostile. Nothing outside the directory is ever touched, because every path is
//! resolved by the kernel with `RESOLVE_IN_ROOT`, and the last component of a path is never followed.

mod born;
mod format;
mod place;
mod tree;

use std::{
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
};

use archway_oci::{Digest, media_type::LayerCompression};

use crate::{
    archive::{Limits, ReadError, TarReader},
    compress::Decoder,
    overlay::Markers,
    stream,
    windows::{self, Layout},
};
pub use format::{ArchiveFormat, is_archive};
use place::{Extraction, Placed};
use tree::Tree;

/// Who owns what is extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The owners the archive states. An owner that does not exist in this user namespace is
    /// [`ExtractError::Owner`].
    #[default]
    Keep,
    /// Whoever runs this process: for a user namespace that maps a single id.
    Squash,
    /// One owner for everything: `ADD --chown`.
    Set {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// How an archive is extracted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtractOptions {
    /// Who owns the files.
    pub ownership: Ownership,
    /// How paths stand in the layer; an archive that is unpacked has none.
    pub layout: Layout,
    /// What is refused.
    pub limits: Limits,
}

/// What a layer held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Digest of the whole uncompressed stream, padding after the archive included.
    pub diff_id: Digest,
    /// Length of that stream in bytes.
    pub uncompressed_size: u64,
    /// How many entries the layer has.
    pub entries: u64,
    /// Sum of the sizes of the regular files in bytes.
    pub bytes: u64,
    /// Devices that this process may not make (rootless), relative to the delta directory. Nothing is
    /// in their place.
    pub skipped_devices: Vec<PathBuf>,
    /// Directories the layer uses without having an entry for them: made as root's, mode 0755, of the
    /// epoch. In an overlay they hide the owner and mode the directory has in a layer below.
    pub implied_directories: Vec<PathBuf>,
    /// Whether the layer's root is opaque: nothing of the layers below is to be seen. Overlayfs has no
    /// such thing as an opaque root, so whoever mounts must leave those layers out.
    pub opaque_root: bool,
}

/// What an unpacked archive held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// How it was compressed.
    pub format: ArchiveFormat,
    /// How many entries it has.
    pub entries: u64,
    /// Sum of the sizes of the regular files in bytes.
    pub bytes: u64,
    /// Devices and named pipes, which `ADD` leaves out, relative to the destination.
    pub skipped_special: Vec<PathBuf>,
}

/// Why an archive was not extracted. The directory holds what came before.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive is damaged, hostile or cannot be read.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// Something could not be made in the directory.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `create`, `write`, `set the mode of`, …
        action: &'static str,
        /// Path in the archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The owner could not be set; under [`Ownership::Keep`] in a user namespace, most likely because
    /// the id is not mapped.
    #[error("cannot give `{}` to {uid}:{gid}", path.display())]
    Owner {
        /// Path in the archive.
        path: PathBuf,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Why.
        source: io::Error,
    },
    /// A hard link to something the archive did not make before.
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
    /// More than [`Limits::memory`].
    #[error("the names of the archive's directories take more than {most} bytes of memory")]
    Memory {
        /// What was allowed.
        most: u64,
    },
}

/// Extracts a layer into `delta_dir`, an existing and empty directory, as overlayfs's upper form: a
/// whiteout becomes a character device 0/0, an opaque directory gets `user.overlay.opaque`.
///
/// Extended attributes other than `security.capability` and `user.*` (without `user.overlay.*`) are
/// left out, and `user.*` also where the file system has none. An entry for the root itself is
/// ignored. The stream is read to its end.
pub fn apply_layer<R: Read + Send>(
    reader: R,
    compression: LayerCompression,
    delta_dir: &Path,
    options: &ExtractOptions,
) -> Result<Extracted, ExtractError> {
    let tree = Tree::open(delta_dir, Markers::Translate, options.limits.memory)?;
    let decoder = Decoder::new(reader, compression).map_err(|source| ReadError::Stream { source })?;
    let (placed, (diff_id, uncompressed_size)) = stream::hashed(decoder, |chunks| {
        let mut tar = TarReader::new(chunks, options.limits.clone());
        let placed = place_all(tree, &mut tar, options.ownership, options.layout)?;
        stream::drain(tar, options.limits.total)?;
        Ok::<_, ExtractError>(placed)
    });
    let placed = placed?;
    Ok(Extracted {
        diff_id,
        uncompressed_size,
        entries: placed.entries,
        bytes: placed.bytes,
        skipped_devices: placed.skipped,
        implied_directories: placed.implied_directories,
        opaque_root: placed.opaque_root,
    })
}

/// Unpacks an archive into the existing directory `destination`, as `ADD` does: over what is there,
/// replacing what is in the way, except that a directory stays one, and so does a link to a directory;
/// nothing is a whiteout. Absolute names and links resolve within `destination`. As with BuildKit,
/// devices and named pipes are left out, and an entry for the root is ignored.
///
/// The compression is told by the first bytes (see [`ArchiveFormat`]).
pub fn unpack_archive<R: Read + Send>(
    reader: R,
    destination: &Path,
    options: &ExtractOptions,
) -> Result<Unpacked, ExtractError> {
    let tree = Tree::open(destination, Markers::Literal, options.limits.memory)?;
    let (format, decoder) = format::decoder(reader).map_err(|source| ReadError::Stream { source })?;
    let placed = stream::pumped(decoder, |chunks| {
        let mut tar = TarReader::new(chunks, options.limits.clone());
        let placed = place_all(tree, &mut tar, options.ownership, Layout::Unix)?;
        // To its end: the compressed formats have their checksums there.
        stream::drain(tar, options.limits.total)?;
        Ok::<_, ExtractError>(placed)
    });
    let placed = placed?;
    Ok(Unpacked { format, entries: placed.entries, bytes: placed.bytes, skipped_special: placed.skipped })
}

fn place_all<R: BufRead>(
    tree: Tree,
    tar: &mut TarReader<R>,
    ownership: Ownership,
    layout: Layout,
) -> Result<Placed, ExtractError> {
    let mut extraction = Extraction::new(tree, ownership);
    while let Some(entry) = tar.next_entry()? {
        let entry = match layout {
            Layout::Unix => Some(entry),
            Layout::Windows => windows::inside(entry),
        };
        if let Some(entry) = entry {
            extraction.place(&entry, tar)?;
        }
    }
    extraction.finish()
}
