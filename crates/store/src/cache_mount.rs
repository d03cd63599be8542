//! Cache mounts: directories that outlive builds and are part of no image.
//!
//! A cache mount is found by its key. There can be several *instances* of one: a step that must not share
//! gets another one while the first is in use. An instance is a directory of its own, made aside and
//! renamed into place, with a lock that its users hold, each as long as it uses it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    error::{At, Result, StoreError},
    garbage::{self, Trash},
    key::MountKey,
    lock::Lock,
    root::{self, Root},
};

/// The files themselves.
const DATA: &str = "data";
/// What the instance is: a [`CacheMountRecord`] as JSON.
const RECORD: &str = "record.json";
/// Locked while the instance is used; its modification time is that of the last use.
const LOCK: &str = "lock";
/// Begins the names of marks that say: somebody began to write here, and it may not be on the disk yet.
const UNSYNCED: &str = "unsynced-";

/// The cache mounts of a store.
#[derive(Debug, Clone, Copy)]
pub struct CacheMounts<'a> {
    store: &'a Store,
}

/// What a cache mount is, for people. Does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMountRecord {
    /// Its id.
    pub id: String,
    /// The platform it belongs to; `None` if all share it.
    pub platform: Option<String>,
}

/// Who may use an instance besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone who shares; others get or make another instance.
    Shared,
    /// Nobody; if all instances are in use, another one is made.
    Private,
    /// Nobody; if all instances are in use, there is none for now.
    Locked,
}

/// An instance that is being used, until it is dropped.
#[derive(Debug)]
pub struct CacheMountLease {
    data: PathBuf,
    _lock: Lock,
    lock_path: PathBuf,
}

impl CacheMountLease {
    /// The directory to mount.
    pub fn path(&self) -> &Path {
        &self.data
    }
}

impl Drop for CacheMountLease {
    fn drop(&mut self) {
        let _ = touch(&self.lock_path);
    }
}

/// An instance, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// Of which cache mount.
    pub key: MountKey,
    /// Which instance of it.
    pub number: u32,
    /// What it is.
    pub record: CacheMountRecord,
    /// Disk space it takes.
    pub bytes: u64,
    /// When it was last used.
    pub used: Timestamp,
    /// Whether somebody uses it now.
    pub in_use: bool,
    /// Its files.
    pub path: PathBuf,
}

