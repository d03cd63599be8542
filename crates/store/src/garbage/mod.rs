//! What takes space in a store, and removal of what is needed no more.
//!
//! The store is an [`Inventory`] of [`Item`]s, each of which can be removed by itself. [`policy`] decides, without looking at a disk, which
//! of them go. What a named image or a running process needs never goes.
//!
//! A collection measures first, which takes long, and holds the lock that stops all others only while it reads the index and
//! renames. What was renamed away is deleted when the lock is free again.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

pub mod automatic;
mod inventory;
mod item;
mod mark;
mod measure;
pub mod policy;
mod trash;

pub use self::item::{Item, ItemKind};
use self::{
    inventory::{Inventory, Object},
    mark::Mark,
    measure::{Footprint, Measured},
    policy::{Disk, Ledger, Rule},
};
pub(crate) use self::{measure::disk_usage, trash::Trash};
use crate::{
    Store, copied,
    error::{At, Result},
    facts,
    lock::Lock,
    member, repository,
    root::{self, Root},
    session::{self, Observed},
};

/// A number of things and the disk space they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes allocated on the disk; what several share counts once.
    pub bytes: u64,
}

/// What takes space in a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// What can be removed by itself: least recently used first.
    pub items: Vec<Item>,
    /// The space of the items that are not [shared](Item::shared), which is what limits are about.
    pub cache: u64,
    /// Blobs and snapshots that named images need, and nothing else.
    pub images: Tally,
    /// What dead processes left and what is being removed: goes with any collection.
    pub garbage: Tally,
    /// What running processes are making.
    pub unfinished: Tally,
    /// The index, with the tables about blobs and snapshots; the count is that of its records of steps.
    pub index: Tally,
    /// Space of all items of a kind, and of those that can be removed now; each by [`ItemKind::ALL`].
    pub kinds: Vec<KindUsage>,
}

/// The space of one kind of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindUsage {
    /// Which.
    pub kind: ItemKind,
    /// All of them.
    pub all: Tally,
    /// Those that nobody uses.
    pub reclaimable: Tally,
    /// Those that named images need, too.
    pub shared: Tally,
}

/// What is to be removed.
pub struct Prune<'a> {
    /// The rules, applied one after the other.
    pub rules: &'a [Rule],
    /// Only what this says, whatever the rules say.
    pub filter: &'a dyn Fn(&Item) -> bool,
    /// Remove nothing, and tell what would be.
    pub dry_run: bool,
}

impl std::fmt::Debug for Prune<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rules, dry_run, .. } = self;
        f.debug_struct("Prune").field("rules", rules).field("dry_run", dry_run).finish_non_exhaustive()
    }
}

impl<'a> Prune<'a> {
    /// By rules, whatever it is.
    pub fn by(rules: &'a [Rule]) -> Self {
        Self { rules, filter: &|_| true, dry_run: false }
    }
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// In the order of removal.
    pub items: Vec<Item>,
    /// Bytes freed on the disk, also those of what dead processes left.
    pub bytes: u64,
    /// Space of the items that stay and are not shared.
    pub left: u64,
}

pub(crate) fn measure(store: &Store, filter: &dyn Fn(&Item) -> bool) -> Result<Usage> {
    let measured = Measured::take(store)?;
    let root = &store.inner.root;
    let collecting = Lock::exclusive(root.garbage_lock())?;
    let sessions = Sessions::inspect(root)?;
    let mut inventory = store.inner.index.write(|transaction| {
        let mut mark = Mark::new(store, transaction, sessions.leased.clone());
        Inventory::take(store, &mut mark, &measured)
    })?;
    drop(collecting);
    inventory.entries.retain(|entry| filter(&entry.item));
    let records = store
        .inner
        .index
        .read(|connection| connection.query_row("SELECT count(*) FROM cache", [], |row| row.get(0)))?;
    let mut index = Tally { count: records, bytes: 0 };
    for suffix in ["", "-wal", "-shm"] {
        let mut path = store.inner.index.path().as_os_str().to_owned();
        path.push(suffix);
        index.bytes += disk_usage(Path::new(&path))?;
    }
    for tables in [root.members(), root.copied(), root.facts()] {
        index.bytes += disk_usage(&tables)?;
    }
    let mut garbage = tally(root::names(&root.trash())?.iter().map(|name| root.trash().join(name)))?;
    let dead = tally(sessions.dead.into_iter())?;
    garbage.count += dead.count + inventory.orphans.len() as u64;
    garbage.bytes += dead.bytes;
    for orphan in &inventory.orphans {
        garbage.bytes += disk_usage(orphan)?;
    }
    let ledger = Ledger::new(&inventory.entries, disk(root)?);
    let sum = |keep: &dyn Fn(&Item) -> bool| {
        let chosen = inventory.entries.iter().filter(|entry| keep(&entry.item));
        let footprints: Vec<&Footprint> = chosen.map(|entry| &entry.footprint).collect();
        Tally { count: footprints.len() as u64, bytes: measure::sum(footprints) }
    };
    let kinds = ItemKind::ALL.map(|kind| KindUsage {
        kind,
        all: sum(&|item| item.kind == kind),
        reclaimable: sum(&|item| item.kind == kind && !item.in_use && !item.shared),
        shared: sum(&|item| item.kind == kind && item.shared),
    });
    let (cache, order) = (ledger.total(), policy::order(&inventory.entries));
    Ok(Usage {
        cache,
        images: inventory.images,
        garbage,
        unfinished: tally(sessions.live.into_iter())?,
        index,
        kinds: kinds.into(),
        items: order.into_iter().map(|index| inventory.entries[index].item.clone()).collect(),
    })
}

