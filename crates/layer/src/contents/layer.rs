//! The contents of one layer.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{BufRead, Read},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::Arc,
};

use super::{Budget, ContentsError, Entry, Keep, Kind, Meta, ReadOptions, Selector, file, tree::Tree};
use crate::{
    archive::{self, EntryKind, TarReader},
    overlay::{Meaning, meaning},
    path,
};

/// What one layer holds: its files, and what it hides of the layers below.
#[derive(Debug, Clone, Default)]
pub struct LayerContents {
    pub(super) entries: Tree,
    /// Paths that are gone.
    pub(super) whiteouts: BTreeSet<Vec<u8>>,
    /// Directories that hide what is in those below; the root is the empty path.
    pub(super) opaque: BTreeSet<Vec<u8>>,
}

impl LayerContents {
    /// Reads an uncompressed layer of a Unix image for one selector, with the default limits.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn read(tar: impl Read, keep: &(dyn Fn(&Meta<'_>) -> Keep + Sync)) -> Result<Self, ContentsError> {
        let options = ReadOptions::default();
        let mut tar = TarReader::new(std::io::BufReader::new(tar), options.limits.clone());
        let mut contents = super::read_entries(&mut tar, &options, &[&keep])?;
        Ok(contents.swap_remove(0))
    }

    /// The entry of this layer at `path`; no link is followed.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path).map(|entry| &**entry)
    }

    /// The entries of this layer, sorted by path; directories that are only implied are not among them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter()
    }
}

/// A layer that is being read.
pub(super) struct Reading<'a> {
    budget: &'a Budget,
    selectors: &'a [&'a dyn Selector],
    /// One for each selector; they differ in what was kept.
    layers: Vec<LayerContents>,
    /// The directory of the entry before, as written and with links followed: the next is mostly in the same.
    directory: Option<(Vec<u8>, Vec<u8>)>,
    /// Where files are read into.
    buffer: Vec<u8>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(budget: &'a Budget, selectors: &'a [&'a dyn Selector]) -> Self {
        let layers = vec![LayerContents::default(); selectors.len()];
        Self { budget, selectors, layers, directory: None, buffer: Vec::new() }
    }

    /// Takes `entry`, whose data is what `data` reads next.
    pub(super) fn add<R: BufRead>(
        &mut self,
        mut entry: archive::Entry,
        data: &mut TarReader<R>,
    ) -> Result<(), ContentsError> {
        if entry.path.is_empty() {
            return if entry.kind == EntryKind::Directory { Ok(()) } else { Err(ContentsError::Root) };
        }
        let parent = self.resolve(path::parent(&entry.path));
        match meaning(&entry.path) {
            Meaning::Bookkeeping => Ok(()),
            Meaning::Whiteout(b"" | b"." | b"..") => {
                Err(ContentsError::Whiteout { path: os_path(&entry.path) })
            }
            Meaning::Whiteout(name) => self.mark(path::join(&parent, name), |layer| &mut layer.whiteouts),
            Meaning::Opaque => self.mark(parent, |layer| &mut layer.opaque),
            Meaning::Plain => {
                entry.path = path::join(&parent, path::name(&entry.path));
                self.insert(entry, data)
            }
        }
    }

    pub(super) fn finish(self) -> Vec<LayerContents> {
        self.layers
    }

    fn mark(
        &mut self,
        path: Vec<u8>,
        set: impl Fn(&mut LayerContents) -> &mut BTreeSet<Vec<u8>>,
    ) -> Result<(), ContentsError> {
        for layer in &mut self.layers {
            self.budget.take(path.len() + Budget::ENTRY)?;
            set(layer).insert(path.clone());
        }
        Ok(())
    }

    fn insert<R: BufRead>(
        &mut self,
        entry: archive::Entry,
        data: &mut TarReader<R>,
    ) -> Result<(), ContentsError> {
        let entries = match &entry.kind {
            // The device that overlayfs takes for a whiteout, whoever made it.
            EntryKind::CharDevice { major: 0, minor: 0 } => {
                for layer in &mut self.layers {
                    layer.entries.remove(&entry.path);
                }
                self.directory = None;
                return self.mark(entry.path, |layer| &mut layer.whiteouts);
            }
            EntryKind::File { size } => {
                let kept =
                    file::contents(&entry, *size, data, self.selectors, self.budget, &mut self.buffer)?;
                let file = |content| made(&entry, Kind::File { size: *size, content });
                kept.into_iter().map(file).collect()
            }
            EntryKind::Hardlink { target } => self.linked(&entry.path, target)?,
            EntryKind::Directory => self.same(&entry, &Kind::Directory),
            EntryKind::Symlink { target } => self.same(&entry, &Kind::Symlink { target: target.clone() }),
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => {
                self.same(&entry, &Kind::Other)
            }
        };
        if !matches!(entry.kind, EntryKind::File { .. }) {
            // Links are followed anew.
            self.directory = None;
        }
        let path: Arc<[u8]> = entry.path.into();
        for (layer, entry) in self.layers.iter_mut().zip(entries) {
            let link = if let Kind::Symlink { target } = &entry.kind { target.len() } else { 0 };
            self.budget.take(path.len() + link + Budget::ENTRY)?;
            layer.entries.insert(Arc::clone(&path), entry);
        }
        Ok(())
    }

    fn same(&self, entry: &archive::Entry, kind: &Kind) -> Vec<Arc<Entry>> {
        let entry = made(entry, kind.clone());
        vec![entry; self.layers.len()]
    }

    /// What a hard link is another name of.
    fn linked(&mut self, path: &[u8], target: &[u8]) -> Result<Vec<Arc<Entry>>, ContentsError> {
        let place = path::join(&self.resolve(path::parent(target)), path::name(target));
        let found = self.layers.iter().map(|layer| layer.entries.get(&place).cloned());
        let found: Option<Vec<Arc<Entry>>> = found.collect();
        found
            .filter(|found| found.iter().all(|entry| !entry.is_directory()))
            .ok_or_else(|| ContentsError::LinkTarget { path: os_path(path), target: os_path(target) })
    }

    /// A directory with the links of this layer followed. Those of layers below are not: on an overlay the
    /// directory that the layer implies hides them.
    fn resolve(&mut self, directory: &[u8]) -> Vec<u8> {
        if let Some((written, resolved)) = &self.directory
            && written == directory
        {
            return resolved.clone();
        }
        let Some(layer) = self.layers.first() else { return directory.to_vec() };
        let resolved = layer.entries.resolve(directory).unwrap_or_else(|| directory.to_vec());
        self.directory = Some((directory.to_vec(), resolved.clone()));
        resolved
    }
}

fn made(entry: &archive::Entry, kind: Kind) -> Arc<Entry> {
    Arc::new(Entry { mode: entry.mode, uid: entry.uid, gid: entry.gid, kind })
}

fn os_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}
