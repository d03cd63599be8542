//! The cache mounts of RUN steps, from outside: what there is, moving it to another machine, removing it.
//!
//! The archive is described in `docs/formats/cache-mounts.md`.

use std::{
    fs::{self, Metadata, Permissions},
    io::{Read, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use archway_layer::{
    extract::{self, ExtractOptions, Ownership},
    write_trees,
};
use archway_oci::Platform;
use archway_store::{CacheMount, CacheMountRecord, MountKey, Store};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, images::nearest};

const RECORD: &str = "record.json";
const DATA: &str = "data";
/// Larger records are not read.
const MAX_RECORD: u64 = 64 << 10;
/// Digits of a key that are enough to name a cache mount.
const SHORTEST_KEY: usize = 6;

/// One cache mount, as it is listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedMount {
    /// Its id.
    pub id: String,
    /// The platform it belongs to; `None` if all share it.
    pub platform: Option<String>,
    /// Tells mounts of one id and platform apart.
    pub key: String,
    /// Bytes on the disk.
    pub size: u64,
    /// When a step last used it.
    pub last_used: Timestamp,
    /// Whether a step uses it now.
    pub in_use: bool,
}

impl From<&CacheMount> for ListedMount {
    fn from(mount: &CacheMount) -> Self {
        Self {
            id: mount.record.id.clone(),
            platform: mount.record.platform.clone(),
            key: mount.key.to_string(),
            size: mount.bytes,
            last_used: mount.used,
            in_use: mount.in_use,
        }
    }
}

/// Which cache mounts are meant.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// By id, or by the beginning of a key; empty: all.
    pub ids: Vec<String>,
    /// Only those of a platform.
    pub platform: Option<Platform>,
    /// Only those that no step has used for this long.
    pub unused_for: Option<Duration>,
}

/// Every cache mount that is meant, sorted.
pub fn list(store: &Store, choice: &Choice) -> Result<Vec<ListedMount>, Error> {
    Ok(choice.of(store)?.iter().map(ListedMount::from).collect())
}

/// Removes those that are meant and that no step uses; returns them, and the bytes freed.
pub fn remove(store: &Store, choice: &Choice) -> Result<(Vec<ListedMount>, u64), Error> {
    let (removed, bytes) = store.cache_mounts().remove(&choice.of(store)?)?;
    Ok((removed.iter().map(ListedMount::from).collect(), bytes))
}

/// Writes those that are meant to `sink`, as a tar archive; returns them.
pub fn export(store: &Store, choice: &Choice, sink: impl Write) -> Result<Vec<ListedMount>, Error> {
    let mounts = choice.of(store)?;
    // Records lie beside the files they describe; in the archive they stand before them.
    let staging = store.snapshots().begin()?;
    let mut roots: Vec<(String, PathBuf)> = Vec::with_capacity(2 * mounts.len());
    for mount in &mounts {
        let name = format!("{}-{}", mount.key, mount.number);
        let directory = staging.delta().join(&name);
        fs::create_dir(&directory).map_err(Error::write(&directory))?;
        let metadata = fs::metadata(&mount.path).map_err(Error::read(&mount.path))?;
        let record = serde_json::to_vec(&Described::new(&mount.record, &metadata)).expect("plain data");
        fs::write(directory.join(RECORD), record).map_err(Error::write(&directory))?;
        roots.push((name.clone(), directory));
        roots.push((format!("{name}/{DATA}"), mount.path.clone()));
    }
    write_trees(&roots, None, sink)?;
    Ok(mounts.iter().map(ListedMount::from).collect())
}

/// Puts the cache mounts of an archive in the place of those there are; returns their records. `name` is
/// the archive's, for errors.
pub fn import(
    store: &Store,
    name: &str,
    archive: impl Read + Send,
    ownership: Ownership,
) -> Result<Vec<CacheMountRecord>, Error> {
    let staging = store.snapshots().begin()?;
    let options = ExtractOptions { ownership, ..ExtractOptions::default() };
    extract::unpack_archive(archive, staging.delta(), &options)?;
    let refused = |problem: String| Error::NotCacheMounts { name: name.to_owned(), problem };
    let mut found = Vec::new();
    // All are looked at before the first one is put in place.
    for entry in fs::read_dir(staging.delta()).map_err(Error::read(staging.delta()))? {
        let path = entry.map_err(Error::read(staging.delta()))?.path();
        found.push(Incoming::read(path).map_err(refused)?);
    }
    if found.is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    for mount in &found {
        let record = mount.described.record();
        store.cache_mounts().replace(&mount.key, &record, |directory| mount.move_to(directory, ownership))?;
    }
    Ok(found.iter().map(|mount| mount.described.record()).collect())
}

