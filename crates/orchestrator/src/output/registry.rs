//! Pushing: layers while the build runs, large ones while they are being made, then children by digest, then the index, then its tags.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use archway_engine::{BuiltImage, Layer};
use archway_oci::{Descriptor, Digest, Reference};
use archway_registry::{Client, GrowingBlob, Pushed};
use archway_report::{Event, Events, TransferKind};
use archway_store::Store;
use futures_util::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, Shared, try_join_all},
    stream,
};
use tokio::{runtime::Handle, task::AbortHandle};

use super::Target;
use crate::{
    Context, Error,
    build::{Publications, Published},
    index::BuiltIndex,
};

/// Blobs that are pushed at the same time.
const PARALLEL: usize = 8;
/// Times that an image is pushed again when the registry misses a part of it.
const MISSING_CONTENT_RETRIES: usize = 4;
/// Wait before that.
const MISSING_CONTENT_DELAY: Duration = Duration::from_millis(250);
/// Bytes between two progress events.
const PROGRESS_STEP: u64 = 1 << 20;

type Pushing = Shared<BoxFuture<'static, Result<(), Arc<Error>>>>;

/// Pushes every blob once to every repository, beginning as soon as a layer is made, or large enough.
#[derive(Clone)]
pub(crate) struct LayerPushes(Arc<Pushes>);

struct Pushes {
    client: Client,
    store: Store,
    events: Events,
    runtime: Handle,
    /// One reference for each repository.
    repositories: Vec<Reference>,
    started: Mutex<HashMap<(String, Digest), Pushing>>,
    /// Pushes of blobs whose digest was not known when they began.
    growing: Mutex<Vec<GrowingPush>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// The push of a blob to a repository that began before the blob was complete.
struct GrowingPush {
    repository: String,
    blob: GrowingBlob,
    pushing: Pushing,
}

impl Drop for Pushes {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().expect("no holder panics") {
            task.abort();
        }
    }
}

impl LayerPushes {
    /// Nothing is pushed yet. Must be called within the runtime.
    pub(crate) fn start(context: &Context, targets: &[Target]) -> Self {
        Self::to(context, super::references_in_registries(targets))
    }

    /// Pushes to these repositories, each named once. Nothing is pushed yet.
    pub(crate) fn to(context: &Context, repositories: Vec<Reference>) -> Self {
        Self(Arc::new(Pushes {
            client: context.engine.registry.clone(),
            store: context.store().clone(),
            events: context.events.clone(),
            runtime: Handle::current(),
            repositories,
            started: Mutex::default(),
            growing: Mutex::default(),
            tasks: Mutex::default(),
        }))
    }

    /// Begins to push a layer that is still being made, in the background. What becomes of it, the layer
    /// itself will tell, if it ever is one.
    pub(crate) fn growing(&self, blob: &GrowingBlob) {
        for repository in &self.0.repositories {
            self.0.push_growing(repository, blob);
        }
    }

    /// Pushes a layer that was just made, in the background. An error shows up at the publication.
    pub(crate) fn layer(&self, layer: &Layer) {
        for repository in &self.0.repositories {
            drop(self.0.push(repository, &layer.descriptor, Vec::new()));
        }
    }

    /// Everything that is missing, then the children, then the index, then the tags.
    pub(crate) async fn publish(
        &self,
        context: &Context,
        targets: &[&Target],
        images: &[BuiltImage],
        index: &BuiltIndex,
        publications: &mut Publications<'_>,
    ) -> Result<(), Error> {
        let names: Vec<(&Reference, bool)> = targets
            .iter()
            .filter_map(|target| match target {
                Target::Registry { references, by_digest } => Some((references, *by_digest)),
                _ => None,
            })
            .flat_map(|(references, by_digest)| references.iter().map(move |name| (name, by_digest)))
            .collect();
        let there = names.iter().map(|(name, by_digest)| self.is_published(name, *by_digest, index));
        let there: Vec<bool> = try_join_all(there).await?;
        for repository in &self.0.repositories {
            let mut own = names.iter().zip(&there);
            let complete =
                |(name, _): &(&Reference, bool)| name.repository_name() == repository.repository_name();
            // A registry takes an index only with everything below it: a name that points at this
            // very index leaves nothing to do.
            if own.any(|(name, there)| complete(name) && !there) {
                self.push_until_known(context, repository, images, index).await?;
            }
        }
        for ((name, by_digest), there) in names.into_iter().zip(there) {
            if !there && !by_digest {
                self.move_tag(name, index).await?;
            }
            let target = if by_digest { name.repository_name() } else { by_tag(name).familiar() };
            publications.add(Published { target, digest: Some(index.descriptor.digest.clone()) });
        }
        Ok(())
    }

