//! What is known about layers: the blob made of a snapshot, and the snapshot made of a blob.

use archway_oci::{Descriptor, Digest};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Result, SnapshotKey, Store, cache};

/// A snapshot as a layer blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Media type of the blob.
    pub media_type: String,
}

impl LayerRecord {
    /// The descriptor of the blob.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size)
    }
}

/// The layer records of a store. They are facts: the objects they name may be missing.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    store: &'a Store,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The blob made of `snapshot` with `compression`, a name of the caller's that covers every
    /// setting the bytes depend on (`gzip-6`).
    pub fn get(&self, snapshot: &SnapshotKey, compression: &str) -> Result<Option<LayerRecord>> {
        let index = &self.store.inner.index;
        let row: Option<(String, String, u64, String)> = index.read(|c| {
            c.prepare_cached(
                "SELECT diff_id, digest, size, media_type FROM layers WHERE snapshot = ?1 AND compression = ?2",
            )?
            .query_row(params![snapshot, compression], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()
        })?;
        row.map(|(diff_id, digest, size, media_type)| {
            Ok(LayerRecord {
                diff_id: self.digest(&diff_id)?,
                digest: self.digest(&digest)?,
                size,
                media_type,
            })
        })
        .transpose()
    }

    /// Notes the blob made of `snapshot`, and its diffID.
    pub fn put(&self, snapshot: &SnapshotKey, compression: &str, record: &LayerRecord) -> Result<()> {
        let LayerRecord { diff_id, digest, size, media_type } = record;
        let index = &self.store.inner.index;
        index.write(|t| {
            let mut insert = t
                .prepare_cached("INSERT OR REPLACE INTO layers VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
                .map_err(|error| index.failed(error))?;
            insert
                .execute(params![snapshot, compression, diff_id.as_str(), digest.as_str(), size, media_type])
                .map_err(|error| index.failed(error))?;
            note_diff_id(t, digest, diff_id).map_err(|error| index.failed(error))
        })
    }

    /// The diffID of a layer blob.
    pub fn diff_id(&self, digest: &Digest) -> Result<Option<Digest>> {
        let found: Option<String> = self.store.inner.index.read(|c| {
            c.prepare_cached("SELECT diff_id FROM diff_ids WHERE digest = ?1")?
                .query_row([digest.as_str()], |row| row.get(0))
                .optional()
        })?;
        found.map(|text| self.digest(&text)).transpose()
    }

    /// Notes the diffID of a layer blob.
    pub fn set_diff_id(&self, digest: &Digest, diff_id: &Digest) -> Result<()> {
        let index = &self.store.inner.index;
        index.write(|t| note_diff_id(t, digest, diff_id).map_err(|error| index.failed(error)))
    }

    /// The snapshot extracted from a layer with this diffID, if it is there.
    pub fn extracted(&self, diff_id: &Digest) -> Result<Option<SnapshotKey>> {
        let index = &self.store.inner.index;
        let found: Option<(SnapshotKey, i64)> = index.read(|c| {
            c.prepare_cached("SELECT snapshot, used FROM extracted WHERE diff_id = ?1")?
                .query_row([diff_id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })?;
        match found {
            Some((key, used)) if self.store.snapshots().path(&key)?.is_some() => {
                if cache::is_stale_use(used) {
                    self.set_extracted(diff_id, &key)?;
                }
                Ok(Some(key))
            }
            _ => Ok(None),
        }
    }

    /// Notes the snapshot extracted from a layer.
    pub fn set_extracted(&self, diff_id: &Digest, snapshot: &SnapshotKey) -> Result<()> {
        let index = &self.store.inner.index;
        index.write(|t| {
            t.prepare_cached("INSERT OR REPLACE INTO extracted VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| {
                    insert.execute(params![diff_id.as_str(), snapshot, Timestamp::now().as_second()])
                })
                .map_err(|error| index.failed(error))
        })?;
        Ok(())
    }

    fn digest(&self, text: &str) -> Result<Digest> {
        text.parse().map_err(|_| self.store.inner.index.invalid("layer"))
    }
}

fn note_diff_id(connection: &Connection, digest: &Digest, diff_id: &Digest) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO diff_ids VALUES (?1, ?2)")?;
    insert.execute([digest.as_str(), diff_id.as_str()]).map(drop)
}
