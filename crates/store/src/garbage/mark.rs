//! What the index says: which objects images need, and what is known of snapshots.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read},
};

use archway_oci::{Descriptor, Digest};
use jiff::Timestamp;
use rusqlite::{Params, Row, Transaction, types::FromSql};
use serde::Deserialize;

use super::{
    Prune,
    inventory::{Entry, Object, SnapshotRecords},
    item::ItemKind,
};
use crate::{
    SnapshotKey, SnapshotKind, Store, blob,
    error::{At, Result, StoreError},
    snapshot,
};

/// Nesting of indexes that is followed.
const MAX_DEPTH: usize = 8;

/// Bytes of a manifest or config that are read.
const MAX_DOCUMENT: u64 = 4 << 20;

/// Marks what is needed, and drops index records.
pub(super) struct Mark<'a> {
    store: &'a Store,
    transaction: &'a Transaction<'a>,
    /// Names of objects that running processes use.
    pub(super) leased: HashSet<String>,
    /// Names of objects that named images need.
    pub(super) images: HashSet<String>,
    visited: HashSet<Digest>,
}

/// What the index knows of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotRecord {
    pub(super) kind: ItemKind,
    pub(super) description: String,
    pub(super) platform: Option<String>,
    pub(super) parent: Option<SnapshotKey>,
    /// Seconds since 1970.
    pub(super) used: i64,
    /// Layer blobs made of it.
    pub(super) blobs: Vec<Digest>,
}

/// The references in an index, a manifest or a config. Any of them may be `null`.
#[derive(Deserialize, Default)]
struct Document {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<serde_json::Value>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl<'a> Mark<'a> {
    /// Starts with the objects that leases name.
    pub(super) fn new(store: &'a Store, transaction: &'a Transaction<'a>, leased: HashSet<String>) -> Self {
        Self { store, transaction, leased, images: HashSet::new(), visited: HashSet::new() }
    }

    /// Marks the manifests, configs and layers of all named images, as blobs and as snapshots.
    pub(super) fn images(&mut self) -> Result<()> {
        for text in self.column::<String>("SELECT descriptor FROM images", [])? {
            let descriptor: Descriptor =
                serde_json::from_str(&text).map_err(|_| self.store.inner.index.invalid("image"))?;
            self.document(&descriptor.digest, MAX_DEPTH)?;
        }
        Ok(())
    }

    /// The snapshots that the build cache leads to.
    pub(super) fn snapshot_records(&self) -> Result<SnapshotRecords> {
        let mut records = SnapshotRecords::new();
        let uses = "SELECT snapshot, max(used) FROM cache WHERE snapshot NOT NULL GROUP BY snapshot";
        for (kind, sql) in
            [(ItemKind::Step, uses), (ItemKind::BaseLayer, "SELECT snapshot, used FROM extracted")]
        {
            for (key, used) in self.rows(sql, |row| Ok((row.get(0)?, row.get(1)?)))? {
                let new = || SnapshotRecord {
                    kind,
                    description: String::new(),
                    platform: None,
                    parent: None,
                    used,
                    blobs: Vec::new(),
                };
                let record = records.entry(key).or_insert_with(new);
                record.used = record.used.max(used);
            }
        }
        type About = (SnapshotKey, SnapshotKind, String, Option<String>, Option<SnapshotKey>);
        let about = |row: &Row<'_>| -> rusqlite::Result<About> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        };
        let sql = "SELECT snapshot, kind, description, platform, parent FROM about";
        for (key, kind, description, platform, parent) in self.rows(sql, about)? {
            if let Some(record) = records.get_mut(&key) {
                (record.kind, record.description) = (kind.into(), description);
                (record.platform, record.parent) = (platform, parent);
            }
        }
        let layers = "SELECT snapshot, digest FROM layers";
        for (key, digest) in self.rows(layers, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))? {
            if let Some(record) = records.get_mut(&key) {
                let digest = digest.parse().map_err(|_| self.store.inner.index.invalid("layer"))?;
                record.blobs.push(digest);
            }
        }
        Ok(records)
    }