    /// Whether a name points at this index already.
    async fn is_published(
        &self,
        name: &Reference,
        by_digest: bool,
        index: &BuiltIndex,
    ) -> Result<bool, Error> {
        let target = match by_digest {
            true => name.with_digest(index.descriptor.digest.clone()),
            false => by_tag(name),
        };
        // A repository that cannot be read yet may not exist: pushing will tell.
        let current = self.0.client.head_manifest(&target).await.unwrap_or(None);
        Ok(current.is_some_and(|current| current.digest == index.descriptor.digest))
    }

    /// Pushes, and pushes again what the registry does not know although it was pushed: another build
    /// of the same content, or a garbage collection, may be under way there.
    async fn push_until_known(
        &self,
        context: &Context,
        repository: &Reference,
        images: &[BuiltImage],
        index: &BuiltIndex,
    ) -> Result<(), Error> {
        for _ in 0..MISSING_CONTENT_RETRIES {
            match self.push_image(context, repository, images, index).await {
                Err(Error::Registry { source, .. }) if source.is_missing_content() => {
                    tokio::time::sleep(MISSING_CONTENT_DELAY).await;
                    let own = repository.repository_name();
                    self.0.started.lock().expect("no holder panics").retain(|(name, _), _| *name != own);
                    self.0.growing.lock().expect("no holder panics").retain(|push| push.repository != own);
                }
                result => return result,
            }
        }
        self.push_image(context, repository, images, index).await
    }

