//! The build cache: what a step's inputs lead to.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::{About, CacheKey, Result, SnapshotKey, Store, about};

/// Seconds after which a use is noted again. Without it every lookup would be a write.
const USE_RESOLUTION: i64 = 3600;

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The delta the step made; `None` where the result is all in the metadata.
    pub snapshot: Option<SnapshotKey>,
    /// When the result was made, to the second.
    pub created: Timestamp,
    /// Whatever the writer of the record wants to remember. Small: it lives in the index.
    pub metadata: String,
}

/// The cache records of a store.
#[derive(Debug, Clone, Copy)]
pub struct Cache<'a> {
    store: &'a Store,
}

impl<'a> Cache<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The record of `key`, if there is one and its snapshot is still there.
    pub fn get(&self, key: &CacheKey) -> Result<Option<CacheRecord>> {
        let index = &self.store.inner.index;
        let Some((snapshot, created, metadata, used)) = index.read(|c| select(c, key))? else {
            return Ok(None);
        };
        if let Some(snapshot) = &snapshot
            && self.store.snapshots().path(snapshot)?.is_none()
        {
            return Ok(None);
        }
        if is_stale_use(used) {
            let now = Timestamp::now().as_second();
            index.write(|t| {
                t.prepare_cached("UPDATE cache SET used = ?2 WHERE key = ?1")
                    .and_then(|mut statement| statement.execute(params![key, now]))
                    .map_err(|error| index.failed(error))
            })?;
        }
        let created = Timestamp::from_second(created).map_err(|_| index.invalid("cache"))?;
        Ok(Some(CacheRecord { snapshot, created, metadata }))
    }

    /// Sets the record of `key`.
    pub fn put(&self, key: &CacheKey, record: &CacheRecord) -> Result<()> {
        let index = &self.store.inner.index;
        index.write(|t| insert(t, key, record).map_err(|error| index.failed(error)))
    }

    /// Sets the record of `key`, and notes what its snapshot is.
    pub fn put_about(&self, key: &CacheKey, record: &CacheRecord, about: &About) -> Result<()> {
        let index = &self.store.inner.index;
        let put = |transaction: &Transaction<'_>| {
            insert(transaction, key, record)?;
            match &record.snapshot {
                Some(snapshot) => about::note(transaction, snapshot, about),
                None => Ok(()),
            }
        };
        index.write(|t| put(t).map_err(|error| index.failed(error)))
    }

    /// Forgets the record of `key`.
    pub fn remove(&self, key: &CacheKey) -> Result<()> {
        let index = &self.store.inner.index;
        index.write(|t| {
            t.execute("DELETE FROM cache WHERE key = ?1", [key]).map_err(|error| index.failed(error))
        })?;
        Ok(())
    }
}

/// Whether a use, last noted at `used` (seconds since 1970), is to be noted again.
pub(crate) fn is_stale_use(used: i64) -> bool {
    Timestamp::now().as_second().saturating_sub(used) > USE_RESOLUTION
}

fn insert(transaction: &Transaction<'_>, key: &CacheKey, record: &CacheRecord) -> rusqlite::Result<()> {
    let (created, used) = (record.created.as_second(), Timestamp::now().as_second());
    transaction
        .prepare_cached("INSERT OR REPLACE INTO cache VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![key, record.snapshot, created, record.metadata, used])
        .map(drop)
}

type Row = (Option<SnapshotKey>, i64, String, i64);

fn select(connection: &Connection, key: &CacheKey) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached("SELECT snapshot, created, metadata, used FROM cache WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()
}
