//! Contents of a layer as bytes, so that it need not be read again: `docs/formats/store.md`, "Facts about
//! layers".

use std::sync::Arc;

use super::{Entry, Kind, LayerContents};

/// What begins a record.
mod tag {
    pub(super) const WHITEOUT: u8 = b'w';
    pub(super) const OPAQUE: u8 = b'o';
    pub(super) const DIRECTORY: u8 = b'd';
    pub(super) const FILE: u8 = b'f';
    pub(super) const FILE_WITH_CONTENT: u8 = b'c';
    pub(super) const SYMLINK: u8 = b'l';
    pub(super) const OTHER: u8 = b'x';
}

impl LayerContents {
    /// The entries that `keep` chooses, with what was kept of them, and all that the layer hides.
    pub fn to_bytes(&self, keep: impl Fn(&[u8], &Entry) -> bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for path in &self.whiteouts {
            bytes.push(tag::WHITEOUT);
            put(&mut bytes, path);
        }
        for path in &self.opaque {
            bytes.push(tag::OPAQUE);
            put(&mut bytes, path);
        }
        for (path, entry) in self.entries.iter().filter(|(path, entry)| keep(path, entry)) {
            let (tag, size, content): (u8, u64, &[u8]) = match &entry.kind {
                Kind::Directory => (tag::DIRECTORY, 0, b""),
                Kind::File { size, content: None } => (tag::FILE, *size, b""),
                Kind::File { size, content: Some(content) } => (tag::FILE_WITH_CONTENT, *size, content),
                Kind::Symlink { target } => (tag::SYMLINK, 0, target),
                Kind::Other => (tag::OTHER, 0, b""),
            };
            bytes.push(tag);
            put(&mut bytes, path);
            for number in [entry.mode, entry.uid, entry.gid] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(size.to_le_bytes());
            put(&mut bytes, content);
        }
        bytes
    }

    /// Reads [`LayerContents::to_bytes`]; `None`: these bytes are something else.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut layer = Self::default();
        while let Some((tag, rest)) = bytes.split_first() {
            bytes = rest;
            let path = take(&mut bytes)?.to_vec();
            match *tag {
                tag::WHITEOUT => drop(layer.whiteouts.insert(path)),
                tag::OPAQUE => drop(layer.opaque.insert(path)),
                tag => {
                    let entry = entry(tag, &mut bytes)?;
                    layer.entries.insert(path.into(), Arc::new(entry));
                }
            }
        }
        Some(layer)
    }
}

fn entry(tag: u8, bytes: &mut &[u8]) -> Option<Entry> {
    let mut number = || array(bytes).map(u32::from_le_bytes);
    let (mode, uid, gid) = (number()?, number()?, number()?);
    let size = u64::from_le_bytes(array(bytes)?);
    let content = take(bytes)?;
    let kind = match tag {
        tag::DIRECTORY => Kind::Directory,
        tag::FILE => Kind::File { size, content: None },
        tag::FILE_WITH_CONTENT => Kind::File { size, content: Some(content.into()) },
        tag::SYMLINK => Kind::Symlink { target: content.to_vec() },
        tag::OTHER => Kind::Other,
        _ => return None,
    };
    Some(Entry { mode, uid, gid, kind })
}

/// Bytes behind their length.
fn put(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend((value.len() as u64).to_le_bytes());
    bytes.extend(value);
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_le_bytes(array(bytes)?)).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}
