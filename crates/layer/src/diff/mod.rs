//! From a directory to a layer: an ordered walk, the tar of it, its digests and its compressed form,
//! all in one pass over the files.

mod walk;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use archway_oci::{Descriptor, Digest};

use crate::{
    archive::{Entry, TarWriter, WriteError},
    compress::{self, Compression, InvalidLevel, KnownMembers, Making, Member, Members, Workers},
    overlay::Markers,
    windows::Layout,
};

/// How a layer is made. Its bytes depend on the first three and on the delta, and on nothing else.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// How the tar is compressed.
    pub compression: Compression,
    /// The modification time of all entries, in seconds since 1970 (`SOURCE_DATE_EPOCH`); `None`: each has
    /// its own.
    pub mtime: Option<i64>,
    /// How paths stand in it.
    pub layout: Layout,
    /// Who compresses.
    pub workers: Workers,
    /// Members of earlier layers of the same compression. If this is there, the layer's own are described
    /// in [`LayerInfo::members`].
    pub known: Option<Arc<dyn KnownMembers>>,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            mtime: None,
            layout: Layout::Unix,
            workers: Workers::shared(),
            known: None,
        }
    }
}

/// What a layer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the compressed bytes, which are the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Size of the uncompressed tar in bytes.
    pub uncompressed_size: u64,
    /// OCI media type of the blob.
    pub media_type: &'static str,
    /// How many entries it has; zero: the delta changes nothing.
    pub entries: u64,
    /// Its members, in order, if [`LayerOptions::known`] asks for them. Not those of a layer of one member,
    /// which is compressed sooner than looked for, nor those of a tar that is not compressed.
    pub members: Vec<Member>,
}

impl LayerInfo {
    /// The blob's descriptor.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type, self.digest.clone(), self.size)
    }
}

/// Why a directory did not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The compression level does not exist.
    #[error(transparent)]
    Level(#[from] InvalidLevel),
    /// A file or directory could not be read.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `open`, `list`, `stat`, …
        action: &'static str,
        /// Where, relative to the root of the walk.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file's name would mean "delete" in a layer (image-spec `layer.md`, "Whiteouts").
    #[error("`{}`: names that begin with `.wh.` are reserved in image layers", path.display())]
    ReservedName {
        /// The file.
        path: PathBuf,
    },
    /// A file was replaced between being listed and being opened.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An entry that tar cannot hold, or an archive that could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The compressed layer could not be written.
    #[error("cannot write the layer")]
    Sink {
        /// Why.
        source: io::Error,
    },
}

/// A tar writer whose entries become the layer of [`write_layer_with`].
pub type LayerWriter<'a> = TarWriter<Members<'a>>;

/// Writes the layer of an overlay *upper-form* delta directory to `sink`.
///
/// Each file is read once. Memory stays at about 2 MB for each member that the workers have a place for, and
/// 4 MB besides, plus the names of the directories on the path being walked and one path per hard-linked
/// file. Sockets are left out.
pub fn write_layer<W: Write>(
    delta_dir: &Path,
    options: &LayerOptions,
    sink: W,
) -> Result<LayerInfo, DiffError> {
    write_layer_with(options, sink, |layer| walk::append(delta_dir, b"", Markers::Translate, layer))
}

/// Writes a layer of the entries that `append` appends, in that order.
///
/// For bytes equal to [`write_layer`]'s, the order is that of `docs/formats/layer.md`.
pub fn write_layer_with<W, E>(
    options: &LayerOptions,
    sink: W,
    append: impl FnOnce(&mut LayerWriter<'_>) -> Result<(), E>,
) -> Result<LayerInfo, E>
where
    W: Write,
    E: From<DiffError>,
{
    options.compression.check().map_err(DiffError::from)?;
    let making = Making {
        compression: options.compression,
        workers: options.workers.clone(),
        known: options.known.clone().filter(|_| options.compression != Compression::None),
    };
    let produced = compress::run(making, sink, |members| {
        let layer = TarWriter::new(members, options.mtime).with_layout(options.layout);
        let mut layer = layer.map_err(DiffError::from)?;
        append(&mut layer)?;
        let entries = layer.entries();
        Ok::<_, E>((entries, layer.finish().map_err(DiffError::from)?))
    });
    let (entries, finished) = produced.map_err(|source| DiffError::Sink { source })??;
    Ok(LayerInfo {
        diff_id: finished.diff_id,
        digest: finished.digest,
        size: finished.size,
        uncompressed_size: finished.uncompressed_size,
        media_type: options.compression.media_type(),
        entries,
        members: finished.members,
    })
}

/// Writes a whole root file system to `sink` as a plain tar, as `--output type=tar` wants it.
///
/// The same order and bytes as a layer's, but nothing is a marker: names are taken as they are.
/// Returns the number of entries.
pub fn write_tree<W: Write>(root: &Path, mtime: Option<i64>, sink: W) -> Result<u64, DiffError> {
    let mut tar = TarWriter::new(sink, mtime);
    walk::append(root, b"", Markers::Literal, &mut tar)?;
    let entries = tar.entries();
    tar.finish()?.flush().map_err(|source| DiffError::Sink { source })?;
    Ok(entries)
}

/// Writes several root file systems to `sink` as one plain tar, each below the directory named beside
/// it. Otherwise like [`write_tree`].
pub fn write_trees<W: Write>(
    roots: &[(String, PathBuf)],
    mtime: Option<i64>,
    sink: W,
) -> Result<u64, DiffError> {
    write_trees_with(roots, mtime, sink, |_| Ok(()))
}

/// The same, and behind them the entries that `append` appends.
pub fn write_trees_with<W: Write>(
    roots: &[(String, PathBuf)],
    mtime: Option<i64>,
    sink: W,
    append: impl FnOnce(&mut TarWriter<W>) -> Result<(), DiffError>,
) -> Result<u64, DiffError> {
    let mut tar = TarWriter::new(sink, mtime);
    for (name, root) in roots {
        if !name.is_empty() {
            tar.append(&Entry::directory(name.as_bytes(), 0o755), io::empty())?;
        }
        walk::append(root, name.as_bytes(), Markers::Literal, &mut tar)?;
    }
    append(&mut tar)?;
    let entries = tar.entries();
    tar.finish()?.flush().map_err(|source| DiffError::Sink { source })?;
    Ok(entries)
}