impl Choice {
    fn of(&self, store: &Store) -> Result<Vec<CacheMount>, Error> {
        let all = store.cache_mounts().list()?;
        for id in &self.ids {
            if !all.iter().any(|mount| is_named(mount, id) && self.fits(mount)) {
                let known: Vec<String> = all.iter().map(|mount| mount.record.id.clone()).collect();
                let nearest = nearest(id, &known).filter(|nearest| nearest != id);
                return Err(Error::NoSuchCacheMount { id: id.clone(), nearest });
            }
        }
        let is_meant =
            |mount: &CacheMount| self.ids.is_empty() || self.ids.iter().any(|id| is_named(mount, id));
        Ok(all.into_iter().filter(|mount| is_meant(mount) && self.fits(mount)).collect())
    }

    fn fits(&self, mount: &CacheMount) -> bool {
        let platform = self.platform.as_ref().map(ToString::to_string);
        let is_old = self.unused_for.is_none_or(|age| {
            let unused = Timestamp::now().duration_since(mount.used);
            unused.unsigned_abs() >= age && !unused.is_negative()
        });
        is_old && platform.is_none_or(|platform| mount.record.platform.as_deref() == Some(&platform))
    }
}

fn is_named(mount: &CacheMount, name: &str) -> bool {
    mount.record.id == name || name.len() >= SHORTEST_KEY && mount.key.to_string().starts_with(name)
}

/// The record of a mount in an archive, with what its directory is like.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    id: String,
    platform: Option<String>,
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Described {
    fn new(record: &CacheMountRecord, directory: &Metadata) -> Self {
        Self {
            id: record.id.clone(),
            platform: record.platform.clone(),
            uid: directory.uid(),
            gid: directory.gid(),
            mode: directory.mode() & 0o7777,
        }
    }

    fn record(&self) -> CacheMountRecord {
        CacheMountRecord { id: self.id.clone(), platform: self.platform.clone() }
    }
}

/// A mount of an archive that was unpacked.
struct Incoming {
    key: MountKey,
    described: Described,
    path: PathBuf,
}

impl Incoming {
    /// Trusts nothing: what was unpacked may hold links that lead anywhere.
    fn read(path: PathBuf) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = name.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok());
        let key = key.and_then(|(key, _)| key.parse().ok());
        let key = key.ok_or_else(|| format!("`{name}` is no key of a cache mount"))?;
        let is = |name: &str, fits: fn(&Metadata) -> bool| {
            fs::symlink_metadata(path.join(name)).is_ok_and(|metadata| fits(&metadata))
        };
        if !is("", Metadata::is_dir) || !is(DATA, Metadata::is_dir) {
            return Err(format!("`{name}` has no directory `{DATA}`"));
        }
        if !is(RECORD, |metadata| metadata.is_file() && metadata.len() <= MAX_RECORD) {
            return Err(format!("`{name}` has no `{RECORD}`"));
        }
        let record = fs::read(path.join(RECORD)).map_err(|error| error.to_string())?;
        let described = serde_json::from_slice(&record);
        let described = described.map_err(|error| format!("the `{RECORD}` of `{name}`: {error}"))?;
        Ok(Self { key, described, path })
    }

    fn move_to(&self, directory: &Path, ownership: Ownership) -> Result<(), Error> {
        let data = self.path.join(DATA);
        for entry in fs::read_dir(&data).map_err(Error::read(&data))? {
            let entry = entry.map_err(Error::read(&data))?;
            let target = directory.join(entry.file_name());
            fs::rename(entry.path(), &target).map_err(Error::write(&target))?;
        }
        if ownership != Ownership::Squash {
            let (uid, gid) = (self.described.uid, self.described.gid);
            chown(directory, Some(uid), Some(gid)).map_err(Error::write(directory))?;
        }
        let mode = Permissions::from_mode(self.described.mode & 0o7777);
        fs::set_permissions(directory, mode).map_err(Error::write(directory))
    }
}

#[cfg(test)]
mod tests {
    use archway_store::{StoreError, cache_mount::Sharing};

    use super::*;

    struct Stores {
        _directory: tempfile::TempDir,
        from: Store,
        to: Store,
    }

    fn stores() -> Stores {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(directory.path().join(name)).unwrap();
        Stores { from: open("from"), to: open("to"), _directory: directory }
    }

    /// A cache mount with a file of that content.
    fn fill(store: &Store, id: &str, platform: Option<&str>, content: &str) {
        let record = CacheMountRecord { id: id.into(), platform: platform.map(str::to_owned) };
        let key = MountKey::from_bytes(blake3(id, platform));
        let mounts = store.cache_mounts();
        let lease =
            mounts.acquire::<StoreError>(&key, &record, Sharing::Locked, |_| Ok(())).unwrap().unwrap();
        fs::create_dir_all(lease.path().join("sub")).unwrap();
        fs::write(lease.path().join("sub/file"), content).unwrap();
        fs::set_permissions(lease.path(), Permissions::from_mode(0o700)).unwrap();
    }

