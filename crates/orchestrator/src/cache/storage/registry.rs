//! A cache under a name in a registry.

use std::time::Duration;

use archway_engine::Layer;
use archway_oci::{Descriptor, Reference, media_type};
use tokio::time::Instant;

use super::{Replaced, StorageError, Top};
use crate::{Context, output::registry::LayerPushes};

/// Least time after which an index that was just written is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The same in terms of the time from the last look to the end of the write: another exporter, which may
/// have looked just before this one wrote, takes about as long.
const LOOK_AGAIN_FACTOR: u32 = 4;

pub(crate) struct RegistryStorage {
    context: Context,
    reference: Reference,
    pushes: LayerPushes,
    /// A repository of the same registry that has the layers of the image.
    pushed_to: Option<Reference>,
}

impl RegistryStorage {
    pub(super) fn new(context: &Context, reference: &Reference, pushed_to: &[Reference]) -> Self {
        let same = pushed_to.iter().find(|image| image.registry == reference.registry);
        Self {
            pushes: LayerPushes::to(context, vec![reference.clone()]),
            context: context.clone(),
            reference: reference.clone(),
            pushed_to: same.cloned(),
        }
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(super) async fn top(&self) -> Result<Option<Top>, StorageError> {
        match self.context.engine.registry.manifest(&self.reference).await {
            Ok(fetched) => {
                let version = Some(fetched.descriptor.digest.to_string());
                Ok(Some(Top { descriptor: fetched.descriptor, bytes: fetched.bytes, version }))
            }
            Err(archway_registry::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StorageError> {
        let registry = &self.context.engine.registry;
        let kind = &descriptor.media_type;
        if media_type::is_manifest(kind) || media_type::is_index(kind) {
            return Ok(registry.manifest(&self.by_digest(descriptor)).await?.bytes);
        }
        Ok(registry.blob(&self.reference, descriptor).await?)
    }

    pub(super) async fn contains(&self, blob: &Descriptor) -> Result<bool, StorageError> {
        Ok(self.context.engine.registry.blob_exists(&self.reference, &blob.digest).await?)
    }

    pub(super) async fn fetch(&self, blob: &Descriptor) -> Result<(), StorageError> {
        let layer = Layer {
            descriptor: blob.clone(),
            diff_id: blob.digest.clone(),
            origin: Some(self.reference.clone()),
        };
        let fetched = self.context.engine.fetch_blob(&self.context.events, &layer).await;
        fetched.map_err(|error| StorageError::Layer(Box::new(error.into())))
    }

    pub(super) async fn put_layer(&self, layer: Layer) -> Result<(), StorageError> {
        let origin = layer.origin.or_else(|| self.pushed_to.clone());
        let pushed = self.pushes.push_layer(&self.context, &self.reference, Layer { origin, ..layer }).await;
        pushed.map_err(|error| StorageError::Layer(Box::new(error)))
    }

    pub(super) async fn put_document(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        if media_type::is_manifest(&descriptor.media_type) {
            let target = self.by_digest(descriptor);
            let registry = &self.context.engine.registry;
            registry.push_manifest(&target, &descriptor.media_type, bytes.to_vec().into()).await?;
            return Ok(());
        }
        self.context.store().blobs().put(bytes)?;
        self.put_layer(Layer {
            descriptor: descriptor.clone(),
            diff_id: descriptor.digest.clone(),
            origin: None,
        })
        .await
    }

    pub(super) async fn replace(&self, old: Option<&Top>, index: &[u8]) -> Result<Replaced, StorageError> {
        let registry = &self.context.engine.registry;
        let looked = Instant::now();
        // As late as possible: what somebody wrote since then would be lost.
        let now = registry.head_manifest(&self.reference).await?.map(|now| now.digest.to_string());
        if now.as_ref() != old.and_then(|old| old.version.as_ref()) {
            return Ok(Replaced::No);
        }
        registry.push_manifest(&self.reference, media_type::OCI_INDEX, index.to_vec().into()).await?;
        Ok(Replaced::Perhaps((looked.elapsed() * LOOK_AGAIN_FACTOR).max(LOOK_AGAIN)))
    }

    fn by_digest(&self, descriptor: &Descriptor) -> Reference {
        Reference { tag: None, ..self.reference.with_digest(descriptor.digest.clone()) }
    }
}
