//! Members of layer blobs: compressed pieces that another layer may be put together of.
//!
//! For each layer blob of several members a small table says what its members hold, so that they can
//! be read back out of the blob instead of being compressed, and stored, once more. A table is only
//! ever a hint: what is read is compared with the hash that was noted when it was compressed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{OnceLock, PoisonError, RwLock},
    time::SystemTime,
};

use archway_oci::Digest;

use crate::{
    Store, blob,
    error::Result,
    garbage::Trash,
    root::{self, Root},
    table::{self, CHECKSUM, Magic},
};

const MAGIC: &Magic = b"archway-members1";
const RECORD: usize = 68;

/// Members that are remembered at most, those of the newest blobs: about 100 GB of tar, and 12 MB of memory.
const MOST_MEMBERS: usize = 1 << 17;

/// A longer member is none of ours.
const MOST_LENGTH: u32 = 4 << 20;

/// One member of a blob. Where it begins is where the ones before it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberRecord {
    /// Hash of what it holds.
    pub content: blake3::Hash,
    /// Hash of its bytes in the blob.
    pub compressed: blake3::Hash,
    /// Number of its bytes in the blob.
    pub length: u32,
}

/// The members of all blobs of one form. Nothing is read before the first question.
#[derive(Debug)]
pub struct MemberCache {
    store: Store,
    form: String,
    index: OnceLock<RwLock<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    blobs: Vec<Digest>,
    by_content: HashMap<blake3::Hash, Place>,
}

/// Where a member is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Position in [`Index::blobs`].
    blob: usize,
    offset: u64,
    length: u32,
    compressed: blake3::Hash,
}

impl MemberCache {
    pub(crate) fn new(store: Store, form: &str) -> Self {
        Self { store, form: form.to_owned(), index: OnceLock::new() }
    }

    /// The bytes of a member that holds this content, if a blob has one: exactly those that were noted.
    /// What cannot be read counts as missing, as it can be made again.
    pub fn find(&self, content: &blake3::Hash) -> Option<Vec<u8>> {
        let (digest, place) = {
            let index = self.index().read().unwrap_or_else(PoisonError::into_inner);
            let place = *index.by_content.get(content)?;
            (index.blobs.get(place.blob)?.clone(), place)
        };
        let file = self.store.blobs().open(&digest).ok()??;
        let mut bytes = vec![0; place.length as usize];
        file.read_exact_at(&mut bytes, place.offset).ok()?;
        (blake3::hash(&bytes) == place.compressed).then_some(bytes)
    }

    /// Notes the members of a blob: all of them, in order.
    pub fn add(&self, digest: &Digest, members: &[MemberRecord]) -> Result<()> {
        table::replace(&self.store, &self.directory().join(digest.hex()), &encode(members))?;
        // Who has not asked yet will read it.
        if let Some(index) = self.index.get() {
            index.write().unwrap_or_else(PoisonError::into_inner).add(digest.clone(), members);
        }
        Ok(())
    }

    fn index(&self) -> &RwLock<Index> {
        // Without the tables everything is compressed again, and is just as right.
        self.index.get_or_init(|| RwLock::new(Index::load(&self.directory()).unwrap_or_default()))
    }

    fn directory(&self) -> PathBuf {
        self.store.inner.root.members().join(&self.form)
    }
}

impl Index {
    fn load(directory: &Path) -> Result<Self> {
        let mut tables: Vec<(SystemTime, PathBuf, Digest)> = Vec::new();
        for name in root::names(directory)? {
            let path = directory.join(&name);
            let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if let (Some(digest), Ok(modified)) = (digest, modified) {
                tables.push((modified, path, digest));
            }
        }
        tables.sort_unstable_by(|(a, ..), (b, ..)| b.cmp(a));
        let (mut read, mut count) = (Vec::new(), 0);
        for (_, path, digest) in tables {
            let Some(members) = read_table(&path) else { continue };
            count += members.len();
            if count > MOST_MEMBERS {
                break;
            }
            read.push((digest, members));
        }
        let mut index = Self::default();
        // The newest last: its place is the one that stays.
        for (digest, members) in read.into_iter().rev() {
            index.add(digest, &members);
        }
        Ok(index)
    }

    fn add(&mut self, digest: Digest, members: &[MemberRecord]) {
        let blob = self.blobs.len();
        self.blobs.push(digest);
        let mut offset = 0;
        for &MemberRecord { content, compressed, length } in members {
            self.by_content.insert(content, Place { blob, offset, length, compressed });
            offset += u64::from(length);
        }
    }
}

/// Takes away the tables of blobs that are not needed.
pub(crate) fn sweep(root: &Root, is_needed: impl Fn(&str) -> bool, trash: &mut Trash) -> Result<()> {
    blob::sweep_tables(&root.members(), is_needed, trash)
}

/// The members of a table; `None` if it is damaged or gone.
fn read_table(path: &Path) -> Option<Vec<MemberRecord>> {
    let most = MAGIC.len() + MOST_MEMBERS * RECORD + CHECKSUM;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most as u64 + 1).read_to_end(&mut bytes).ok()?;
    decode(&bytes)
}

fn encode(members: &[MemberRecord]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + members.len() * RECORD + CHECKSUM);
    bytes.extend(MAGIC);
    for member in members {
        bytes.extend(member.content.as_bytes());
        bytes.extend(member.compressed.as_bytes());
        bytes.extend(member.length.to_le_bytes());
    }
    table::seal(bytes)
}

fn decode(bytes: &[u8]) -> Option<Vec<MemberRecord>> {
    let (records, rest) = table::records(bytes, MAGIC)?.as_chunks::<RECORD>();
    if !rest.is_empty() {
        return None;
    }
    records.iter().map(decode_record).collect()
}

fn decode_record(record: &[u8; RECORD]) -> Option<MemberRecord> {
    let (content, rest) = record.split_first_chunk::<{ blake3::OUT_LEN }>()?;
    let (compressed, length) = rest.split_first_chunk::<{ blake3::OUT_LEN }>()?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let hash = |bytes: &[u8; blake3::OUT_LEN]| blake3::Hash::from_bytes(*bytes);
    let member = MemberRecord { content: hash(content), compressed: hash(compressed), length };
    (length <= MOST_LENGTH).then_some(member)
}
