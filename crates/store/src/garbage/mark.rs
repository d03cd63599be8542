//! Which objects are needed.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
};

use archway_oci::{Descriptor, Digest};
use rusqlite::{Params, Transaction, types::FromSql};
use serde::Deserialize;

use crate::{
    SnapshotKey, Store, blob,
    error::{At, Result, StoreError},
    snapshot,
};

/// Nesting of indexes that is followed.
const MAX_DEPTH: usize = 8;

/// Bytes of a manifest or config that are read.
const MAX_DOCUMENT: u64 = 4 << 20;

/// Marks what is needed, and drops index records that name nothing needed.
pub(super) struct Mark<'a> {
    store: &'a Store,
    transaction: &'a Transaction<'a>,
    needed: HashSet<String>,
    visited: HashSet<Digest>,
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
        Self { store, transaction, needed: leased, visited: HashSet::new() }
    }

    /// The names of all objects needed.
    pub(super) fn finish(self) -> HashSet<String> {
        self.needed
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

    /// Drops the records of the build cache last used before `oldest`, seconds since 1970; but not
    /// those of snapshots that an image needs. Returns the number of cache records dropped.
    pub(super) fn expire(&mut self, oldest: i64) -> Result<u64> {
        let records = self.execute("DELETE FROM cache WHERE used < ?1", [oldest])?;
        for key in self.column::<SnapshotKey>("SELECT snapshot FROM extracted WHERE used < ?1", [oldest])? {
            if !self.needed.contains(&snapshot::object(&key)) {
                self.execute("DELETE FROM extracted WHERE snapshot = ?1", [key])?;
            }
        }
        Ok(records as u64)
    }

    /// Marks the snapshots of the build cache.
    pub(super) fn build_cache(&mut self) -> Result<()> {
        for sql in ["SELECT snapshot FROM cache WHERE snapshot NOT NULL", "SELECT snapshot FROM extracted"] {
            for key in self.column(sql, [])? {
                self.needed.insert(snapshot::object(&key));
            }
        }
        Ok(())
    }

    /// Marks the blobs made of snapshots that are marked; drops what is known of other snapshots.
    pub(super) fn layers(&mut self) -> Result<()> {
        for key in self.column::<SnapshotKey>("SELECT DISTINCT snapshot FROM layers", [])? {
            if self.needed.contains(&snapshot::object(&key)) {
                for digest in self.column::<String>("SELECT digest FROM layers WHERE snapshot = ?1", [key])? {
                    self.needed.insert(format!("blob {digest}"));
                }
            } else {
                self.execute("DELETE FROM layers WHERE snapshot = ?1", [key])?;
            }
        }
        // The diffID of a blob that is not here still tells which snapshot to use in its place.
        let unused = "SELECT digest FROM diff_ids WHERE diff_id NOT IN (SELECT diff_id FROM extracted)
            AND digest NOT IN (SELECT digest FROM layers)";
        for digest in self.column::<String>(unused, [])? {
            if !self.needed.contains(&format!("blob {digest}")) {
                self.execute("DELETE FROM diff_ids WHERE digest = ?1", [digest])?;
            }
        }
        Ok(())
    }

    /// Marks a blob and, if it is an index, manifest or config, what it refers to.
    fn document(&mut self, digest: &Digest, depth: usize) -> Result<()> {
        self.needed.insert(blob::object(digest));
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
            self.needed.insert(blob::object(&layer.digest));
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
                self.needed.insert(snapshot::object(&key));
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

    fn execute(&self, sql: &str, parameters: impl Params) -> Result<usize> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(|error| self.store.inner.index.failed(error))
    }
}
