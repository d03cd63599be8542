//! Deterministic image layers: a file system delta to compressed tar bytes, and back.
//!
//! | module | holds |
//! |---|---|
//! | [`archive`] | tar entries, the writer that defines our bytes, the bounded reader of other people's |
//! | [`compress`] | gzip and Zstandard in independent members, made by several threads |
//! | [`diff`] | overlay delta directory (or whole root) to layer (or plain tar) |
//! | [`contents`] | layer to the tree of its files in memory, with as much of them as is asked for |
//! | [`extract`] | layer to overlay delta directory; archive to directory for `ADD` |
//!
//! The bytes of a layer depend on the delta's content and [`diff::LayerOptions`] alone: not on
//! threads, host, directory order or umask. `docs/formats/layer.md` writes them down and golden
//! digests pin them.

pub mod archive;
pub mod compress;
pub mod contents;
pub mod diff;
pub mod extract;

mod overlay;
mod path;
mod stream;
mod windows;

pub use archive::{Entry, EntryKind, TarWriter, Timestamp};
pub use compress::{Compression, KnownMembers, Member, Workers};
pub use diff::{
    DiffError, LayerInfo, LayerOptions, write_layer, write_layer_with, write_tree, write_trees,
    write_trees_with,
};
pub use extract::{
    ArchiveFormat, ExtractError, ExtractOptions, Extracted, Ownership, Unpacked, apply_layer, is_archive,
    unpack_archive,
};
pub use overlay::is_image_xattr;
pub use windows::Layout;