    /// Blobs, children and index of one repository, all by digest: no tag moves.
    async fn push_image(
        &self,
        context: &Context,
        repository: &Reference,
        images: &[BuiltImage],
        index: &BuiltIndex,
    ) -> Result<(), Error> {
        // Whatever is no layer is in the store.
        let stored = |descriptor: &Descriptor| Layer {
            descriptor: descriptor.clone(),
            diff_id: descriptor.digest.clone(),
            origin: None,
        };
        let of_images = images
            .iter()
            .flat_map(|image| image.layers.iter().cloned().chain([stored(&image.config_descriptor)]));
        let of_attestations = index.attestations.iter().flat_map(|attached| &attached.blobs);
        let blobs = of_images.chain(of_attestations.map(|blob| stored(&blob.descriptor)));
        stream::iter(blobs.map(|layer| self.push_layer(context, repository, layer)).collect::<Vec<_>>())
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        let store = &self.0.store;
        let manifests = images.iter().map(|image| async {
            let digest = &image.descriptor.digest;
            let bytes = store.blobs().read(digest, archway_oci::json::MAX_DOCUMENT)?;
            let bytes = bytes.ok_or_else(|| Error::BlobMissing { digest: digest.clone() })?;
            self.push_manifest(repository, &image.descriptor, bytes).await
        });
        stream::iter(manifests.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        // They refer to the images.
        let attestations = index
            .attestations
            .iter()
            .map(|attached| self.push_manifest(repository, &attached.descriptor, attached.bytes.clone()));
        stream::iter(attestations.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        self.push_manifest(repository, &index.descriptor, index.bytes.clone()).await
    }

    /// A layer of this build is in the store; one of a base image or of a build cache may be mounted, or
    /// has to be fetched.
    pub(crate) async fn push_layer(
        &self,
        context: &Context,
        repository: &Reference,
        layer: Layer,
    ) -> Result<(), Error> {
        let mut mount_from = Vec::new();
        if let Some(origin) = &layer.origin {
            if origin.registry == repository.registry {
                mount_from.push(origin.repository.clone());
            }
            let here = self.0.store.blobs().contains(&layer.descriptor.digest)?;
            if !here && !self.0.mounted(repository, &layer.descriptor, &mount_from).await? {
                context.engine.fetch_blob(&context.events, &layer).await?;
            }
        }
        let pushing = self.0.push(repository, &layer.descriptor, mount_from);
        pushing.await.map_err(|error| Error::Shared { source: error })
    }

    async fn push_manifest(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
    ) -> Result<(), Error> {
        let target = Reference { tag: None, ..repository.with_digest(descriptor.digest.clone()) };
        let pushed = self.0.client.push_manifest(&target, &descriptor.media_type, bytes.into()).await;
        pushed.map(drop).map_err(Error::registry("push", &target))
    }

    /// The moment of publication: the tag points at the complete index.
    async fn move_tag(&self, name: &Reference, index: &BuiltIndex) -> Result<(), Error> {
        let target = by_tag(name);
        let bytes = index.bytes.clone().into();
        let pushed = self.0.client.push_manifest(&target, &index.descriptor.media_type, bytes).await;
        pushed.map(drop).map_err(Error::registry("publish", &target))
    }
}

/// A name without the digest that it may have.
fn by_tag(name: &Reference) -> Reference {
    Reference { digest: None, ..name.clone() }
}

impl Pushes {
    /// Begins to push a blob that is in the store (or can be mounted), unless it has begun already.
    fn push(
        self: &Arc<Self>,
        repository: &Reference,
        descriptor: &Descriptor,
        mount_from: Vec<String>,
    ) -> Pushing {
        let key = (repository.repository_name(), descriptor.digest.clone());
        let mut started = self.started.lock().expect("no holder panics");
        if let Some(pushing) = started.get(&key) {
            return pushing.clone();
        }
        if let Some(pushing) = self.begun(&key) {
            started.insert(key, pushing.clone());
            return pushing;
        }
        let job = Blob {
            client: self.client.clone(),
            store: self.store.clone(),
            events: self.events.clone(),
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            mount_from,
        };
        let pushing = self.spawn(job.push());
        started.insert(key, pushing.clone());
        pushing
    }

    fn push_growing(self: &Arc<Self>, repository: &Reference, blob: &GrowingBlob) {
        let (client, reference, followed) = (self.client.clone(), repository.clone(), blob.clone());
        let progress = Arc::new(PushProgress::new(self.events.clone()));
        let pushing = self.spawn(async move {
            let (blob, telling) = (followed.clone(), progress.clone());
            let sent = move |sent| {
                // Before the end it has no name.
                if let Some(descriptor) = blob.descriptor() {
                    telling.sent(&descriptor, sent);
                }
            };
            let pushed = client.push_growing(&reference, followed.clone(), sent).await;
            let pushed = pushed.map_err(Error::registry("push", &reference))?;
            if let (Some(Pushed::Uploaded), Some(descriptor)) = (pushed, followed.descriptor()) {
                progress.done(&descriptor);
            }
            Ok(())
        });
        let push = GrowingPush { repository: repository.repository_name(), blob: blob.clone(), pushing };
        self.growing.lock().expect("no holder panics").push(push);
    }

    /// The push of this blob, if it began before the blob was complete.
    fn begun(&self, (repository, digest): &(String, Digest)) -> Option<Pushing> {
        let growing = self.growing.lock().expect("no holder panics");
        let is_it = |blob: &GrowingBlob| blob.descriptor().is_some_and(|known| known.digest == *digest);
        let push = growing.iter().find(|push| push.repository == *repository && is_it(&push.blob))?;
        Some(push.pushing.clone())
    }

    fn spawn(&self, push: impl Future<Output = Result<(), Error>> + Send + 'static) -> Pushing {
        let task = self.runtime.spawn(push);
        self.tasks.lock().expect("no holder panics").push(task.abort_handle());
        async move { task.await.expect("pushing does not panic").map_err(Arc::new) }.boxed().shared()
    }

    /// Whether the repository has the blob, or could get it from one of the others without an upload.
    async fn mounted(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        from: &[String],
    ) -> Result<bool, Error> {
        let failed = || Error::registry("push", repository);
        if !self.client.must_push(repository, &descriptor.digest).await.map_err(failed())? {
            return Ok(true);
        }
        self.client.mount_blob(repository, &descriptor.digest, from).await.map_err(failed())
    }
}

/// One blob for one repository.
struct Blob {
    client: Client,
    store: Store,
    events: Events,
    repository: Reference,
    descriptor: Descriptor,
    mount_from: Vec<String>,
}

impl Blob {
    async fn push(self) -> Result<(), Error> {
        let path = self.store.blobs().path(&self.descriptor.digest)?;
        let Some(path) = path else {
            // It was found in the repository, or mounted into it.
            return Ok(());
        };
        let progress = Arc::new(PushProgress::new(self.events));
        let (telling, descriptor) = (progress.clone(), self.descriptor.clone());
        let sent = move |sent| telling.sent(&descriptor, sent);
        let pushed = self
            .client
            .push_blob(&self.repository, &self.descriptor, &path, &self.mount_from, sent)
            .await
            .map_err(Error::registry("push", &self.repository))?;
        if pushed == Pushed::Uploaded {
            progress.done(&self.descriptor);
        }
        Ok(())
    }
}

/// Tells how far the push of one blob is.
struct PushProgress {
    events: Events,
    told: Mutex<u64>,
}

impl PushProgress {
    fn new(events: Events) -> Self {
        Self { events, told: Mutex::new(0) }
    }

    /// So many bytes went out. They may become less, where an upload starts anew.
    fn sent(&self, descriptor: &Descriptor, sent: u64) {
        let mut told = self.told.lock().expect("no holder panics");
        if sent.abs_diff(*told) >= PROGRESS_STEP {
            *told = sent;
            self.tell(descriptor, sent, false);
        }
    }

    fn done(&self, descriptor: &Descriptor) {
        self.tell(descriptor, descriptor.size, true);
    }

    fn tell(&self, descriptor: &Descriptor, current: u64, done: bool) {
        let name = format!("sha256:{}", descriptor.digest.short());
        let (kind, total) = (TransferKind::Push, Some(descriptor.size));
        self.events.send(Event::Transfer { name, kind, current, total, done });
    }
}
