//! Everything in a store, as items, with what decides about their removal.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use archway_oci::Digest;
use jiff::Timestamp;

use super::{
    Tally,
    item::{Item, ItemKind},
    mark::{Mark, SnapshotRecord},
    measure::{Footprint, Measured},
};
use crate::{
    MountKey, SnapshotKey, Store, blob,
    error::{At, Result},
    repository, root, snapshot,
};

/// What is in a store.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// What can be removed by itself.
    pub(super) entries: Vec<Entry>,
    /// Names of objects that images and running processes need.
    pub(super) needed: HashSet<String>,
    /// Blobs and snapshots that only images need.
    pub(super) images: Tally,
    /// Snapshots that no record leads to: their makers died before they wrote one.
    pub(super) orphans: Vec<PathBuf>,
    /// Snapshots that records lead to and that are not there, nor are layers made of them.
    pub(super) dead_records: Vec<SnapshotKey>,
}

/// An item, and what of the store it is.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) item: Item,
    pub(super) object: Object,
    pub(super) footprint: Footprint,
    /// How many entries lie below it.
    pub(super) depth: u32,
}

/// Where an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// A snapshot, and the layer blobs made of it.
    Snapshot {
        key: SnapshotKey,
        blobs: Vec<Digest>,
    },
    Blob(Digest),
    CacheMount {
        key: MountKey,
        number: u32,
    },
    Repository(PathBuf),
    FileHashes(PathBuf),
}

impl Object {
    /// The names by which leases know its parts.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Snapshot { key, blobs } => {
                blobs.iter().map(blob::object).chain([snapshot::object(key)]).collect()
            }
            Self::Blob(digest) => vec![blob::object(digest)],
            Self::CacheMount { .. } | Self::Repository(_) | Self::FileHashes(_) => Vec::new(),
        }
    }
}

impl Inventory {
    /// Looks at the whole store. The caller holds the exclusive garbage lock.
    pub(super) fn take(store: &Store, mark: &mut Mark<'_>, measured: &Measured) -> Result<Self> {
        mark.images()?;
        let mut inventory = Self::default();
        let owned = inventory.snapshots(store, mark, measured)?;
        inventory.blobs(store, mark, &owned)?;
        inventory.cache_mounts(store, measured)?;
        inventory.files(store, measured)?;
        inventory.needed = mark.images.union(&mark.leased).cloned().collect();
        raise_uses(&mut inventory.entries);
        count_depths(&mut inventory.entries);
        Ok(inventory)
    }

    /// Snapshots with their layer blobs. Returns those blobs.
    fn snapshots(&mut self, store: &Store, mark: &Mark<'_>, measured: &Measured) -> Result<HashSet<Digest>> {
        let records = mark.snapshot_records()?;
        let mut owned = HashSet::new();
        let present: HashSet<SnapshotKey> = store.snapshots().list()?.into_iter().collect();
        for key in &present {
            let name = snapshot::object(key);
            if records.contains_key(key) || mark.leased.contains(&name) {
                continue;
            }
            let path = store.snapshots().location(key);
            if mark.images.contains(&name) {
                self.images.count += 1;
                self.images.bytes += measured.path(&path)?.bytes();
            } else {
                self.orphans.push(path);
            }
        }
        for (key, record) in records {
            let name = snapshot::object(&key);
            let mut footprint = measured.snapshot(store, &key)?;
            for digest in &record.blobs {
                let blob = blob::object(digest);
                // What an image needs is the image's.
                if !mark.images.contains(&blob) {
                    footprint.add_file(&store.blobs().location(digest))?;
                    owned.insert(digest.clone());
                }
            }
            if !present.contains(&key) && footprint.linked.is_empty() {
                self.dead_records.push(key);
                continue;
            }
            let in_use = mark.leased.contains(&name)
                || record.blobs.iter().any(|digest| mark.leased.contains(&blob::object(digest)));
            let item = Item {
                kind: record.kind,
                id: key.to_string(),
                size: footprint.bytes(),
                last_used: seconds(record.used),
                in_use,
                shared: mark.images.contains(&name),
                description: record.description,
                platform: record.platform,
                parent: record.parent,
            };
            let object = Object::Snapshot { key, blobs: record.blobs };
            self.entries.push(Entry { item, object, footprint, depth: 0 });
        }
        Ok(owned)
    }

