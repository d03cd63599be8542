//! The files that copies put into their deltas, so that the next copy of the same instruction may take
//! from there what has not changed.
//!
//! One table for each instruction and directory, of the delta that was made last. It is read and written
//! as a whole, like those of [`crate::file_hash`], and it is a hint: without it everything is copied.

use std::{collections::HashMap, fs, io, path::PathBuf};

use crate::{
    SnapshotKey, Store,
    error::{Result, StoreError},
    garbage::Trash,
    root::{self, Root},
    snapshot,
    table::{self, Magic},
};

const MAGIC: &Magic = b"archway-copied-1";
const SNAPSHOT: usize = 32;

/// What a file of a delta is, as far as it can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedFile {
    /// Hash of its content.
    pub content: blake3::Hash,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: i64,
}

/// Regular files without extended attributes, each of a single name, by their absolute path.
pub type CopiedFiles = HashMap<String, CopiedFile>;

/// A delta and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRecord {
    /// The delta. It may be gone.
    pub snapshot: SnapshotKey,
    /// Files in it.
    pub files: CopiedFiles,
}

/// The tables of a store.
#[derive(Debug, Clone, Copy)]
pub struct CopyRecords<'a> {
    store: &'a Store,
}

impl<'a> CopyRecords<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The table called `name`, which is 64 hexadecimal digits. A damaged one is as none.
    pub fn load(&self, name: &str) -> Result<Option<CopyRecord>> {
        let path = self.location(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Replaces the table called `name`.
    pub fn save(&self, name: &str, record: &CopyRecord) -> Result<()> {
        table::replace(self.store, &self.location(name), &encode(record))
    }

    fn location(&self, name: &str) -> PathBuf {
        self.store.inner.root.copied().join(name)
    }
}

/// Takes away the tables of snapshots that are not needed.
pub(crate) fn sweep(root: &Root, is_needed: impl Fn(&str) -> bool, trash: &mut Trash) -> Result<()> {
    for name in root::names(&root.copied())? {
        let path = root.copied().join(name);
        let mut head = [0; MAGIC.len() + SNAPSHOT];
        let read = fs::File::open(&path).and_then(|mut file| io::Read::read_exact(&mut file, &mut head));
        let snapshot = head.last_chunk::<SNAPSHOT>().map(|raw| SnapshotKey::from_bytes(*raw));
        let kept = read.is_ok() && snapshot.is_some_and(|key| is_needed(&snapshot::object(&key)));
        if !kept {
            trash.take(&path)?;
        }
    }
    Ok(())
}

fn encode(record: &CopyRecord) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(record.snapshot.as_bytes());
    for (path, file) in &record.files {
        bytes.extend(file.content.as_bytes());
        for number in [file.mode, file.uid, file.gid] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [file.seconds, file.nanoseconds] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((path.len() as u32).to_le_bytes());
        bytes.extend(path.as_bytes());
    }
    table::seal(bytes)
}

fn decode(bytes: &[u8]) -> Option<CopyRecord> {
    let (snapshot, mut rest) = table::records(bytes, MAGIC)?.split_first_chunk::<SNAPSHOT>()?;
    let mut files = CopiedFiles::new();
    while !rest.is_empty() {
        let (path, file) = decode_file(&mut rest)?;
        files.insert(path, file);
    }
    Some(CopyRecord { snapshot: SnapshotKey::from_bytes(*snapshot), files })
}

fn decode_file(rest: &mut &[u8]) -> Option<(String, CopiedFile)> {
    let file = CopiedFile {
        content: blake3::Hash::from_bytes(take(rest)?),
        mode: u32::from_le_bytes(take(rest)?),
        uid: u32::from_le_bytes(take(rest)?),
        gid: u32::from_le_bytes(take(rest)?),
        seconds: i64::from_le_bytes(take(rest)?),
        nanoseconds: i64::from_le_bytes(take(rest)?),
    };
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (path, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some((std::str::from_utf8(path).ok()?.to_owned(), file))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}
