//! Reading a tree from a tar.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::{Entry, Kind, Tree, file};

/// How PAX headers carry extended attributes.
const XATTR_PREFIX: &str = "SCHILY.xattr.";

impl Tree {
    /// The tree a tar describes. Later entries replace earlier ones, as in extraction.
    ///
    /// # Errors
    /// When the tar is broken, or a hard link leads nowhere.
    pub fn of_tar(tar: impl Read) -> io::Result<Self> {
        let mut tree = Self::default();
        for entry in Archive::new(tar).entries()? {
            let mut entry = entry?;
            let path = clean(&entry.path_bytes());
            if path.is_empty() {
                continue;
            }
            let read = match entry.header().entry_type() {
                EntryType::Link => tree.target_of(&link(&entry))?,
                kind => Entry {
                    kind: read_kind(kind, &mut entry)?,
                    mode: if kind == EntryType::Symlink { 0o777 } else { entry.header().mode()? & 0o7777 },
                    uid: id(entry.header().uid()?)?,
                    gid: id(entry.header().gid()?)?,
                    xattrs: xattrs(&mut entry)?,
                },
            };
            tree.entries.insert(path, read);
        }
        Ok(tree)
    }

    /// Like [`Tree::of_tar`] for a gzip-compressed tar.
    ///
    /// # Errors
    /// As [`Tree::of_tar`].
    pub fn of_tar_gz(bytes: impl Read) -> io::Result<Self> {
        Self::of_tar(MultiGzDecoder::new(bytes))
    }

    fn target_of(&self, target: &str) -> io::Result<Entry> {
        let target = clean(target.as_bytes());
        let found = self.entries.get(&target).cloned();
        found.ok_or_else(|| io::Error::other(format!("hard link to {target}, which is not in the tar")))
    }
}

fn read_kind<R: Read>(kind: EntryType, entry: &mut tar::Entry<'_, R>) -> io::Result<Kind> {
    match kind {
        EntryType::Directory => Ok(Kind::Directory),
        EntryType::Symlink => Ok(Kind::Symlink(link(entry))),
        EntryType::Char => {
            let (major, minor) = device(entry.header())?;
            Ok(Kind::CharacterDevice { major, minor })
        }
        EntryType::Block => {
            let (major, minor) = device(entry.header())?;
            Ok(Kind::BlockDevice { major, minor })
        }
        EntryType::Fifo => Ok(Kind::Fifo),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => file(entry),
        other => Err(io::Error::other(format!("tar entry of type {other:?}"))),
    }
}

fn device(header: &tar::Header) -> io::Result<(u32, u32)> {
    Ok((header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default()))
}

fn link<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned()
}

fn xattrs<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let Some(extensions) = entry.pax_extensions()? else { return Ok(found) };
    for extension in extensions {
        let extension = extension?;
        let key = String::from_utf8_lossy(extension.key_bytes());
        if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
            found.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    Ok(found)
}

fn id(number: u64) -> io::Result<u32> {
    number.try_into().map_err(io::Error::other)
}

/// `./etc/` is `etc`.
fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::LayerBuilder;

    #[test]
    fn reads_names_links_and_modes() {
        let builder = LayerBuilder::new().directory("./tmp", 0o1777).unwrap();
        let builder = builder.file("a", 0o4755, b"a").unwrap().hard_link("b", "./a").unwrap();
        let layer = builder.symlink("c", "/a").unwrap().finish().unwrap();
        let tree = Tree::of_tar_gz(&layer.bytes[..]).unwrap();
        assert_eq!(tree.entries.keys().collect::<Vec<_>>(), ["a", "b", "c", "tmp"]);
        assert_eq!(tree.entries["a"], tree.entries["b"]);
        assert_eq!(tree.entries["a"].mode, 0o4755);
        assert_eq!(tree.entries["c"].kind, Kind::Symlink("/a".into()));
        assert_eq!(tree.entries["tmp"].mode, 0o1777);
    }

    #[test]
    fn refuses_a_hard_link_to_nothing() {
        let layer = LayerBuilder::new().hard_link("b", "a").unwrap().finish().unwrap();
        let error = Tree::of_tar_gz(&layer.bytes[..]).unwrap_err();
        assert!(error.to_string().contains("hard link to a"), "{error}");
    }
}
