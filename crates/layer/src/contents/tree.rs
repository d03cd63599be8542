//! Files by path, and the root file system that layers make together.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, LazyLock},
};

use super::{Entry, Kind, LayerContents};
use crate::path;

/// Most symbolic links on the way to one file (Linux `MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// A directory that layers use without having an entry for it.
static IMPLIED: LazyLock<Arc<Entry>> =
    LazyLock::new(|| Arc::new(Entry { mode: 0o755, uid: 0, gid: 0, kind: Kind::Directory }));

/// Entries by path. Below what is no directory there is nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(BTreeMap<Arc<[u8]>, Arc<Entry>>);

impl Tree {
    pub(super) fn get(&self, path: &[u8]) -> Option<&Arc<Entry>> {
        self.0.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.0.iter().map(|(path, entry)| (&**path, &**entry))
    }

    /// Everything in a directory, however deep.
    fn below(&self, directory: &[u8]) -> impl Iterator<Item = (&[u8], &Entry)> + use<'_> {
        let bounds = match directory {
            b"" => (Bound::Unbounded, Bound::Unbounded),
            // `0` comes after `/`.
            _ => (Bound::Excluded([directory, b"/"].concat()), Bound::Excluded([directory, b"0"].concat())),
        };
        let bounds = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
        self.0.range::<[u8], _>(bounds).map(|(path, entry)| (&**path, &**entry))
    }

    pub(super) fn insert(&mut self, path: Arc<[u8]>, entry: Arc<Entry>) {
        if !entry.is_directory() {
            self.remove_below(&path);
        }
        self.0.insert(path, entry);
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, directory: &[u8]) {
        let paths: Vec<Vec<u8>> = self.below(directory).map(|(path, _)| path.to_vec()).collect();
        for path in paths {
            self.0.remove(path.as_slice());
        }
    }

    /// Makes sure that everything above `path` is a directory.
    fn imply(&mut self, path: &[u8]) {
        let parent = path::parent(path);
        if parent.is_empty() || self.0.get(parent).is_some_and(|entry| entry.is_directory()) {
            return;
        }
        self.imply(parent);
        self.insert(parent.into(), Arc::clone(&IMPLIED));
    }

    /// `path` with all links followed, also the last; `None`: they lead in a circle. Whether something is
    /// there is another question.
    pub(super) fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
        };
        let (mut pending, mut here, mut links) = (parts(path), Vec::new(), 0);
        while let Some(part) = pending.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    here.truncate(path::parent(&here).len());
                    continue;
                }
                _ => {}
            }
            let next = path::join(&here, &part);
            match self.0.get(next.as_slice()).map(|entry| &entry.kind) {
                Some(Kind::Symlink { target }) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        here.clear();
                    }
                    pending.extend(parts(target));
                }
                _ => here = next,
            }
        }
        Some(here)
    }

    /// Puts a layer on top, as overlayfs would: what it hides goes first.
    fn apply(&mut self, layer: &LayerContents) {
        for directory in &layer.opaque {
            self.remove_below(directory);
        }
        for path in &layer.whiteouts {
            self.remove(path);
        }
        for (path, entry) in &layer.entries.0 {
            self.imply(path);
            self.insert(Arc::clone(path), Arc::clone(entry));
        }
    }
}

/// The root file system that layers make together.
///
/// Paths are relative to the root, without leading and trailing slashes. The root itself has no entry.
#[derive(Debug, Clone, Default)]
pub struct Contents(Tree);

impl Contents {
    /// Layers, base first.
    pub fn stack<'a>(layers: impl IntoIterator<Item = &'a LayerContents>) -> Self {
        let mut tree = Tree::default();
        for layer in layers {
            tree.apply(layer);
        }
        Self(tree)
    }

    /// What is at `path`; no link is followed.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.0.get(path).map(|entry| &**entry)
    }

    /// What a process in this root finds at `path`, absolute or relative to the root, and where it really
    /// is. Links are followed and stay within the root.
    pub fn follow(&self, path: &[u8]) -> Option<(Vec<u8>, &Entry)> {
        let place = self.0.resolve(path)?;
        let entry = self.get(&place)?;
        Some((place, entry))
    }

    /// Everything, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.0.iter()
    }

    /// Everything in a directory, however deep, sorted by path. `directory` itself is not among it.
    pub fn below(&self, directory: &[u8]) -> impl Iterator<Item = (&[u8], &Entry)> + use<'_> {
        self.0.below(directory)
    }
}
