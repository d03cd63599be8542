//! The stat cache: hashes of files that have not changed since they were read.
//!
//! One table for each directory tree, kept as one file that is read and written as a whole: 20,000
//! rows of a database would take longer to look up than the files take to stat.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use crate::{
    Store,
    error::{Result, StoreError},
    table::{self, CHECKSUM, Magic},
};

const MAGIC: &Magic = b"archway-hashes-1";
const RECORD: usize = 72;

/// Age from which a file's times tell its content apart from later content, where the file system
/// keeps times in ticks of the kernel (10 ms at most).
const FINE_WINDOW: Duration = Duration::from_millis(100);
/// The same where times are in whole seconds, or in the two seconds of FAT.
const COARSE_WINDOW: Duration = Duration::from_secs(2);

/// What identifies a file and a state of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatKey {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl StatKey {
    /// Whether a file that had this status at `seen` may be changed later and keep this status:
    /// two changes within one tick of the file system's clock look the same.
    ///
    /// Every write sets the change time, which cannot be set to a value, so it alone decides.
    pub fn is_racy(&self, seen: SystemTime) -> bool {
        let coarse = self.ctime_ns % 1_000_000_000 == 0;
        let window = if coarse { COARSE_WINDOW } else { FINE_WINDOW };
        let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.ctime_ns.max(0).unsigned_abs());
        seen < changed + window
    }
}

/// The tables of a store.
#[derive(Debug, Clone, Copy)]
pub struct FileHashStore<'a> {
    store: &'a Store,
}

impl<'a> FileHashStore<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The table called `tree`, such as the path of a build context. A missing or damaged table is
    /// empty.
    pub fn load(&self, tree: &str) -> Result<FileHashes> {
        let path = self.location(tree);
        match fs::read(&path) {
            Ok(bytes) => Ok(decode(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileHashes::default()),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Replaces the table called `tree`.
    pub fn save(&self, tree: &str, hashes: &FileHashes) -> Result<()> {
        table::replace(self.store, &self.location(tree), &encode(hashes))
    }

    fn location(&self, tree: &str) -> PathBuf {
        self.store.inner.root.file_hashes().join(blake3::hash(tree.as_bytes()).to_hex().as_str())
    }
}

/// A table of hashes, one for each file.
#[derive(Debug, Clone, Default)]
pub struct FileHashes {
    by_file: HashMap<(u64, u64), (StatKey, blake3::Hash)>,
}

impl FileHashes {
    /// The hash of the file with this status, if it was read with this status.
    pub fn get(&self, stat: &StatKey) -> Option<blake3::Hash> {
        match self.by_file.get(&(stat.dev, stat.ino)) {
            Some((known, hash)) if known == stat => Some(*hash),
            _ => None,
        }
    }

    /// Notes the hash of a file that had the status `stat` before and after it was read, the first
    /// time at `seen`. Returns false, and notes nothing, if a later change might not show.
    pub fn record(&mut self, stat: &StatKey, seen: SystemTime, hash: blake3::Hash) -> bool {
        let trusted = !stat.is_racy(seen);
        if trusted {
            self.by_file.insert((stat.dev, stat.ino), (*stat, hash));
        }
        trusted
    }

    /// Keeps only the files that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&StatKey) -> bool) {
        self.by_file.retain(|_, (stat, _)| keep(stat));
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.by_file.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_file.is_empty()
    }
}

fn encode(hashes: &FileHashes) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + hashes.len() * RECORD + CHECKSUM);
    bytes.extend(MAGIC);
    for (stat, hash) in hashes.by_file.values() {
        for number in [stat.dev, stat.ino, stat.size] {
            bytes.extend(number.to_le_bytes());
        }
        for time in [stat.mtime_ns, stat.ctime_ns] {
            bytes.extend(time.to_le_bytes());
        }
        bytes.extend(hash.as_bytes());
    }
    table::seal(bytes)
}

fn decode(bytes: &[u8]) -> Option<FileHashes> {
    let (records, rest) = table::records(bytes, MAGIC)?.as_chunks::<RECORD>();
    if !rest.is_empty() {
        return None;
    }
    let by_file =
        records.iter().filter_map(decode_record).map(|(s, hash)| ((s.dev, s.ino), (s, hash))).collect();
    Some(FileHashes { by_file })
}

fn decode_record(record: &[u8; RECORD]) -> Option<(StatKey, blake3::Hash)> {
    let (numbers, hash) = record.split_last_chunk::<{ blake3::OUT_LEN }>()?;
    let mut words = numbers.as_chunks::<8>().0.iter();
    let stat = StatKey {
        dev: u64::from_le_bytes(*words.next()?),
        ino: u64::from_le_bytes(*words.next()?),
        size: u64::from_le_bytes(*words.next()?),
        mtime_ns: i64::from_le_bytes(*words.next()?),
        ctime_ns: i64::from_le_bytes(*words.next()?),
    };
    Some((stat, blake3::Hash::from_bytes(*hash)))
}
