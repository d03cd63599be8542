//! What is not on this machine: git repositories and downloads.
//!
//! Both end as an immutable delta that holds the files and nothing else, so they serve as a node's root
//! file system and as a build context alike.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use archway_remote::{
    Credentials, GitSource, HttpSource,
    git::{GitClient, Revision, Workplace},
    http::{Downloaded, HttpClient, Validators},
};
use archway_report::{Event, Events, TransferKind};
use archway_store::{About, CacheRecord, SnapshotKind, Store};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, StepError, image,
    key::{self, Key},
    remote::Remote,
    step::{Delta, Step, StepFailure},
};

/// Bytes between two progress events.
const PROGRESS_STEP: u64 = 1 << 20;
/// Who may read a download, as with BuildKit.
const DOWNLOAD_MODE: u32 = 0o600;

/// Files that were fetched: an immutable directory of the store, kept for as long as the store is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where they are.
    pub directory: PathBuf,
    /// Whether they were here already.
    pub cached: bool,
}

/// What is remembered of a download, besides its delta.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    validators: Validators,
}

impl Step<'_> {
    pub(crate) async fn git(&self, source: &GitSource) -> Result<Delta, StepFailure> {
        self.begin();
        let (engine, remote) = (&self.build.engine, &self.build.remote);
        let (delta, revision) = engine.git_delta(&self.build.job.credentials, source, Some(remote)).await?;
        self.build.revisions.lock().expect("no holder panics").insert(self.node.id, revision);
        // A checkout is named by what it is found by.
        self.build.ledger.delta(self.node.id, delta.key.into(), &delta);
        Ok(delta)
    }

    pub(crate) async fn http(&self, source: &HttpSource) -> Result<Delta, StepFailure> {
        self.begin();
        let pinned = pinned(source);
        if let Some(pinned) = pinned
            && let Some(delta) = self.cached(pinned)?
        {
            return Ok(delta);
        }
        let job = &self.build.job;
        let delta = self.build.engine.http_delta(&job.credentials, &job.events, source).await?;
        if let Some(pinned) = pinned {
            self.build.ledger.delta(self.node.id, pinned, &delta);
        }
        Ok(delta)
    }
}

impl Engine {
    /// The files of a git repository, and the commit that they are of.
    pub async fn checkout(
        &self,
        credentials: &Credentials,
        source: &GitSource,
    ) -> Result<(Fetched, Revision), StepError> {
        let (delta, revision) = self.git_delta(credentials, source, None).await?;
        Ok((self.fetched(&delta)?, revision))
    }

    /// A directory with a downloaded file.
    pub async fn download(
        &self,
        credentials: &Credentials,
        events: &Events,
        source: &HttpSource,
    ) -> Result<Fetched, StepError> {
        let delta = self.http_delta(credentials, events, source).await?;
        self.fetched(&delta)
    }

    fn fetched(&self, delta: &Delta) -> Result<Fetched, StepError> {
        let path = self.store.snapshots().path(&delta.key)?;
        let directory = path.ok_or(StepError::DeltaMissing { key: delta.key })?;
        Ok(Fetched { directory, cached: delta.cached })
    }

    async fn git_delta(
        &self,
        credentials: &Credentials,
        source: &GitSource,
        remote: Option<&Remote>,
    ) -> Result<(Delta, Revision), StepError> {
        let store = &self.store;
        let client = GitClient::new(credentials.clone(), store.known_hosts()?);
        let revision = client.resolve(source).await?;
        let key = key::checkout(source, &revision);
        if let Some(delta) = Delta::find(store, key)? {
            return Ok((delta, revision));
        }
        if let Some(delta) = remote.and_then(|remote| remote.find(key)) {
            return Ok((delta, revision));
        }
        // Repositories of the two kinds of commits cannot share objects.
        let name = format!("{} {}", source.remote, revision.object.len());
        let kept = store.repository(&name)?;
        let _lock = image::lock(store, kept.lock).await?;
        if let Some(delta) = Delta::find(store, key)? {
            return Ok((delta, revision));
        }
        // The second one is never put in place, and so leaves nothing.
        let (pending, scratch) = (store.snapshots().begin()?, store.snapshots().begin()?);
        let place = Workplace { repository: &kept.path, scratch: scratch.delta() };
        client.checkout(source, &revision, place, pending.delta()).await?;
        let delta = Delta::made(key);
        store.snapshots().commit(pending, &delta.key)?;
        remember(store, key, &delta, String::new(), &about(SnapshotKind::GitCheckout, source.describe()))?;
        Ok((delta, revision))
    }

