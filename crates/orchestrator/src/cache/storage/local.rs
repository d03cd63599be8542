//! A cache in a directory: an OCI image layout, whose `index.json` names it.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    path::PathBuf,
};

use archway_engine::Layer;
use archway_oci::{
    Descriptor, Digest, Index, Layout, Manifest,
    json::MAX_DOCUMENT,
    layout::{LayoutError, REF_NAME},
    media_type,
};

use super::{Replaced, StorageError, Top};
use crate::{Context, Error};

/// Locked by whoever writes; BuildKit's name for it.
const LOCK: &str = "index.json.lock";
/// Indexes below `index.json` that are followed to find out what is needed.
const MAX_DEPTH: usize = 8;

pub(crate) struct LocalStorage {
    context: Context,
    directory: PathBuf,
    tag: String,
}

impl LocalStorage {
    pub(super) fn new(context: &Context, directory: &std::path::Path, tag: &str) -> Self {
        Self { context: context.clone(), directory: directory.to_owned(), tag: tag.to_owned() }
    }

    /// Makes the layout, if it is not there.
    pub(super) async fn lock(&self) -> Result<File, StorageError> {
        let (directory, path) = (self.directory.clone(), self.directory.join(LOCK));
        blocking(move || {
            Layout::create(&directory)?;
            let failed = |action| {
                let path = path.display().to_string();
                move |source| StorageError::File { action, path, source }
            };
            let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed("open"))?;
            file.lock().map_err(failed("lock"))?;
            Ok(file)
        })
        .await
    }

    pub(super) async fn top(&self) -> Result<Option<Top>, StorageError> {
        let (directory, tag) = (self.directory.clone(), self.tag.clone());
        blocking(move || {
            let layout = match Layout::open(&directory) {
                Ok(layout) => layout,
                Err(LayoutError::NotALayout { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut named = layout
                .index()?
                .manifests
                .into_iter()
                .filter(|entry| entry.annotations.get(REF_NAME).is_some_and(|name| *name == tag));
            let Some(descriptor) = named.next() else { return Ok(None) };
            let bytes = layout.read_blob(&descriptor)?;
            Ok(Some(Top { descriptor, bytes, version: None }))
        })
        .await
    }

    pub(super) async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StorageError> {
        let (directory, descriptor) = (self.directory.clone(), descriptor.clone());
        blocking(move || Ok(Layout::open(directory)?.read_blob(&descriptor)?)).await
    }

    pub(super) async fn contains(&self, blob: &Descriptor) -> Result<bool, StorageError> {
        let path = Layout::open(&self.directory)?.blob_path(&blob.digest);
        Ok(std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == blob.size))
    }

    pub(super) async fn fetch(&self, blob: &Descriptor) -> Result<(), StorageError> {
        let (store, directory, blob) = (self.context.store().clone(), self.directory.clone(), blob.clone());
        blocking(move || {
            if store.blobs().contains(&blob.digest)? {
                return Ok(());
            }
            let path = Layout::open(directory)?.blob_path(&blob.digest);
            let failed =
                |source| StorageError::File { action: "read", path: path.display().to_string(), source };
            let file = File::open(&path).map_err(failed)?;
            let mut writer = store.blobs().writer()?;
            // One byte more than promised is enough to be noticed.
            let mut bounded = std::io::Read::take(file, blob.size.saturating_add(1));
            std::io::copy(&mut bounded, &mut writer).map_err(failed)?;
            writer.commit(Some(&blob.digest))?;
            Ok(())
        })
        .await
    }

    pub(super) async fn put_layer(&self, layer: Layer) -> Result<(), StorageError> {
        if self.contains(&layer.descriptor).await? {
            return Ok(());
        }
        let fetched = self.context.engine.fetch_blob(&self.context.events, &layer).await;
        fetched.map_err(|error| StorageError::Layer(Box::new(error.into())))?;
        let (store, directory) = (self.context.store().clone(), self.directory.clone());
        blocking(move || {
            let digest = &layer.descriptor.digest;
            let missing = || StorageError::Layer(Box::new(Error::BlobMissing { digest: digest.clone() }));
            let blob = store.blobs().open(digest)?.ok_or_else(missing)?;
            Ok(Layout::open(directory)?.import_blob(blob, &layer.descriptor)?)
        })
        .await
    }

    pub(super) async fn put_document(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let (directory, descriptor, bytes) = (self.directory.clone(), descriptor.clone(), bytes.to_vec());
        blocking(move || Ok(Layout::open(directory)?.import_blob(&*bytes, &descriptor)?)).await
    }

    /// Whoever exports has the lock.
    pub(super) async fn replace(&self, _old: Option<&Top>, index: &[u8]) -> Result<Replaced, StorageError> {
        let (directory, tag, index) = (self.directory.clone(), self.tag.clone(), index.to_vec());
        blocking(move || {
            let layout = Layout::open(directory)?;
            layout.write_blob(&index)?;
            layout.set_reference(&Descriptor::of(media_type::OCI_INDEX, &index), Some(&tag))?;
            Ok(Replaced::Surely)
        })
        .await
    }

    /// Of the blobs `old`, removes those that nothing in the layout names any more.
    pub(super) async fn remove_unneeded(&self, old: &[Digest]) -> Result<(), StorageError> {
        let (directory, old) = (self.directory.clone(), old.to_vec());
        blocking(move || {
            let layout = Layout::open(directory)?;
            let needed = needed(&layout)?;
            for digest in old.iter().filter(|digest| !needed.contains(*digest)) {
                let path = layout.blob_path(digest);
                match std::fs::remove_file(&path) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        let path = path.display().to_string();
                        return Err(StorageError::File { action: "remove", path, source });
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

/// Everything that `index.json` leads to.
fn needed(layout: &Layout) -> Result<BTreeSet<Digest>, StorageError> {
    let mut needed = BTreeSet::new();
    let mut pending: Vec<(Descriptor, usize)> =
        layout.index()?.manifests.into_iter().map(|entry| (entry, 0)).collect();
    while let Some((descriptor, depth)) = pending.pop() {
        let kind = &descriptor.media_type;
        let is_document = media_type::is_index(kind) || media_type::is_manifest(kind);
        if needed.insert(descriptor.digest.clone())
            && is_document
            && depth < MAX_DEPTH
            && descriptor.size <= MAX_DOCUMENT
            && let Ok(bytes) = layout.read_blob(&descriptor)
        {
            let children = match media_type::is_index(kind) {
                true => Index::parse(&bytes)?.manifests,
                false => {
                    let manifest = Manifest::parse(&bytes)?;
                    manifest.layers.into_iter().chain([manifest.config]).collect()
                }
            };
            pending.extend(children.into_iter().map(|child| (child, depth + 1)));
        }
    }
    Ok(needed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.expect("reading and writing files does not panic")
}