    /// What packed layers are, by their digests, where their files are known: description and platform.
    pub(super) fn packed_layers(&self) -> Result<HashMap<String, (String, Option<String>)>> {
        let sql = "SELECT d.digest, a.description, a.platform
            FROM diff_ids d JOIN extracted e ON e.diff_id = d.diff_id JOIN about a ON a.snapshot = e.snapshot";
        let packed = |row: &Row<'_>| {
            let description: String = row.get(1)?;
            Ok((row.get(0)?, (format!("packed {description}"), row.get(2)?)))
        };
        Ok(self.rows(sql, packed)?.into_iter().collect())
    }

    /// Drops what the index knows of an entry.
    pub(super) fn forget(&self, entry: &Entry) -> Result<()> {
        let Object::Snapshot { key, .. } = &entry.object else { return Ok(()) };
        self.execute("DELETE FROM cache WHERE snapshot = ?1", [key])?;
        // The records that lead from an image to its snapshots stay.
        if entry.item.shared { Ok(()) } else { self.forget_snapshot(key) }
    }

    /// Drops all that the index knows of a snapshot.
    pub(super) fn forget_snapshot(&self, key: &SnapshotKey) -> Result<()> {
        for table in ["cache", "extracted", "layers", "about"] {
            self.execute(&format!("DELETE FROM {table} WHERE snapshot = ?1"), [key])?;
        }
        Ok(())
    }

    /// Drops records that have no snapshot, where their age or the absence of any limit says so, and what leads
    /// nowhere.
    pub(super) fn forget_facts(&self, prune: &Prune<'_>, now: Timestamp) -> Result<()> {
        let oldest = prune.rules.iter().filter_map(|rule| rule.oldest_fact(now)).max();
        if let Some(oldest) = oldest {
            self.execute("DELETE FROM cache WHERE snapshot IS NULL AND used < ?1", [oldest.as_second()])?;
        }
        // Layers that were made of snapshots which nothing leads to; those of images stay.
        let loose = "SELECT DISTINCT snapshot FROM layers WHERE snapshot NOT IN
            (SELECT snapshot FROM cache WHERE snapshot NOT NULL UNION SELECT snapshot FROM extracted)";
        for key in self.column::<SnapshotKey>(loose, [])? {
            let name = snapshot::object(&key);
            if !self.images.contains(&name) && !self.leased.contains(&name) {
                self.execute("DELETE FROM layers WHERE snapshot = ?1", [key])?;
            }
        }
        // The diffID of a blob that is not here still tells which snapshot to use in its place.
        let unused = "SELECT digest FROM diff_ids WHERE diff_id NOT IN (SELECT diff_id FROM extracted)
            AND digest NOT IN (SELECT digest FROM layers)";
        for digest in self.column::<String>(unused, [])? {
            let name = format!("blob {digest}");
            if !self.images.contains(&name) && !self.leased.contains(&name) {
                self.execute("DELETE FROM diff_ids WHERE digest = ?1", [digest])?;
            }
        }
        Ok(())
    }

    /// Marks a blob and, if it is an index, manifest or config, what it refers to.
    fn document(&mut self, digest: &Digest, depth: usize) -> Result<()> {
        self.images.insert(blob::object(digest));
        if depth == 0 || !self.visited.insert(digest.clone()) {
            return Ok(());
        }
        let document = self.read(digest)?;
        for child in document.manifests.into_iter().flatten() {
            self.document(&child.digest, depth - 1)?;
        }
        // In a manifest it is a descriptor; in a config it is something else.
        if let Some(Ok(config)) = document.config.map(serde_json::from_value::<Descriptor>) {
            self.document(&config.digest, depth - 1)?;
        }
        for layer in document.layers.into_iter().flatten() {
            self.images.insert(blob::object(&layer.digest));
        }
        for diff_id in document.rootfs.and_then(|rootfs| rootfs.diff_ids).into_iter().flatten() {
            self.snapshots_of(&diff_id)?;
        }
        Ok(())
    }

    fn snapshots_of(&mut self, diff_id: &Digest) -> Result<()> {
        for sql in [
            "SELECT snapshot FROM extracted WHERE diff_id = ?1",
            "SELECT snapshot FROM layers WHERE diff_id = ?1",
        ] {
            for key in self.column(sql, [diff_id.as_str()])? {
                self.images.insert(snapshot::object(&key));
            }
        }
        Ok(())
    }

    /// Reads past the lease, which waits for this collection. What is missing (a platform that was
    /// never pulled) or no such document refers to nothing; what cannot be read stops the collection.
    fn read(&self, digest: &Digest) -> Result<Document> {
        let path = self.store.blobs().location(digest);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
            Err(error) => return Err(StoreError::io(&path, error)),
            Ok(file) => file.take(MAX_DOCUMENT).read_to_end(&mut bytes).at(&path)?,
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn column<T: FromSql>(&self, sql: &str, parameters: impl Params) -> Result<Vec<T>> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(parameters, |row| row.get(0))?.collect())
            .map_err(|error| self.store.inner.index.failed(error))
    }

    fn rows<T>(&self, sql: &str, row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map([], row)?.collect())
            .map_err(|error| self.store.inner.index.failed(error))
    }

    fn execute(&self, sql: &str, parameters: impl Params) -> Result<usize> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(|error| self.store.inner.index.failed(error))
    }
}