    async fn http_delta(
        &self,
        credentials: &Credentials,
        events: &Events,
        source: &HttpSource,
    ) -> Result<Delta, StepError> {
        let store = &self.store;
        let pinned = pinned(source);
        // What has to be these bytes is not asked for again.
        if let Some(pinned) = pinned
            && let Some(delta) = Delta::find(store, pinned)?
        {
            return Ok(delta);
        }
        let url = key::url(source);
        let _lock = image::lock(store, url.to_string()).await?;
        let record = store.cache().get(&url.into())?.filter(|record| record.snapshot.is_some());
        let known = record.as_ref().and_then(|record| serde_json::from_str::<Known>(&record.metadata).ok());
        // A checksum is of bytes, which an answer "not changed" does not have.
        let known = known.filter(|_| pinned.is_none());
        let pending = store.snapshots().begin()?;
        let path = pending.delta().join(&source.name);
        let mut file = create(&path).map_err(StepError::io(&path))?;
        let progress = Progress { events, name: &source.name, told: AtomicU64::new(0) };
        let validators = known.as_ref().map(|known| &known.validators);
        let client = HttpClient::new(credentials.clone());
        let tell = |current, total| progress.tell(current, total);
        let (validators, digest) = match client.download(source, validators, &mut file, &tell).await? {
            Downloaded::Unchanged => {
                let found = Delta::find(store, url)?;
                return Ok(found.expect("only a file that is here is asked for"));
            }
            Downloaded::New { validators, digest, size } => {
                progress.done(size);
                (validators, digest)
            }
        };
        let modified = validators.modified();
        set_modified(&file, modified).map_err(StepError::io(&path))?;
        let key = key::download(&source.name, &digest, modified);
        let delta = match Delta::find(store, key)? {
            Some(known) => Delta { cached: false, ..known },
            None => {
                let delta = Delta::made(key);
                store.snapshots().commit(pending, &delta.key)?;
                delta
            }
        };
        let about = about(SnapshotKind::Download, source.describe());
        remember(store, key, &delta, String::new(), &about)?;
        if let Some(pinned) = pinned {
            remember(store, pinned, &delta, String::new(), &about)?;
        }
        if !validators.is_empty() {
            let metadata = serde_json::to_string(&Known { validators }).expect("plain data");
            remember(store, url, &delta, metadata, &about)?;
        }
        Ok(delta)
    }
}

/// The key of a file that has to have a checksum.
fn pinned(source: &HttpSource) -> Option<Key> {
    source.checksum.as_ref().map(|checksum| key::pinned_download(&source.name, checksum))
}

fn about(kind: SnapshotKind, description: String) -> About {
    About { kind, description, platform: None, parent: None }
}

fn remember(
    store: &Store,
    key: Key,
    delta: &Delta,
    metadata: String,
    about: &About,
) -> Result<(), StepError> {
    let record = CacheRecord { snapshot: Some(delta.key), created: delta.created, metadata };
    Ok(store.cache().put_about(&key.into(), &record, about)?)
}

fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(DOWNLOAD_MODE).open(path)?;
    // Not left to the umask.
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(DOWNLOAD_MODE))?;
    Ok(file)
}

/// A file has the time that the server says, or none: that of the download would be another each time.
fn set_modified(file: &File, seconds: Option<i64>) -> io::Result<()> {
    let since = Duration::from_secs(u64::try_from(seconds.unwrap_or(0)).unwrap_or(0));
    file.set_modified(SystemTime::UNIX_EPOCH + since)
}

/// Tells how far a download is.
struct Progress<'a> {
    events: &'a Events,
    name: &'a str,
    /// Bytes that were told of.
    told: AtomicU64,
}

impl Progress<'_> {
    fn tell(&self, current: u64, total: Option<u64>) {
        if current - self.told.load(Ordering::Relaxed) >= PROGRESS_STEP {
            self.told.store(current, Ordering::Relaxed);
            self.send(current, total, false);
        }
    }

    fn done(&self, size: u64) {
        self.send(size, Some(size), true);
    }

    fn send(&self, current: u64, total: Option<u64>, done: bool) {
        let (name, kind) = (self.name.to_owned(), TransferKind::Download);
        self.events.send(Event::Transfer { name, kind, current, total, done });
    }
}
