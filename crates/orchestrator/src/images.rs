//! Names in the local store.

use archway_oci::{Descriptor, Index, Platform, Reference, json::MAX_DOCUMENT, media_type};
use archway_store::{ImageRecord, Store};
use serde::Serialize;

use crate::Error;

/// A name in the local store, and what it points at.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalImage {
    /// As people would type it.
    pub name: String,
    /// The index or manifest.
    pub descriptor: Descriptor,
    /// The platforms of the index; empty for a single manifest.
    pub platforms: Vec<Platform>,
    /// When the name was set.
    pub created: jiff::Timestamp,
}

/// Every name, sorted.
pub fn list(store: &Store) -> Result<Vec<LocalImage>, Error> {
    store.images().list()?.into_iter().map(|record| local_image(store, record)).collect()
}

/// Makes `target` point at what `source` points at.
pub fn tag(store: &Store, source: &str, target: &Reference) -> Result<(), Error> {
    let image = find(store, source)?;
    Ok(store.images().set(&[target.to_string()], &image.descriptor)?)
}

/// Forgets a name. The content goes with the next garbage collection, if nothing else needs it.
pub fn remove(store: &Store, name: &str) -> Result<String, Error> {
    let image = find(store, name)?;
    store.images().remove(&image.name)?;
    Ok(familiar(&image.name))
}

fn find(store: &Store, name: &str) -> Result<ImageRecord, Error> {
    let full = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.to_string());
    match store.images().get(&full)? {
        Some(image) => Ok(image),
        None => {
            let names: Vec<String> =
                store.images().list()?.iter().map(|image| familiar(&image.name)).collect();
            Err(Error::NoSuchImage { name: name.to_owned(), nearest: nearest(name, &names) })
        }
    }
}

/// The name that shares most of its start with what was asked for.
pub(crate) fn nearest(name: &str, names: &[String]) -> Option<String> {
    let common = |known: &String| known.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
    names.iter().max_by_key(|known| common(known)).filter(|known| common(known) >= 3).cloned()
}

fn local_image(store: &Store, record: ImageRecord) -> Result<LocalImage, Error> {
    let mut platforms = Vec::new();
    if media_type::is_index(&record.descriptor.media_type)
        && let Some(bytes) = store.blobs().read(&record.descriptor.digest, MAX_DOCUMENT)?
    {
        let children = Index::parse(&bytes)?.manifests;
        platforms =
            children.into_iter().filter_map(|child| child.platform).filter(|p| !p.is_unknown()).collect();
    }
    Ok(LocalImage {
        name: familiar(&record.name),
        descriptor: record.descriptor,
        platforms,
        created: record.created,
    })
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        (directory, store)
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        let (_directory, store) = store();
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, b"{}");
        store.images().set(&["docker.io/library/app:latest"], &descriptor).unwrap();
        tag(&store, "app", &"r.io/other:1".parse().unwrap()).unwrap();
        let names: Vec<String> = list(&store).unwrap().into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["app:latest", "r.io/other:1"]);
        assert_eq!(remove(&store, "docker.io/library/app:latest").unwrap(), "app:latest");
        assert_eq!(list(&store).unwrap().len(), 1);
    }

    #[test]
    fn a_name_that_is_not_there_brings_the_nearest() {
        let (_directory, store) = store();
        store
            .images()
            .set(&["docker.io/library/web:1"], &Descriptor::of(media_type::OCI_MANIFEST, b""))
            .unwrap();
        match remove(&store, "web:2") {
            Err(Error::NoSuchImage { nearest, .. }) => assert_eq!(nearest.as_deref(), Some("web:1")),
            other => panic!("{other:?}"),
        }
    }
}
