//! Content-addressed store: blobs, snapshots, build cache, images.
//!
//! Many processes may use one store at the same time, and any of them may be killed at any moment:
//! what is in the store is complete, because every object is made aside and then renamed into place.
//! The format on disk, and which steps are synced to disk when, are written down in
//! `docs/formats/store.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`blob`] | files named after their digest |
//! | [`snapshot`] | directories that hold the delta of one layer |
//! | [`about`] | what snapshots are, for people |
//! | [`cache`] | cache key to result |
//! | [`cache_mount`] | directories that outlive builds |
//! | [`layer`] | snapshot to layer blob, layer blob to diffID, diffID to snapshot |
//! | [`member`] | compressed pieces of layer blobs, by what they hold |
//! | [`image`] | image names |
//! | [`copied`] | files of deltas that later copies may take |
//! | [`facts`] | what readers of layer blobs found in them |
//! | [`file_hash`] | hashes of files that have not changed since they were read |
//! | [`repository`] | git repositories that are kept |
//! | [`lock`] | locks between processes |
//! | [`garbage`] | what takes space, and removal of what nothing needs |

pub mod about;
pub mod blob;
pub mod cache;
pub mod cache_mount;
pub mod copied;
mod durability;
pub mod error;
pub mod facts;
pub mod file_hash;
pub mod garbage;
pub mod image;
mod index;
pub mod key;
pub mod layer;
pub mod lock;
pub mod member;
pub mod repository;
mod root;
mod session;
pub mod snapshot;
mod table;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub use about::{About, SnapshotKind};
pub use blob::{BlobWriter, Blobs, GrowingBlob, GrowingReader, PrehashedWriter};
pub use cache::{Cache, CacheRecord};
pub use cache_mount::{CacheMount, CacheMountLease, CacheMountRecord, CacheMounts};
pub use copied::{CopiedFile, CopiedFiles, CopyRecord, CopyRecords};
pub use error::{Result, StoreError};
pub use facts::LayerFacts;
pub use file_hash::{FileHashStore, FileHashes, StatKey};
pub use garbage::{Item, ItemKind, Prune, Pruned, Tally, Usage, policy::Rule};
pub use image::{ImageRecord, Images};
pub use key::{CacheKey, InvalidKey, MountKey, SnapshotKey};
pub use layer::{LayerRecord, Layers};
pub use lock::Lock;
pub use member::{MemberCache, MemberRecord};
pub use repository::Repository;
pub use snapshot::{PendingSnapshot, Snapshots};

use crate::{index::Index, root::Root, session::Session};

/// An open store. Clones share one connection and one lease.
///
/// Every object that a store handed out or took in stays in the store until the last clone is
/// dropped, whatever garbage collection runs in this or another process. A long-running service
/// therefore opens the store anew for each build; opening takes well under a millisecond.
///
/// All methods block; asynchronous callers use `spawn_blocking`.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Root,
    index: Index,
    session: Mutex<Option<Arc<Session>>>,
    /// Whether this handle put an object in place since it was last synced.
    unsynced: AtomicBool,
}