    fn blake3(id: &str, platform: Option<&str>) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().zip(format!("{id} {platform:?}").bytes()) {
            *place = byte;
        }
        bytes
    }

    fn ids(mounts: &[ListedMount]) -> Vec<String> {
        mounts
            .iter()
            .map(|mount| format!("{} {}", mount.id, mount.platform.as_deref().unwrap_or("all")))
            .collect()
    }

    #[test]
    fn mounts_are_chosen_by_id_key_platform_and_age() {
        let Stores { from, .. } = &stores();
        fill(from, "mod", Some("linux/amd64"), "");
        fill(from, "mod", Some("linux/arm64"), "");
        fill(from, "shared:x", None, "");
        let choose = |ids: &[&str], platform: Option<&str>, unused_for| {
            let platform = platform.map(|platform| platform.parse().unwrap());
            let choice =
                Choice { ids: ids.iter().copied().map(str::to_owned).collect(), platform, unused_for };
            list(from, &choice).map(|mounts| self::ids(&mounts))
        };
        assert_eq!(choose(&[], None, None).unwrap().len(), 3);
        assert_eq!(choose(&["mod"], None, None).unwrap(), ["mod linux/amd64", "mod linux/arm64"]);
        assert_eq!(choose(&["mod"], Some("linux/arm64"), None).unwrap(), ["mod linux/arm64"]);
        let key = list(from, &Choice::default()).unwrap()[2].key.clone();
        assert_eq!(choose(&[&key[..12]], None, None).unwrap(), ["shared:x all"]);
        assert!(choose(&[], None, Some(Duration::from_secs(3600))).unwrap().is_empty());
        let error = choose(&["modd"], None, None).unwrap_err();
        assert!(matches!(error, Error::NoSuchCacheMount { nearest: Some(nearest), .. } if nearest == "mod"));
    }

    #[test]
    fn what_is_exported_is_imported_elsewhere() {
        let Stores { from, to, .. } = &stores();
        fill(from, "mod", Some("linux/amd64"), "new");
        fill(from, "other", None, "other");
        fill(to, "mod", Some("linux/amd64"), "old");
        let mut archive = Vec::new();
        let choice = Choice { ids: vec!["mod".into()], ..Choice::default() };
        assert_eq!(ids(&export(from, &choice, &mut archive).unwrap()), ["mod linux/amd64"]);
        let records = import(to, "x.tar", archive.as_slice(), Ownership::Keep).unwrap();
        assert_eq!(records.len(), 1);
        let mounts = to.cache_mounts().list().unwrap();
        assert_eq!((mounts.len(), mounts[0].record.id.as_str()), (1, "mod"));
        assert_eq!(fs::read(mounts[0].path.join("sub/file")).unwrap(), b"new");
        assert_eq!(fs::metadata(&mounts[0].path).unwrap().mode() & 0o7777, 0o700);
        // The same bytes again: the archive does not depend on when and where it is made.
        let mut again = Vec::new();
        export(to, &choice, &mut again).unwrap();
        let names = |archive: &[u8]| archive.len();
        assert_eq!(names(&archive), names(&again));
    }

    #[test]
    fn a_hostile_archive_is_refused_as_a_whole() {
        let Stores { to, .. } = &stores();
        let key = "0".repeat(64);
        let record = r#"{"id":"a","platform":null,"uid":0,"gid":0,"mode":493}"#;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), record).unwrap();
        type Entries<'a> = Vec<(String, Result<&'a str, &'a Path>)>;
        let table: Vec<(Entries<'_>, &str)> = vec![
            (vec![], "it is empty"),
            (vec![("etc/passwd".into(), Ok(""))], "`etc` is no key"),
            (vec![(format!("{key}-0/record.json"), Ok(record))], "has no directory `data`"),
            (vec![(format!("{key}-0/data/x"), Ok(""))], "has no `record.json`"),
            (
                vec![
                    (format!("{key}-0/record.json"), Ok(record)),
                    (format!("{key}-0/data"), Err(outside.path())),
                ],
                "has no directory `data`",
            ),
            (
                vec![(format!("{key}-0/data/x"), Ok("")), (format!("{key}-0/record.json"), Ok("[]"))],
                "the `record.json` of",
            ),
        ];
        for (entries, problem) in table {
            let mut tar = archway_layer::TarWriter::new(Vec::new(), None);
            for (name, content) in &entries {
                use archway_layer::Entry;
                match content {
                    Ok(text) => {
                        tar.append(&Entry::file(name.as_bytes(), text.len() as u64, 0o644), text.as_bytes())
                    }
                    Err(target) => {
                        let target = target.as_os_str().as_encoded_bytes();
                        tar.append(&Entry::symlink(name.as_bytes(), target), std::io::empty())
                    }
                }
                .unwrap();
            }
            let archive = tar.finish().unwrap();
            let error = import(to, "x.tar", archive.as_slice(), Ownership::Keep).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
            assert!(to.cache_mounts().list().unwrap().is_empty());
        }
        assert!(outside.path().join("file").exists());
    }
}
