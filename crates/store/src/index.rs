//! The index: an SQLite database in WAL mode.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};

use crate::{
    error::{At, Result, StoreError},
    lock::Lock,
    root::Root,
};

/// How long a writer waits for other processes' transactions, all of which are short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of log that a build may leave behind. The next process reads all of it before anything else,
/// a page of 4 KiB at a time.
const LONGEST_LOG: u64 = 128 << 10;

/// Statements kept prepared.
const STATEMENTS: usize = 64;

/// What leads from each format to the next; the format is the number of those done (`user_version`).
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE durable (object TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE images (name TEXT PRIMARY KEY, descriptor TEXT NOT NULL, created INTEGER NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE cache (key BLOB PRIMARY KEY, snapshot BLOB, created INTEGER NOT NULL,
        metadata TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE layers (snapshot BLOB NOT NULL, compression TEXT NOT NULL, diff_id TEXT NOT NULL,
        digest TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL,
        PRIMARY KEY (snapshot, compression)) WITHOUT ROWID;
    CREATE INDEX layers_by_diff_id ON layers (diff_id);
    CREATE TABLE diff_ids (digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE extracted (diff_id TEXT PRIMARY KEY, snapshot BLOB NOT NULL, used INTEGER NOT NULL)
        WITHOUT ROWID;
",
    "
    CREATE TABLE about (snapshot BLOB PRIMARY KEY, kind TEXT NOT NULL, description TEXT NOT NULL,
        platform TEXT, parent BLOB) WITHOUT ROWID;
",
];

/// One connection, used by one thread at a time.
#[derive(Debug)]
pub(crate) struct Index {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Index {
    /// Opens the index of a store; makes or migrates it if need be.
    pub(crate) fn open(root: &Root) -> Result<Self> {
        let path = root.index();
        if !path.exists() {
            create(root, &path)?;
        }
        let failed = |error| StoreError::index(&path, error);
        let mut connection = connect(&path).map_err(failed)?;
        // A process that ends need not wait for a checkpoint; see docs/formats/store.md.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        if format(&connection, &path)? < MIGRATIONS.len() {
            let _migrating = Lock::exclusive(root.index_lock())?;
            migrate(&mut connection, &path)?;
        }
        Ok(Self { connection: Mutex::new(connection), path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        query(&self.connection()).map_err(|error| StoreError::index(&self.path, error))
    }

    /// Writes in one transaction, which is committed if `change` succeeds. It lasts until the next
    /// checkpoint reaches the disk: it survives the death of a process, not a power loss.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let failed = |error| StoreError::index(&self.path, error);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let value = change(&transaction)?;
        transaction.commit().map_err(failed)?;
        Ok(value)
    }

    /// Writes in one transaction that is on the disk when this returns, with all those before it.
    pub(crate) fn write_durably<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.read(|connection| connection.pragma_update(None, "synchronous", "FULL"))?;
        let value = self.write(change);
        self.read(|connection| connection.pragma_update(None, "synchronous", "NORMAL"))?;
        value
    }

    /// Moves the log into the database if it has grown long, unless another process is reading.
    pub(crate) fn shorten_log(&self) -> Result<()> {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        if fs::metadata(Path::new(&log)).map_or(0, |metadata| metadata.len()) <= LONGEST_LOG {
            return Ok(());
        }
        self.read(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            // Whoever reads or writes right now keeps it from being truncated, and does so later.
            let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            match truncated {
                Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Names the index in an error.
    pub(crate) fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::index(&self.path, error)
    }

    /// The error for a record that does not make sense.
    pub(crate) fn invalid(&self, record: &'static str) -> StoreError {
        StoreError::InvalidRecord { path: self.path.clone(), record }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the index aside and renames it, so that whoever sees it sees it complete.
fn create(root: &Root, path: &Path) -> Result<()> {
    let _creating = Lock::exclusive(root.index_lock())?;
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    if unfinished.exists() {
        fs::remove_file(&unfinished).at(&unfinished)?;
    }
    let mut connection = connect(&unfinished).map_err(|error| StoreError::index(&unfinished, error))?;
    migrate(&mut connection, &unfinished)?;
    connection.close().map_err(|(_, error)| StoreError::index(&unfinished, error))?;
    fs::rename(&unfinished, path).at(path)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// The format of the index; refuses one that we do not know.
fn format(connection: &Connection, path: &Path) -> Result<usize> {
    let found: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| StoreError::index(path, error))?;
    let supported = MIGRATIONS.len();
    match usize::try_from(found) {
        Ok(format) if format <= supported => Ok(format),
        _ => Err(StoreError::NewerStore { path: path.to_owned(), found, supported: supported as u32 }),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let failed = |error| StoreError::index(path, error);
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for migration in MIGRATIONS.iter().skip(format(&transaction, path)?) {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32).map_err(failed)?;
    transaction.commit().map_err(failed)
}
