//! How the layers of a base image lie on one another.
//!
//! Each layer is unpacked by itself, and an overlay puts the deltas together. Two things do not come
//! out right that way, and are mended here: a layer that hides everything below it, and a layer that has
//! files in a directory without having the directory. The latter's delta has to have it, with attributes
//! that nobody chose; a *correction* above it, a delta of directories only, gives it those that it has in
//! the layers below.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use archway_layer::extract::Extracted;
use archway_store::{About, CacheRecord, SnapshotKey, Store};
use jiff::Timestamp;
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::{
    StepError,
    copy::{apply, entry::Mtime, placement::Directory},
    key, tree,
    view::View,
};

/// What has to be known of an unpacked layer besides its delta.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerFacts {
    /// Directories that the layer uses and does not have; absolute.
    implied_directories: Vec<String>,
    /// Whether it hides everything below it.
    opaque_root: bool,
}

impl LayerFacts {
    pub(crate) fn of(extracted: &Extracted) -> Self {
        let names = extracted.implied_directories.iter().filter_map(|path| path.to_str());
        let implied_directories = names.map(|path| format!("/{path}")).collect();
        Self { implied_directories, opaque_root: extracted.opaque_root }
    }

    /// Those of the layer unpacked into `delta`; `None` if the store does not know.
    pub(crate) fn find(store: &Store, delta: SnapshotKey) -> Result<Option<Self>, StepError> {
        let record = store.cache().get(&key::layer_facts(delta).into())?;
        Ok(record.and_then(|record| serde_json::from_str(&record.metadata).ok()))
    }

    pub(crate) fn remember(&self, store: &Store, delta: SnapshotKey, about: &About) -> Result<(), StepError> {
        let metadata = serde_json::to_string(self).expect("plain data");
        let record = CacheRecord { snapshot: Some(delta), created: Timestamp::now(), metadata };
        Ok(store.cache().put_about(&key::layer_facts(delta).into(), &record, about)?)
    }
}

/// The directories to mount for `layers`, bottom first.
pub(crate) fn lowers(store: &Store, layers: &[(SnapshotKey, LayerFacts)]) -> Result<Vec<PathBuf>, StepError> {
    let mut lowers: Vec<PathBuf> = Vec::with_capacity(layers.len());
    for (delta, facts) in layers {
        if facts.opaque_root {
            lowers.clear();
        }
        let below = lowers.len();
        lowers.push(path_of(store, *delta)?);
        if below > 0 && !facts.implied_directories.is_empty() {
            let corrected = correction(&lowers[..below], &lowers, &facts.implied_directories)?;
            if !corrected.is_empty() {
                lowers.push(correction_delta(store, &corrected)?);
            }
        }
    }
    Ok(lowers)
}

/// The attributes of every directory of a correction: the implied ones that the layers `below` have
/// otherwise, and the directories on the way to them.
fn correction(
    below: &[PathBuf],
    with_layer: &[PathBuf],
    implied: &[String],
) -> Result<BTreeMap<String, (Directory, Mtime)>, StepError> {
    let (below, with_layer) = (View::open(below)?, View::open(with_layer)?);
    let mut corrected = BTreeMap::new();
    for path in implied {
        let Some(wanted) = directory(&below, path)? else { continue };
        if directory(&with_layer, path)?.is_none_or(|actual| actual.0 == wanted.0) {
            continue;
        }
        for ancestor in tree::ancestors(path) {
            let view = if implied.iter().any(|path| path == ancestor) { &below } else { &with_layer };
            if let Some(attributes) = directory(view, ancestor)? {
                corrected.entry(ancestor.to_owned()).or_insert(attributes);
            }
        }
        corrected.insert(path.clone(), wanted);
    }
    Ok(corrected)
}

/// The directory at `path`, if it is one, reached through directories only.
fn directory(view: &View, path: &str) -> Result<Option<(Directory, Mtime)>, StepError> {
    let mut found = None;
    for step in tree::ancestors(path).chain([path]) {
        match view.stat(step).map_err(StepError::io(step))? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => found = Some(stat),
            _ => return Ok(None),
        }
    }
    Ok(found.map(|stat| attributes(&stat)))
}

fn attributes(stat: &Stat) -> (Directory, Mtime) {
    let directory = Directory { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid };
    (directory, Mtime { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as i64 })
}

fn correction_delta(
    store: &Store,
    directories: &BTreeMap<String, (Directory, Mtime)>,
) -> Result<PathBuf, StepError> {
    let key = key::correction(directories).into();
    if let Some(path) = store.snapshots().path(&key)? {
        return Ok(path);
    }
    let pending = store.snapshots().begin()?;
    apply::attributes(pending.delta(), directories)?;
    Ok(store.snapshots().commit(pending, &key)?)
}

/// Where a delta is.
pub(crate) fn path_of(store: &Store, key: SnapshotKey) -> Result<PathBuf, StepError> {
    store.snapshots().path(&key)?.ok_or(StepError::DeltaMissing { key })
}

/// Puts one more delta on the directories to mount.
///
/// An overlay refuses the same directory twice, and whatever a delta says, the topmost of its kind says
/// last: one that is there already goes. So does a delta that says nothing, as soon as another one covers
/// it: many steps change no file, and each directory of an overlay costs every step above it time. The
/// topmost stays whatever it holds, for the attributes of the root directory are those of the topmost.
pub(crate) fn cover(paths: &mut Vec<PathBuf>, delta: PathBuf) -> io::Result<()> {
    if let Some(top) = paths.last()
        && is_empty(top)?
    {
        paths.pop();
    }
    paths.retain(|path| path.as_os_str() != delta.as_os_str());
    paths.push(delta);
    Ok(())
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

/// Without all but the topmost of equal directories.
pub(crate) fn without_repeats(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut above = HashSet::with_capacity(paths.len());
    let mut kept: Vec<PathBuf> =
        paths.iter().rev().filter(|path| above.insert(path.as_os_str())).cloned().collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_directories_the_topmost_stays() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(without_repeats(&paths(&["a", "b", "a", "c", "b"])), paths(&["a", "c", "b"]));
    }

    #[test]
    fn a_delta_that_says_nothing_is_mounted_only_on_top() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["full", "empty", "more", "nothing"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        for name in ["full/file", "more/file"] {
            std::fs::write(path(name), "").unwrap();
        }
        let mut mounted = Vec::new();
        let table: [(&str, &[&str]); 5] = [
            ("full", &["full"]),
            ("empty", &["full", "empty"]),
            ("more", &["full", "more"]),
            ("nothing", &["full", "more", "nothing"]),
            ("full", &["more", "full"]),
        ];
        for (next, expected) in table {
            cover(&mut mounted, path(next)).unwrap();
            assert_eq!(mounted, expected.iter().map(|name| path(name)).collect::<Vec<_>>(), "{next}");
        }
    }
}
