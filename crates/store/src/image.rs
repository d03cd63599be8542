//! Image names: what a name such as `docker.io/library/app:1.0` points at.

use archway_oci::Descriptor;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use crate::{Result, Store};

/// A named image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Its name.
    pub name: String,
    /// The index or manifest it points at.
    pub descriptor: Descriptor,
    /// When the name was set, to the second.
    pub created: Timestamp,
}

/// The image names of a store.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    store: &'a Store,
}

impl<'a> Images<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The image called `name`, if there is one.
    pub fn get(&self, name: &str) -> Result<Option<ImageRecord>> {
        let row = self.store.inner.index.read(|c| {
            c.prepare_cached("SELECT name, descriptor, created FROM images WHERE name = ?1")?
                .query_row([name], columns)
                .optional()
        })?;
        row.map(|row| self.record(row)).transpose()
    }

    /// All named images, by name.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        let rows: Vec<Columns> = self.store.inner.index.read(|c| {
            c.prepare_cached("SELECT name, descriptor, created FROM images ORDER BY name")?
                .query_map([], columns)?
                .collect()
        })?;
        rows.into_iter().map(|row| self.record(row)).collect()
    }

    /// Makes all of `names` point at `descriptor`, at once.
    pub fn set<S: AsRef<str>>(&self, names: &[S], descriptor: &Descriptor) -> Result<()> {
        let index = &self.store.inner.index;
        let json = serde_json::to_string(descriptor).expect("a descriptor is plain data");
        index.write(|t| {
            let mut insert = t
                .prepare_cached("INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3)")
                .map_err(|error| index.failed(error))?;
            let now = Timestamp::now().as_second();
            for name in names {
                insert.execute(params![name.as_ref(), json, now]).map_err(|error| index.failed(error))?;
            }
            Ok(())
        })
    }

    /// Forgets the name; false if there was none. What it pointed at goes with the next collection.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let index = &self.store.inner.index;
        let removed = index.write(|t| {
            t.execute("DELETE FROM images WHERE name = ?1", [name]).map_err(|error| index.failed(error))
        })?;
        Ok(removed > 0)
    }

    fn record(&self, (name, descriptor, created): Columns) -> Result<ImageRecord> {
        let invalid = || self.store.inner.index.invalid("image");
        Ok(ImageRecord {
            name,
            descriptor: serde_json::from_str(&descriptor).map_err(|_| invalid())?,
            created: Timestamp::from_second(created).map_err(|_| invalid())?,
        })
    }
}

type Columns = (String, String, i64);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}