impl<'a> CacheMounts<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// An instance to use; `None` if all are in use and `sharing` forbids to make another. A new one is
    /// empty and belongs to root until `fill` has been at it.
    ///
    /// # Errors
    /// The store's, or `fill`'s.
    pub fn acquire<E: From<StoreError>>(
        &self,
        key: &MountKey,
        record: &CacheMountRecord,
        sharing: Sharing,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Option<CacheMountLease>, E> {
        // So that two that find none do not make two.
        let _finding = self.store.lock(&finding(key))?;
        let mut in_use = false;
        for number in self.numbers(key)? {
            match self.lease(&self.location(key, number), sharing)? {
                Some(lease) => return Ok(Some(lease)),
                None => in_use = true,
            }
        }
        if in_use && sharing == Sharing::Locked {
            return Ok(None);
        }
        let location = self.create(key, record, fill)?;
        Ok(self.lease(&location, sharing)?)
    }

    /// Makes an instance of what `fill` puts into a directory, in the place of those there are.
    ///
    /// # Errors
    /// [`StoreError::InUse`], the store's others, or `fill`'s.
    pub fn replace<E: From<StoreError>>(
        &self,
        key: &MountKey,
        record: &CacheMountRecord,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let old: Vec<CacheMount> = self.list()?.into_iter().filter(|mount| mount.key == *key).collect();
        let in_use = || StoreError::InUse { id: record.id.clone() };
        if old.iter().any(|mount| mount.in_use) {
            return Err(in_use().into());
        }
        {
            let _finding = self.store.lock(&finding(key))?;
            let location = self.create(key, record, fill)?;
            // Until it is synced it is to be trusted no more than one that a step has written to.
            drop(self.lease(&location, Sharing::Private)?);
        }
        // Somebody may have been faster; the new one is then found as soon as the old one is removed.
        let (removed, _) = self.remove(&old)?;
        if removed.len() < old.len() { Err(in_use().into()) } else { Ok(()) }
    }

    /// All instances, sorted by id, platform and number.
    pub fn list(&self) -> Result<Vec<CacheMount>> {
        let mut mounts = self.unmeasured()?;
        for mount in &mut mounts {
            mount.bytes = garbage::disk_usage(&mount.path)?;
        }
        Ok(mounts)
    }

    /// The same, with 0 for the space of each.
    pub(crate) fn unmeasured(&self) -> Result<Vec<CacheMount>> {
        let root = &self.store.inner.root;
        let mut mounts = Vec::new();
        for name in root::names(&root.cache_mounts())? {
            let Some((key, number)) = name.to_str().and_then(parse_name) else { continue };
            let location = root.cache_mounts().join(name);
            // One that is just being removed is none.
            let Some(record) = read_record(&location)? else { continue };
            mounts.push(CacheMount {
                bytes: 0,
                used: last_use(&location)?,
                in_use: self.is_in_use(&key, &location)?,
                path: location.join(DATA),
                key,
                number,
                record,
            });
        }
        mounts.sort_by(|left, right| order(left).cmp(&order(right)));
        Ok(mounts)
    }

    /// Removes the instances that nobody uses of `mounts`; returns those that were removed, and the bytes
    /// freed.
    pub fn remove(&self, mounts: &[CacheMount]) -> Result<(Vec<CacheMount>, u64)> {
        let root = &self.store.inner.root;
        let collecting = Lock::exclusive(root.garbage_lock())?;
        let mut trash = Trash::new(root, &collecting)?;
        let mut removed = Vec::new();
        for mount in mounts {
            if self.take_away(&mount.key, mount.number, &mut trash)? {
                removed.push(mount.clone());
            }
        }
        drop(collecting);
        let bytes = trash.empty()?;
        Ok((removed, bytes))
    }

    /// Takes an instance away, unless somebody uses it or is about to; says whether it is gone. The caller holds
    /// the exclusive garbage lock, for which one who looks for an instance may wait: so this does not wait.
    pub(crate) fn take_away(&self, key: &MountKey, number: u32, trash: &mut Trash) -> Result<bool> {
        let location = self.location(key, number);
        let Some(_finding) = self.store.try_lock(&finding(key))? else { return Ok(false) };
        let Some(_unused) = Lock::try_exclusive_existing(location.join(LOCK))? else { return Ok(false) };
        trash.take(&location)?;
        Ok(true)
    }

    /// Whether somebody uses an instance, or is about to. Who looks for one must not take our look at its lock for
    /// a user.
    fn is_in_use(&self, key: &MountKey, location: &Path) -> Result<bool> {
        let Some(_finding) = self.store.try_lock(&finding(key))? else { return Ok(true) };
        Ok(Lock::try_exclusive_existing(location.join(LOCK))?.is_none())
    }

    fn location(&self, key: &MountKey, number: u32) -> PathBuf {
        self.store.inner.root.cache_mounts().join(format!("{key}-{number}"))
    }

    /// The instances of a cache mount, ascending.
    fn numbers(&self, key: &MountKey) -> Result<Vec<u32>> {
        let names = root::names(&self.store.inner.root.cache_mounts())?;
        let parsed = names.iter().filter_map(|name| parse_name(name.to_str()?));
        let mut numbers: Vec<u32> =
            parsed.filter(|(found, _)| found == key).map(|(_, number)| number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn lease(&self, location: &Path, sharing: Sharing) -> Result<Option<CacheMountLease>> {
        let lock_path = location.join(LOCK);
        let lock = match sharing {
            Sharing::Shared => Lock::try_shared_existing(lock_path.clone())?,
            Sharing::Private | Sharing::Locked => Lock::try_exclusive_existing(lock_path.clone())?,
        };
        let Some(lock) = lock else { return Ok(None) };
        let mark = tempfile::Builder::new().prefix(UNSYNCED).tempfile_in(location).at(location)?;
        mark.keep().map_err(|error| StoreError::io(location, error.error))?;
        self.store.committed();
        touch(&lock_path).at(&lock_path)?;
        Ok(Some(CacheMountLease { data: location.join(DATA), _lock: lock, lock_path }))
    }

    fn create<E: From<StoreError>>(
        &self,
        key: &MountKey,
        record: &CacheMountRecord,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let parent = self.store.inner.root.cache_mounts();
        // Stores of earlier versions do not have it.
        match fs::create_dir(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io(&parent, error).into());
            }
            _ => {}
        }
        let unfinished = self.store.session()?.fresh_path();
        let made = prepare(&unfinished, record).map_err(E::from).and_then(|()| fill(&unfinished.join(DATA)));
        let placed = made.and_then(|()| Ok(self.place(key, &unfinished)?));
        if placed.is_err() {
            // What cannot be removed goes with the session.
            let _ = fs::remove_dir_all(&unfinished);
        }
        placed
    }

    /// Gives a finished instance the first free number.
    fn place(&self, key: &MountKey, unfinished: &Path) -> Result<PathBuf> {
        let mut number = 0;
        loop {
            let location = self.location(key, number);
            match renameat_with(CWD, unfinished, CWD, &location, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(location),
                Err(rustix::io::Errno::EXIST) => number += 1,
                Err(error) => return Err(StoreError::io(&location, error.into())),
            }
        }
    }
}