pub(crate) fn prune(store: &Store, prune: &Prune<'_>) -> Result<Pruned> {
    let measured = Measured::take(store)?;
    let inner = &store.inner;
    let root = &inner.root;
    let collecting = Lock::exclusive(root.garbage_lock())?;
    let sessions = Sessions::inspect(root)?;
    let now = Timestamp::now();
    let free = disk(root)?;
    let (inventory, removed, pruned) = inner.index.write(|transaction| {
        let mut mark = Mark::new(store, transaction, sessions.leased.clone());
        let inventory = Inventory::take(store, &mut mark, &measured)?;
        let mut ledger = Ledger::new(&inventory.entries, free);
        for rule in prune.rules {
            ledger.apply(rule, prune.filter, now);
        }
        let removed = ledger.removed().to_vec();
        let pruned = Pruned {
            items: removed.iter().map(|index| inventory.entries[*index].item.clone()).collect(),
            bytes: ledger.freed(),
            left: ledger.total(),
        };
        if !prune.dry_run {
            for index in &removed {
                mark.forget(&inventory.entries[*index])?;
            }
            for key in &inventory.dead_records {
                mark.forget_snapshot(key)?;
            }
            mark.forget_facts(prune, now)?;
        }
        Ok((inventory, removed, pruned))
    })?;
    let mut garbage = sessions.dead;
    garbage.extend(inventory.orphans.iter().cloned());
    if prune.dry_run {
        let bytes = pruned.bytes + tally(garbage.into_iter())?.bytes;
        return Ok(Pruned { bytes, ..pruned });
    }
    let mut trash = Trash::new(root, &collecting)?;
    for path in garbage {
        trash.take(&path)?;
    }
    let gone = sweep(store, &inventory, &removed, &mut trash)?;
    sweep_locks(root)?;
    drop(collecting);

    let bytes = trash.empty()?;
    let items = pruned.items.into_iter().zip(gone).filter(|(_, gone)| *gone).map(|(item, _)| item).collect();
    Ok(Pruned { items, bytes, ..pruned })
}

/// Moves the objects of the entries `removed` away, except those that an entry that stays needs. Says for each
/// whether it is gone: somebody may have begun to use a cache mount or a repository meanwhile.
fn sweep(store: &Store, inventory: &Inventory, removed: &[usize], trash: &mut Trash) -> Result<Vec<bool>> {
    let is_removed: HashSet<usize> = removed.iter().copied().collect();
    let mut needed = inventory.needed.clone();
    for (index, entry) in inventory.entries.iter().enumerate() {
        if !is_removed.contains(&index) {
            needed.extend(entry.object.names());
        }
    }
    let mut gone = Vec::with_capacity(removed.len());
    for index in removed {
        let taken = match &inventory.entries[*index].object {
            Object::Snapshot { key, blobs } => {
                if !needed.contains(&crate::snapshot::object(key)) {
                    trash.take(&store.snapshots().location(key))?;
                }
                for digest in blobs {
                    if !needed.contains(&crate::blob::object(digest)) {
                        trash.take(&store.blobs().location(digest))?;
                    }
                }
                true
            }
            Object::Blob(digest) => {
                trash.take(&store.blobs().location(digest))?;
                true
            }
            Object::CacheMount { key, number } => store.cache_mounts().take_away(key, *number, trash)?,
            Object::Repository(path) => repository::take_away(&store.inner.root, path, trash)?,
            Object::FileHashes(path) => {
                trash.take(path)?;
                true
            }
        };
        gone.push(taken);
    }
    let root = &store.inner.root;
    member::sweep(root, |object| needed.contains(object), trash)?;
    copied::sweep(root, |object| needed.contains(object), trash)?;
    facts::sweep(root, |object| needed.contains(object), trash)?;
    Ok(gone)
}

/// The sessions of a store.
#[derive(Default)]
struct Sessions {
    /// The names of objects that running processes use.
    leased: HashSet<String>,
    live: Vec<PathBuf>,
    dead: Vec<PathBuf>,
}

impl Sessions {
    /// The caller holds the exclusive garbage lock.
    fn inspect(root: &Root) -> Result<Self> {
        let mut sessions = Self::default();
        for name in root::names(&root.sessions())? {
            let directory = root.sessions().join(name);
            match session::observe(&directory)? {
                Observed::Live(objects) => {
                    sessions.leased.extend(objects);
                    sessions.live.push(directory);
                }
                Observed::Dead => sessions.dead.push(directory),
            }
        }
        Ok(sessions)
    }
}

fn tally(paths: impl Iterator<Item = PathBuf>) -> Result<Tally> {
    let mut tally = Tally::default();
    for path in paths {
        tally.count += 1;
        tally.bytes += disk_usage(&path)?;
    }
    Ok(tally)
}

/// The file system of the store.
pub(crate) fn disk(root: &Root) -> Result<Disk> {
    let found = rustix::fs::statvfs(root.path()).at(root.path())?;
    Ok(Disk { total: found.f_blocks * found.f_frsize, free: found.f_bavail * found.f_frsize })
}

fn sweep_locks(root: &Root) -> Result<()> {
    for name in root::names(&root.locks())? {
        if let Some(lock) = Lock::try_exclusive(root.locks().join(name))? {
            lock.remove()?;
        }
    }
    Ok(())
}