    /// Blobs that no snapshot was made into.
    fn blobs(&mut self, store: &Store, mark: &Mark<'_>, owned: &HashSet<Digest>) -> Result<()> {
        let descriptions = mark.packed_layers()?;
        for digest in store.blobs().list()? {
            if owned.contains(&digest) {
                continue;
            }
            let (name, path) = (blob::object(&digest), store.blobs().location(&digest));
            let footprint = Footprint::of(&path)?;
            if mark.images.contains(&name) {
                self.images.count += 1;
                self.images.bytes += footprint.bytes();
                continue;
            }
            let (description, platform) = descriptions.get(digest.as_str()).cloned().unwrap_or_default();
            let item = Item {
                kind: ItemKind::Blob,
                id: digest.to_string(),
                description,
                platform,
                size: footprint.bytes(),
                last_used: modified(&path)?,
                in_use: mark.leased.contains(&name),
                shared: false,
                parent: None,
            };
            self.entries.push(Entry { item, object: Object::Blob(digest), footprint, depth: 0 });
        }
        Ok(())
    }

    fn cache_mounts(&mut self, store: &Store, measured: &Measured) -> Result<()> {
        for mount in store.cache_mounts().unmeasured()? {
            let footprint = measured.path(&mount.path)?;
            let item = Item {
                kind: ItemKind::CacheMount,
                id: format!("{}-{}", mount.key, mount.number),
                description: mount.record.id,
                platform: mount.record.platform,
                size: footprint.bytes(),
                last_used: mount.used,
                in_use: mount.in_use,
                shared: false,
                parent: None,
            };
            let object = Object::CacheMount { key: mount.key, number: mount.number };
            self.entries.push(Entry { item, object, footprint, depth: 0 });
        }
        Ok(())
    }

    /// Repositories and tables of file hashes: nothing refers to them, and they have the time of their last use.
    fn files(&mut self, store: &Store, measured: &Measured) -> Result<()> {
        let root = &store.inner.root;
        for path in repository::list(root)? {
            let in_use = repository::is_in_use(root, &path)?;
            let footprint = measured.path(&path)?;
            self.file(ItemKind::GitRepository, Object::Repository(path.clone()), &path, in_use, footprint)?;
        }
        for name in root::names(&root.file_hashes())? {
            let path = root.file_hashes().join(name);
            let footprint = Footprint::of(&path)?;
            self.file(ItemKind::FileHashes, Object::FileHashes(path.clone()), &path, false, footprint)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        kind: ItemKind,
        object: Object,
        path: &Path,
        in_use: bool,
        footprint: Footprint,
    ) -> Result<()> {
        let item = Item {
            kind,
            id: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            description: String::new(),
            platform: None,
            size: footprint.bytes(),
            last_used: modified(path)?,
            in_use,
            shared: false,
            parent: None,
        };
        self.entries.push(Entry { item, object, footprint, depth: 0 });
        Ok(())
    }
}

/// What is used is used with all that it was made on.
fn raise_uses(entries: &mut [Entry]) {
    let by_key = by_key(entries);
    for index in 0..entries.len() {
        let used = entries[index].item.last_used;
        let mut below = entries[index].item.parent;
        while let Some(parent) = below.and_then(|key| by_key.get(&key)) {
            let parent = &mut entries[*parent].item;
            // Those below it have been raised already. This also ends a ring, which a hostile index may have.
            if parent.last_used >= used {
                break;
            }
            parent.last_used = used;
            below = parent.parent;
        }
    }
}

fn count_depths(entries: &mut [Entry]) {
    let by_key = by_key(entries);
    for index in 0..entries.len() {
        let mut depth = 0;
        let mut below = entries[index].item.parent;
        while let Some(parent) = below.and_then(|key| by_key.get(&key)) {
            depth += 1;
            if depth as usize > entries.len() {
                break;
            }
            below = entries[*parent].item.parent;
        }
        entries[index].depth = depth;
    }
}

fn by_key(entries: &[Entry]) -> HashMap<SnapshotKey, usize> {
    let key = |(index, entry): (usize, &Entry)| match &entry.object {
        Object::Snapshot { key, .. } => Some((*key, index)),
        _ => None,
    };
    entries.iter().enumerate().filter_map(key).collect()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// One that is just gone was used long ago.
fn modified(path: &Path) -> Result<Timestamp> {
    let modified = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => SystemTime::UNIX_EPOCH,
        metadata => metadata.and_then(|metadata| metadata.modified()).at(path)?,
    };
    Ok(Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Snapshots by key, in order.
pub(super) type SnapshotRecords = BTreeMap<SnapshotKey, SnapshotRecord>;