/// Instances that were written to and that nobody uses, with their marks: once the disk is synced, what
/// was written is on it.
#[derive(Debug)]
pub(crate) struct Written(Vec<PathBuf>);

impl Written {
    /// To be called before the disk is synced.
    pub(crate) fn find(store: &Store) -> Result<Self> {
        let root = &store.inner.root;
        let mut marks = Vec::new();
        for name in root::names(&root.cache_mounts())? {
            let location = root.cache_mounts().join(&name);
            let Some((key, _)) = name.to_str().and_then(parse_name) else { continue };
            // Who looks for an instance must not take our look at its lock for a user.
            let Some(_finding) = store.try_lock(&finding(&key))? else { continue };
            if Lock::try_exclusive_existing(location.join(LOCK))?.is_some() {
                marks.extend(self::marks(&location)?);
            }
        }
        Ok(Self(marks))
    }

    /// To be called afterwards.
    pub(crate) fn are_synced(self) {
        for mark in self.0 {
            // One that stays is removed the next time.
            let _ = fs::remove_file(mark);
        }
    }
}

/// Where the files of all instances are.
pub(crate) fn data_directories(root: &Root) -> Result<Vec<PathBuf>> {
    let names = root::names(&root.cache_mounts())?;
    Ok(names.into_iter().map(|name| root.cache_mounts().join(name).join(DATA)).collect())
}

/// Takes away the instances that a power loss may have damaged.
pub(crate) fn remove_unsynced(root: &Root, trash: &mut Trash) -> Result<()> {
    for name in root::names(&root.cache_mounts())? {
        let location = root.cache_mounts().join(name);
        if !marks(&location)?.is_empty() {
            trash.take(&location)?;
        }
    }
    Ok(())
}

fn finding(key: &MountKey) -> String {
    format!("cache mount {key}")
}

fn parse_name(name: &str) -> Option<(MountKey, u32)> {
    let (key, number) = name.rsplit_once('-')?;
    Some((key.parse().ok()?, number.parse().ok()?))
}

fn marks(location: &Path) -> Result<Vec<PathBuf>> {
    let names = root::names(location)?;
    let marks = names.iter().filter(|name| name.to_str().is_some_and(|name| name.starts_with(UNSYNCED)));
    Ok(marks.map(|name| location.join(name)).collect())
}

/// An instance without files.
fn prepare(directory: &Path, record: &CacheMountRecord) -> Result<()> {
    let data = directory.join(DATA);
    fs::create_dir_all(&data).at(&data)?;
    // Not left to the umask.
    fs::set_permissions(&data, Permissions::from_mode(0o755)).at(&data)?;
    let bytes = serde_json::to_vec(record).expect("a record is plain data");
    fs::write(directory.join(RECORD), bytes).at(directory)?;
    File::create(directory.join(LOCK)).at(directory)?;
    Ok(())
}

fn read_record(location: &Path) -> Result<Option<CacheMountRecord>> {
    let path = location.join(RECORD);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.at(&path)?,
    };
    let invalid = |_| StoreError::InvalidRecord { path: path.clone(), record: "cache mount" };
    serde_json::from_slice(&bytes).map(Some).map_err(invalid)
}

fn last_use(location: &Path) -> Result<Timestamp> {
    let path = location.join(LOCK);
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).at(&path)?;
    Ok(Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn touch(path: &Path) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(SystemTime::now())
}

