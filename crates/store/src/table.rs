//! Tables that are read and written as a whole: what marks their format, records, and the blake3 hash of
//! all that comes before it. `docs/formats/store.md` has the records of each.

use std::{fs, path::Path};

use crate::{
    Store,
    error::{At, Result},
};

/// How a table begins: its kind and the version of its format.
pub(crate) type Magic = [u8; 16];

/// The hash at the end.
pub(crate) const CHECKSUM: usize = blake3::OUT_LEN;

/// Ends a table.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(blake3::hash(&bytes).as_bytes());
    bytes
}

/// The records of a table; `None` if it is damaged, or of another kind.
pub(crate) fn records<'a>(bytes: &'a [u8], magic: &Magic) -> Option<&'a [u8]> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*checksum) {
        return None;
    }
    content.strip_prefix(magic)
}

/// Puts a table in the place of the one at `path`, at once.
pub(crate) fn replace(store: &Store, path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).at(directory)?;
    }
    let unfinished = store.session()?.fresh_path();
    fs::write(&unfinished, bytes).at(&unfinished)?;
    fs::rename(&unfinished, path).at(path)
}
