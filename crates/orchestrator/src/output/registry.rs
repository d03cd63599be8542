//! Pushing: layers while the build runs, large ones while they are being made, and all else, tags last, when
//! it has ended.

mod publication;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use archway_engine::Layer;
use archway_oci::{Descriptor, Digest, Reference};
use archway_registry::{Client, GrowingBlob, Pushed};
use archway_report::{Event, Events, TransferKind};
use archway_store::Store;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{runtime::Handle, task::AbortHandle};

use super::Target;
use crate::{Context, Error};

pub(crate) use publication::{Publication, foresee};

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
            if self.0.first_of_registry(repository).is_none() {
                self.0.push_growing(repository, blob);
            }
        }
    }

    /// Pushes a layer that was just made, in the background. An error shows up at the publication.
    pub(crate) fn layer(&self, layer: &Layer) {
        for repository in &self.0.repositories {
            drop(self.0.push(repository, &layer.descriptor, Vec::new()));
        }
    }

    /// Makes `repository` get everything again that it is given.
    fn forget(&self, repository: &Reference) {
        let own = repository.repository_name();
        self.0.started.lock().expect("no holder panics").retain(|(name, _), _| *name != own);
        self.0.growing.lock().expect("no holder panics").retain(|push| push.repository != own);
    }

    /// A layer of this build is in the store; one of a base image or of a build cache may be mounted, or
    /// has to be fetched.
    pub(crate) async fn push_layer(
        &self,
        context: &Context,
        repository: &Reference,
        layer: Layer,
    ) -> Result<(), Error> {
        let mut mount_from: Vec<String> =
            self.0.first_of_registry(repository).map(|first| first.repository.clone()).into_iter().collect();
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
}

impl Pushes {
    /// Begins to push a blob that is in the store (or can be mounted), unless it has begun already.
    fn push(
        self: &Arc<Self>,
        repository: &Reference,
        descriptor: &Descriptor,
        mut mount_from: Vec<String>,
    ) -> Pushing {
        let first = self.first_of_registry(repository).map(|first| {
            if !mount_from.contains(&first.repository) {
                mount_from.insert(0, first.repository.clone());
            }
            self.push(first, descriptor, Vec::new())
        });
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
        let pushing = self.spawn(async move {
            if let Some(first) = first {
                // Where that fails, whoever waits for the other repository gets to know.
                let _ = first.await;
            }
            job.push().await
        });
        started.insert(key, pushing.clone());
        pushing
    }

    /// The repository of the same registry that gets every blob before this one does, which then mounts it:
    /// bytes go to a registry once.
    fn first_of_registry(&self, repository: &Reference) -> Option<&Reference> {
        let first = self.repositories.iter().find(|first| first.registry == repository.registry)?;
        (first.repository != repository.repository).then_some(first)
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
