//! What a copy takes from the delta that the same instruction made before, when fewer files have changed
//! than have not.
//!
//! Files of deltas never change, so two deltas may share them: by one more name, without a byte being
//! written. A file is taken only for the same path, with the same content, mode, owner and time. So no two
//! paths of one root file system become one file, and nothing that a layer holds depends on what was
//! built before.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use archway_graph::{CopyOp, CopySource};
use archway_store::{CopyRecord, SnapshotKey, Store};
use rustix::fs::{Mode, OFlags};

use super::entry::SourceItem;
use crate::{
    StepError,
    key::{self, Key},
};

pub(super) use archway_store::{CopiedFile, CopiedFiles};

/// Copies of fewer bytes are not remembered: to write them again costs no more.
const WORTHWHILE: u64 = 1 << 20;

/// Names what one instruction copies from one directory, whatever is in it at the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lineage(Key);

impl Lineage {
    /// The lineage of a copy of `items`. `directory` gives the directory of a context.
    pub(super) fn of<'a>(
        op: &'a CopyOp,
        items: &[SourceItem],
        directory: impl Fn(&'a archway_graph::ContextName) -> &'a Path,
    ) -> Option<Self> {
        let size: u64 = items.iter().map(SourceItem::size).sum();
        if size < WORTHWHILE {
            return None;
        }
        let from = op.sources.iter().filter_map(|source| match source {
            CopySource::Context { context, paths } => Some((directory(context).to_string_lossy(), paths)),
            _ => None,
        });
        let from: Vec<_> = from.collect();
        (!from.is_empty()).then(|| Self(key::lineage(op, &from)))
    }

    /// The delta that was made last, if it is still there.
    pub(super) fn earlier(self, store: &Store) -> Result<Option<Earlier>, StepError> {
        let Some(record) = store.copies().load(&self.0.to_string())? else { return Ok(None) };
        let Some(path) = store.snapshots().path(&record.snapshot)? else { return Ok(None) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty());
        let root = root.map_err(|errno| StepError::Io { path, source: errno.into() })?;
        Ok(Some(Earlier { root, files: record.files }))
    }

    /// Remembers a delta and the files that may be taken from it.
    pub(super) fn remember(
        self,
        store: &Store,
        snapshot: SnapshotKey,
        files: CopiedFiles,
    ) -> Result<(), StepError> {
        Ok(store.copies().save(&self.0.to_string(), &CopyRecord { snapshot, files })?)
    }
}

/// A delta that files are taken from.
pub(crate) struct Earlier {
    root: OwnedFd,
    files: CopiedFiles,
}

impl Earlier {
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The file at `path`, if it may be taken.
    pub(super) fn file(&self, path: &str) -> Option<&CopiedFile> {
        self.files.get(path)
    }
}