impl Store {
    /// Opens the store at `root`, making it if it is missing.
    ///
    /// Fails with [`StoreError::NewerStore`] if a newer Archway has changed the format.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = Root::prepare(root.as_ref())?;
        let index = Index::open(&root)?;
        durability::recover(&root, &index)?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                index,
                session: Mutex::new(None),
                unsynced: AtomicBool::new(false),
            }),
        })
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.inner.root.path()
    }

    /// Files named after their digest.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs::new(self)
    }

    /// Deltas of single layers.
    pub fn snapshots(&self) -> Snapshots<'_> {
        Snapshots::new(self)
    }

    /// Results of build steps.
    pub fn cache(&self) -> Cache<'_> {
        Cache::new(self)
    }

    /// Directories that outlive builds.
    pub fn cache_mounts(&self) -> CacheMounts<'_> {
        CacheMounts::new(self)
    }

    /// What is known about layers.
    pub fn layers(&self) -> Layers<'_> {
        Layers::new(self)
    }

    /// The members of layer blobs of a `form`: a name of the caller's, fit for a file, that covers every
    /// setting on which the bytes of a member depend besides what it holds (`gzip-4`).
    pub fn members(&self, form: &str) -> MemberCache {
        MemberCache::new(self.clone(), form)
    }

    /// Image names.
    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }

    /// Files that copies put into their deltas.
    pub fn copies(&self) -> CopyRecords<'_> {
        CopyRecords::new(self)
    }

    /// What readers of layer blobs found in them. `kind` is a name of the caller's, fit for a file, that changes whenever
    /// its facts mean something else.
    pub fn facts<'a>(&'a self, kind: &'a str) -> LayerFacts<'a> {
        LayerFacts::new(self, kind)
    }

    /// Hashes of files outside the store.
    pub fn file_hashes(&self) -> FileHashStore<'_> {
        FileHashStore::new(self)
    }

    /// Waits for the lock called `name`, which one holder has at a time, among all threads of all
    /// processes that use this store. The kernel frees it when its holder dies.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        Lock::exclusive(self.inner.root.named_lock(name))
    }

    /// Takes the lock called `name` if it is free.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        Lock::try_exclusive(self.inner.root.named_lock(name))
    }

    /// Writes everything in the store to disk, so that it survives a power loss, and not only the
    /// death of a process. Costs one `syncfs` if this handle added an object, else nothing.
    ///
    /// Meant for the end of a build; see `docs/formats/store.md` for what happens without it.
    pub fn sync(&self) -> Result<()> {
        if !self.inner.unsynced.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let written = cache_mount::Written::find(self);
        let synced = durability::sync(&self.inner.root, &self.inner.index)
            .and_then(|()| self.inner.index.shorten_log());
        match written.and_then(|written| synced.map(|()| written)) {
            Ok(written) => written.are_synced(),
            Err(error) => {
                self.inner.unsynced.store(true, Ordering::SeqCst);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What takes space in the store. Walks all snapshots.
    pub fn usage(&self) -> Result<Usage> {
        self.usage_of(&|_| true)
    }

    /// The same, of the items that `filter` takes.
    pub fn usage_of(&self, filter: &dyn Fn(&Item) -> bool) -> Result<Usage> {
        garbage::measure(self, filter)
    }

    /// Removes items as rules say, and what dead processes left; never what a named image or a running process
    /// needs.
    pub fn prune(&self, prune: &Prune<'_>) -> Result<Pruned> {
        garbage::prune(self, prune)
    }

    /// Removes what `policy` says, if it is time to. Takes microseconds if it is not; then, and if another process is at it,
    /// the result is `None`.
    pub fn collect_if_due(&self, policy: &garbage::automatic::Policy) -> Result<Option<Pruned>> {
        garbage::automatic::collect(self, policy)
    }

    /// When garbage was last collected because it was due.
    pub fn last_collection(&self) -> Result<Option<jiff::Timestamp>> {
        garbage::automatic::last(self)
    }

    /// The file system of the store.
    pub fn disk(&self) -> Result<garbage::policy::Disk> {
        garbage::disk(&self.inner.root)
    }

    /// Keeps `object` in the store for as long as this handle lives. To be called before looking
    /// whether the object is there.
    fn protect(&self, object: &str) -> Result<()> {
        self.session()?.protect(object)
    }

    /// To be called when an object was put in place.
    fn committed(&self) {
        self.inner.unsynced.store(true, Ordering::SeqCst);
    }

    fn session(&self) -> Result<Arc<Session>> {
        let mut session = self.inner.session.lock().unwrap_or_else(PoisonError::into_inner);
        match &*session {
            Some(session) => Ok(Arc::clone(session)),
            None => Ok(Arc::clone(session.insert(Arc::new(Session::start(&self.inner.root)?)))),
        }
    }
}