fn order(mount: &CacheMount) -> (&str, Option<&str>, String, u32) {
    let CacheMountRecord { id, platform } = &mount.record;
    (id, platform.as_deref(), mount.key.to_string(), mount.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> MountKey {
        MountKey::from(blake3::hash(name.as_bytes()))
    }

    fn record() -> CacheMountRecord {
        CacheMountRecord { id: "mod".into(), platform: Some("linux/arm64".into()) }
    }

    fn acquire(store: &Store, name: &str, sharing: Sharing) -> Option<CacheMountLease> {
        let mounts = store.cache_mounts();
        mounts.acquire::<StoreError>(&key(name), &record(), sharing, |_| Ok(())).unwrap()
    }

    #[test]
    fn what_was_written_is_there_the_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lease = acquire(&store, "a", Sharing::Shared).unwrap();
        fs::write(lease.path().join("file"), "content").unwrap();
        drop((lease, store));
        let store = Store::open(directory.path()).unwrap();
        let lease = acquire(&store, "a", Sharing::Locked).unwrap();
        assert_eq!(fs::read(lease.path().join("file")).unwrap(), b"content");
        let other = acquire(&store, "b", Sharing::Locked).unwrap();
        assert_ne!(other.path(), lease.path());
    }

    #[test]
    fn sharing_decides_who_gets_which_instance() {
        use Sharing::{Locked, Private, Shared};
        // Who uses it, who wants it, and what it gets: the same instance, another one, or none.
        let table = [
            (Shared, Shared, "same"),
            (Shared, Private, "other"),
            (Shared, Locked, "none"),
            (Private, Shared, "other"),
            (Private, Private, "other"),
            (Private, Locked, "none"),
            (Locked, Shared, "other"),
            (Locked, Locked, "none"),
        ];
        for (user, wanted, expected) in table {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            let first = acquire(&store, "a", user).unwrap();
            let second = acquire(&store, "a", wanted);
            let got = match &second {
                None => "none",
                Some(lease) if lease.path() == first.path() => "same",
                Some(_) => "other",
            };
            assert_eq!(got, expected, "{user:?}, then {wanted:?}");
            drop((first, second));
            // Later on the first instance is taken again.
            assert!(acquire(&store, "a", wanted).unwrap().path().ends_with(format!("{}-0/data", key("a"))));
        }
    }

    #[test]
    fn a_new_instance_that_cannot_be_filled_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mounts = store.cache_mounts();
        let failed = mounts.acquire(&key("a"), &record(), Sharing::Shared, |path| {
            fs::write(path.join("half"), "").unwrap();
            Err(StoreError::InvalidRecord { path: path.to_owned(), record: "test" })
        });
        assert!(failed.is_err());
        assert!(mounts.list().unwrap().is_empty());
        let lease = mounts
            .acquire::<StoreError>(&key("a"), &record(), Sharing::Shared, |path| {
                fs::write(path.join("seed"), "").at(path)
            })
            .unwrap()
            .unwrap();
        assert!(lease.path().join("seed").exists() && !lease.path().join("half").exists());
    }

    #[test]
    fn an_instance_takes_the_place_of_those_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mounts = store.cache_mounts();
        let replace = |content: &str| {
            mounts.replace::<StoreError>(&key("a"), &record(), |path| {
                fs::write(path.join("file"), content).at(path)
            })
        };
        replace("first").unwrap();
        replace("second").unwrap();
        let lease = acquire(&store, "a", Sharing::Shared).unwrap();
        assert_eq!(fs::read(lease.path().join("file")).unwrap(), b"second");
        assert_eq!(mounts.list().unwrap().len(), 1);
        assert!(matches!(replace("third"), Err(StoreError::InUse { id }) if id == "mod"));
    }

    #[test]
    fn instances_are_listed_and_removed_unless_they_are_used() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let used = acquire(&store, "a", Sharing::Private).unwrap();
        let unused = acquire(&store, "a", Sharing::Private).unwrap();
        fs::write(unused.path().join("file"), vec![1; 100_000]).unwrap();
        drop(unused);
        let mounts = store.cache_mounts();
        let listed = mounts.list().unwrap();
        let in_use: Vec<bool> = listed.iter().map(|mount| mount.in_use).collect();
        assert_eq!((in_use, listed[0].record.clone()), (vec![true, false], record()));
        assert!(listed[1].bytes >= 100_000);
        let (removed, bytes) = mounts.remove(&listed).unwrap();
        assert_eq!(removed.iter().map(|mount| mount.number).collect::<Vec<_>>(), [1]);
        assert!(bytes >= 100_000 && used.path().exists());
        assert_eq!(mounts.list().unwrap().len(), 1);
    }

    #[test]
    fn a_collection_takes_cache_mounts_that_nobody_uses() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        drop(acquire(&store, "idle", Sharing::Shared));
        let used = acquire(&store, "used", Sharing::Shared).unwrap();
        let pruned = store.prune(&crate::Prune::by(&[crate::Rule::EVERYTHING])).unwrap();
        assert_eq!(pruned.items.len(), 1);
        assert_eq!(store.cache_mounts().list().unwrap().len(), 1);
        assert!(used.path().exists());
    }
}
