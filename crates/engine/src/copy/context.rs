//! Sources of COPY and ADD in the build context.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use archway_oci::{Digest, Sha256Writer};
use archway_report::{Event, Events};
use archway_source::{Kind, Part, Snapshot, SourceFile};
use archway_store::Store;

use super::{
    entry::{Entry, EntryKind, Mtime, Open, Reading, SourceItem},
    pick::Pick,
};
use crate::{
    StepError,
    key::{self, Key},
};

/// A hash of everything about the selected files that a copy of them keeps. A wildcard that matches
/// nothing is allowed, but seldom meant: the user is told.
pub(crate) fn content(
    snapshot: &Snapshot,
    picks: Vec<Pick>,
    store: &Store,
    events: &Events,
) -> Result<Key, StepError> {
    let selection = snapshot.select_parts(&parts(picks))?;
    for pattern in &selection.unmatched {
        let message = format!("`{pattern}` matches nothing in the build context");
        events.send(Event::Warning { message });
    }
    let digest = snapshot.digest(&selection, &store.file_hashes())?;
    Ok(key::content(&digest.to_hex().as_str()))
}

/// The selected files.
pub(crate) fn select(snapshot: &Arc<Snapshot>, picks: Vec<Pick>) -> Result<Vec<SourceItem>, StepError> {
    let selection = snapshot.select_parts(&parts(picks))?;
    let items = selection.matches.iter().map(|found| {
        let root = snapshot.matched(found);
        let below = snapshot.matched_below(found);
        let below = below
            .map(|below| Entry { implied: below.implied, ..describe(below.path.to_owned(), below.entry) });
        let entries = [describe(String::new(), root)].into_iter().chain(below).collect();
        let files = Files { snapshot: snapshot.clone(), root: root.path.clone() };
        SourceItem { name: found.name.clone(), entries, open: Box::new(files), unpack: None }
    });
    Ok(items.collect())
}

/// The directory hash of the selected regular files, by their paths in the context: what `sha256sum` prints of
/// all of them, sorted by name, hashed with SHA-256 (Go's `dirhash.Hash1`, in-toto's `dirHash`). `None` where a name
/// has a line break, which that has no form for.
pub(crate) fn directory_hash(snapshot: &Snapshot, picks: Vec<Pick>) -> Result<Option<Digest>, StepError> {
    let selection = snapshot.select_parts(&parts(picks))?;
    let mut files = BTreeMap::new();
    for found in &selection.matches {
        let below = snapshot.matched_below(found).map(|below| below.entry);
        let entries = [snapshot.matched(found)].into_iter().chain(below);
        files.extend(
            entries.filter(|entry| entry.kind == Kind::File).map(|entry| (entry.path.as_str(), entry)),
        );
    }
    let mut lines = String::new();
    for (path, entry) in files {
        if path.contains('\n') {
            return Ok(None);
        }
        let mut file = snapshot.open(entry)?;
        let mut hash = Sha256Writer::new(io::sink());
        io::copy(&mut file, &mut hash).map_err(StepError::io(path))?;
        file.finish()?;
        lines.push_str(&format!("{}  {path}\n", hash.finish().0.hex()));
    }
    Ok(Some(Digest::sha256(lines.as_bytes())))
}

fn parts(picks: Vec<Pick>) -> Vec<Part> {
    let part = |Pick { path, keep, pattern, required }| Part { source: path, keep, pattern, required };
    picks.into_iter().map(part).collect()
}

fn describe(path: String, entry: &archway_source::Entry) -> Entry {
    Entry {
        path,
        kind: match &entry.kind {
            Kind::Directory => EntryKind::Directory,
            Kind::File => EntryKind::File { size: entry.stat.size },
            Kind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            Kind::Fifo => {
                EntryKind::Special { file_type: rustix::fs::FileType::Fifo.as_raw_mode(), device: 0 }
            }
        },
        mode: entry.mode,
        uid: entry.owner.0,
        gid: entry.owner.1,
        mtime: Mtime::from_nanoseconds(entry.stat.mtime_ns),
        xattrs: Vec::new(),
        hard_link: entry.linked.then_some((entry.stat.dev, entry.stat.ino)),
        implied: false,
    }
}

/// The files of one item. Reading one ends with a check that it is still what was hashed.
struct Files {
    snapshot: Arc<Snapshot>,
    root: String,
}

impl Files {
    fn full_path(&self, entry: &Entry) -> String {
        match (self.root.as_str(), entry.path.as_str()) {
            (root, "") => root.to_owned(),
            ("", below) => below.to_owned(),
            (root, below) => format!("{root}/{below}"),
        }
    }
}

impl Open for Files {
    fn open(&self, entry: &Entry) -> Result<Box<dyn Reading>, StepError> {
        let path = self.full_path(entry);
        let known = self.snapshot.entry(&path).expect("the entry came from this snapshot");
        Ok(Box::new(self.snapshot.open(known)?))
    }

    fn content(&self, entry: &Entry) -> Option<blake3::Hash> {
        self.snapshot.content_hash(&self.full_path(entry))
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.full_path(entry).into()
    }
}

impl Reading for SourceFile {
    fn finish(self: Box<Self>) -> Result<(), StepError> {
        Ok((*self).finish()?)
    }
}
