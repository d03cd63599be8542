//! Surviving a power loss.
//!
//! The death of a process loses nothing that was written, so objects are put in place without
//! waiting for the disk. A power loss may lose or shorten them. Therefore [`sync`] notes which
//! objects are known to be on the disk, and the first process after a boot ([`recover`]) removes
//! those that are not.

use std::{collections::HashSet, fs, path::Path};

use rusqlite::{OptionalExtension, Transaction};

use crate::{
    cache_mount,
    error::{At, Result},
    garbage::Trash,
    index::Index,
    lock::Lock,
    root::{self, Root},
    session::{self, Observed},
};

/// Changes with every boot of the machine; the same in all its containers.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Directories whose entries are objects.
const OBJECTS: [&str; 2] = ["blobs/sha256", "snapshots"];

/// Writes everything to disk, and notes which objects were there before.
pub(crate) fn sync(root: &Root, index: &Index) -> Result<()> {
    let objects = objects(root)?;
    let directory = fs::File::open(root.path()).at(root.path())?;
    rustix::fs::syncfs(&directory).at(root.path())?;
    index.write_durably(|transaction| {
        let mut insert = transaction
            .prepare_cached("INSERT OR IGNORE INTO durable VALUES (?1)")
            .map_err(|error| index.failed(error))?;
        for object in &objects {
            insert.execute([object]).map_err(|error| index.failed(error))?;
        }
        Ok(())
    })
}

/// Removes objects that a power loss may have damaged, if the machine was started anew since the
/// last time a store was opened here.
pub(crate) fn recover(root: &Root, index: &Index) -> Result<()> {
    // Where it cannot be read (some sandboxes), there is nothing to compare.
    let Ok(boot) = fs::read_to_string(BOOT_ID) else { return Ok(()) };
    recover_for(root, index, boot.trim())
}

fn recover_for(root: &Root, index: &Index, boot: &str) -> Result<()> {
    if noted_boot(index)?.as_deref() == Some(boot) {
        return Ok(());
    }
    let collecting = Lock::exclusive(root.garbage_lock())?;
    // No process outlives its boot: a live one means that the store was not touched by a power loss.
    if noted_boot(index)?.as_deref() == Some(boot) || any_live(root)? {
        return Ok(());
    }
    let mut trash = Trash::new(root, &collecting)?;
    index.write_durably(|transaction| {
        remove_unsynced(root, index, transaction, &mut trash)?;
        transaction
            .execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?1)", [boot])
            .map_err(|error| index.failed(error))?;
        Ok(())
    })?;
    drop(collecting);
    trash.empty()?;
    Ok(())
}

fn noted_boot(index: &Index) -> Result<Option<String>> {
    index.read(|c| {
        c.prepare_cached("SELECT value FROM meta WHERE name = 'boot'")?
            .query_row([], |row| row.get(0))
            .optional()
    })
}

fn any_live(root: &Root) -> Result<bool> {
    for name in root::names(&root.sessions())? {
        if let Observed::Live(_) = session::observe(&root.sessions().join(name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_unsynced(
    root: &Root,
    index: &Index,
    transaction: &Transaction<'_>,
    trash: &mut Trash,
) -> Result<()> {
    let durable: HashSet<String> = transaction
        .prepare("SELECT object FROM durable")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(|error| index.failed(error))?;
    cache_mount::remove_unsynced(root, trash)?;
    for object in objects(root)? {
        if !durable.contains(&object) {
            trash.take(&root.path().join(&object))?;
        }
    }
    Ok(())
}

/// Paths of all objects, relative to the root.
fn objects(root: &Root) -> Result<Vec<String>> {
    let mut objects = Vec::new();
    for directory in OBJECTS {
        for name in root::names(&root.path().join(directory))? {
            objects.push(Path::new(directory).join(name).to_string_lossy().into_owned());
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use crate::{SnapshotKey, Store};

    use super::*;

    #[test]
    fn after_a_power_loss_only_synced_objects_are_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let snapshot = |name: &str| {
            let key = SnapshotKey::from(blake3::hash(name.as_bytes()));
            store.snapshots().commit(store.snapshots().begin().unwrap(), &key).unwrap();
            key
        };
        let kept = (store.blobs().put(b"synced").unwrap(), snapshot("synced"));
        store.sync().unwrap();
        store.blobs().put(b"unsynced").unwrap();
        snapshot("unsynced");
        drop(store);

        // The same boot: nothing is lost.
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.blobs().list().unwrap().len(), 2);
        let (root, index) = (&store.inner.root, &store.inner.index);
        recover_for(root, index, "another boot").unwrap();
        assert_eq!(
            (store.blobs().list().unwrap(), store.snapshots().list().unwrap()),
            (vec![kept.0], vec![kept.1])
        );

        // Only the first process after a boot has to look.
        store.blobs().put(b"later").unwrap();
        drop(store);
        let root = Root::prepare(directory.path()).unwrap();
        let index = Index::open(&root).unwrap();
        recover_for(&root, &index, "another boot").unwrap();
        assert_eq!(objects(&root).unwrap().len(), 3);
    }

    #[test]
    fn after_a_power_loss_cache_mounts_are_trusted_if_they_were_synced_after_their_last_use() {
        use crate::{StoreError, cache_mount::Sharing};

        let directory = tempfile::tempdir().unwrap();
        let use_mount = |store: &Store, name: &str| {
            let key = crate::MountKey::from(blake3::hash(name.as_bytes()));
            let record = crate::CacheMountRecord { id: name.to_owned(), platform: None };
            let mounts = store.cache_mounts();
            mounts.acquire::<StoreError>(&key, &record, Sharing::Shared, |_| Ok(())).unwrap().unwrap()
        };
        let ids = |store: &Store| -> Vec<String> {
            store.cache_mounts().list().unwrap().into_iter().map(|mount| mount.record.id).collect()
        };
        let store = Store::open(directory.path()).unwrap();
        drop((use_mount(&store, "kept"), use_mount(&store, "written later")));
        let used = use_mount(&store, "used during the sync");
        store.sync().unwrap();
        drop((used, use_mount(&store, "written later")));
        drop(store);

        let store = Store::open(directory.path()).unwrap();
        assert_eq!(ids(&store).len(), 3);
        recover_for(&store.inner.root, &store.inner.index, "another boot").unwrap();
        assert_eq!(ids(&store), ["kept"]);
    }

    #[test]
    fn nothing_is_removed_while_another_process_uses_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.blobs().put(b"unsynced").unwrap();
        recover_for(&store.inner.root, &store.inner.index, "another boot").unwrap();
        assert_eq!(store.blobs().list().unwrap().len(), 1);
    }
}
