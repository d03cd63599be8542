//! Deltas to layer blobs, each once, while other steps run.

mod blob;
mod members;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    thread::available_parallelism,
};

use archway_layer::{Compression, KnownMembers, LayerOptions, Layout, write_layer};
use archway_registry::GrowingBlob;
use archway_store::{LayerRecord, SnapshotKey, Store};
use futures_util::{
    FutureExt as _,
    future::{self, BoxFuture, Shared},
};
use tokio::sync::Semaphore;

use self::{blob::LayerBlob, members::Members};
use crate::{Job, Layer, LayerSettings, StepError, remote::Remote};

type Making = Shared<BoxFuture<'static, Result<Layer, Arc<StepError>>>>;

/// Makes layers from deltas.
pub(crate) struct LayerMaker {
    /// `None` if no layers are wanted.
    workshop: Option<Arc<Workshop>>,
    /// Deltas that are being made into layers, or were.
    making: Mutex<HashMap<(SnapshotKey, Form), Making>>,
}

/// What it takes to make a layer.
struct Workshop {
    store: Store,
    /// How the layers of images are made.
    settings: LayerSettings,
    /// What other machines made.
    remote: Arc<Remote>,
    /// Members of the layers that were made before, in this build or an earlier one.
    members: Option<Arc<Members>>,
    on_layer: Arc<dyn Fn(&Layer) + Send + Sync>,
    on_growing: Arc<dyn Fn(GrowingBlob) + Send + Sync>,
    /// Layers that are read at the same time. Those who compress are the same few for all of them.
    places: Semaphore,
}

impl LayerMaker {
    pub(crate) fn new(store: Store, job: &Job, remote: Arc<Remote>) -> Self {
        let workshop = job.layers.map(|settings| {
            let compressed = settings.compression != Compression::None;
            Arc::new(Workshop {
                members: compressed.then(|| Arc::new(Members::new(&store, settings.compression))),
                store,
                settings,
                remote,
                on_layer: job.on_layer.clone(),
                on_growing: job.on_growing.clone(),
                places: Semaphore::new(available_parallelism().map_or(1, usize::from)),
            })
        });
        Self { workshop, making: Mutex::default() }
    }

    /// How the layers of images are made; `None` if no layers are wanted.
    pub(crate) fn form(&self, layout: Layout) -> Option<Form> {
        self.workshop.as_ref().map(|workshop| Form { settings: workshop.settings, layout })
    }

    /// Begins to make the layer of `delta`, unless it has begun already. Whoever waits for layers of
    /// images is told of it.
    pub(crate) fn start(&self, delta: &SnapshotKey, form: Form) {
        let _ = self.begin(delta, form, For::Image);
    }

    /// The same for a layer that no image has.
    pub(crate) fn start_apart(&self, delta: &SnapshotKey, form: Form) {
        let _ = self.begin(delta, form, For::Cache);
    }

    /// The layer of `delta`; `None` if no layers are wanted.
    pub(crate) async fn wait(&self, delta: &SnapshotKey, form: Form) -> Result<Option<Layer>, StepError> {
        let Some(making) = self.begin(delta, form, For::Image) else { return Ok(None) };
        ended(making).await.map(Some)
    }

    /// A layer of `delta` and how it was made: in this form, or, if the delta is not even here, in any.
    /// `None` if no layers are wanted.
    pub(crate) async fn any(
        &self,
        delta: &SnapshotKey,
        form: Form,
    ) -> Result<Option<(String, Layer)>, StepError> {
        let Some(workshop) = &self.workshop else { return Ok(None) };
        if let Some(found) = workshop.remote.any_layer(delta).await? {
            return Ok(Some(found));
        }
        let Some(making) = self.begin(delta, form, For::Cache) else { return Ok(None) };
        Ok(Some((form.id(), ended(making).await?)))
    }

    /// Makes the layers of `delta` anew when they are asked for the next time.
    pub(crate) fn forget(&self, delta: &SnapshotKey) {
        self.making.lock().expect("no holder panics").retain(|(made, _), _| made != delta);
    }

    /// Makes the layers that could not be made anew when they are asked for the next time.
    pub(crate) fn forget_failed(&self) {
        let has_failed = |making: &Making| matches!(making.clone().now_or_never(), Some(Err(_)));
        self.making.lock().expect("no holder panics").retain(|_, making| !has_failed(making));
    }

    fn begin(&self, delta: &SnapshotKey, form: Form, wanted: For) -> Option<Making> {
        let workshop = self.workshop.as_ref()?;
        let mut making = self.making.lock().expect("no holder panics");
        let entry = making.entry((*delta, form)).or_insert_with(|| match workshop.find(delta, form) {
            // To look takes less time than to wake another thread.
            Ok(Some(known)) => future::ready(Ok(known)).boxed().shared(),
            // An error comes again, where somebody waits for it.
            Ok(None) | Err(_) => begun(workshop.clone().layer(*delta, form, wanted)),
        });
        Some(entry.clone())
    }
}

/// Whom a layer is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// An image, and all who wait for its layers.
    Image,
    /// Other machines only.
    Cache,
}

fn begun(work: impl Future<Output = Result<Layer, StepError>> + Send + 'static) -> Making {
    let task = tokio::spawn(work);
    async move {
        task.await
            .unwrap_or_else(|panic| Err(StepError::Panicked(panic.to_string())))
            .map_err(Arc::new)
    }
    .boxed()
    .shared()
}

async fn ended(making: Making) -> Result<Layer, StepError> {
    making.await.map_err(|error| Arc::try_unwrap(error).unwrap_or_else(StepError::Shared))
}

impl Workshop {
    /// The layer of `delta`: from the store, from another machine, or made now.
    async fn layer(self: Arc<Self>, delta: SnapshotKey, form: Form, wanted: For) -> Result<Layer, StepError> {
        let workshop = self.clone();
        if let Some(known) = blocking(move || workshop.find(&delta, form)).await? {
            return Ok(known);
        }
        if let Some(layer) = self.remote.layer(&delta, &form.id()).await? {
            return Ok(layer);
        }
        self.remote.bring(&[delta]).await?;
        let workshop = self.clone();
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        blocking(move || {
            let layer = workshop.make(&delta, form, wanted)?;
            if wanted == For::Image {
                (workshop.on_layer)(&layer);
            }
            Ok(layer)
        })
        .await
    }

    /// The layer of `delta`, if the store has it.
    fn find(&self, delta: &SnapshotKey, form: Form) -> Result<Option<Layer>, StepError> {
        match self.store.layers().get(delta, &form.id())? {
            Some(record) if self.store.blobs().contains(&record.digest)? => Ok(Some(layer(record))),
            _ => Ok(None),
        }
    }

    /// Makes the layer of `delta`, and puts it in the store.
    fn make(&self, delta: &SnapshotKey, form: Form, wanted: For) -> Result<Layer, StepError> {
        let store = &self.store;
        let path = store.snapshots().path(delta)?.ok_or(StepError::DeltaMissing { key: *delta })?;
        // Members are of one compression.
        let members =
            self.members.as_ref().filter(|_| form.settings.compression == self.settings.compression);
        let on_growing: &dyn Fn(GrowingBlob) = match wanted {
            For::Image => &*self.on_growing,
            For::Cache => &|_| {},
        };
        let mut blob = LayerBlob::new(store.blobs().prehashed_writer()?, on_growing);
        let options = LayerOptions {
            compression: form.settings.compression,
            mtime: form.settings.mtime,
            layout: form.layout,
            known: members.cloned().map(|members| members as Arc<dyn KnownMembers>),
            ..LayerOptions::default()
        };
        let info = write_layer(&path, &options, &mut blob).map_err(StepError::Layer)?;
        blob.commit(info.descriptor())?;
        if let Some(members) = members {
            members.remember(&info)?;
        }
        let record = LayerRecord {
            diff_id: info.diff_id,
            digest: info.digest,
            size: info.size,
            media_type: info.media_type.to_owned(),
        };
        store.layers().put(delta, &form.id(), &record)?;
        if is_whole(&form.id()) {
            // A build that starts from this image needs not unpack what is here.
            store.layers().set_extracted(&record.diff_id, delta)?;
        }
        Ok(layer(record))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(StepError::Panicked(panic.to_string())))
}

fn layer(record: LayerRecord) -> Layer {
    Layer { descriptor: record.descriptor(), diff_id: record.diff_id, origin: None }
}

/// Everything besides the delta that decides a layer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    pub(crate) settings: LayerSettings,
    pub(crate) layout: Layout,
}

impl Form {
    /// As the store, and a build cache, names it.
    pub(crate) fn id(self) -> String {
        let mut id = self.settings.compression.id();
        if self.layout == Layout::Windows {
            id.push_str("-windows");
        }
        if let Some(seconds) = self.settings.mtime {
            id.push_str(&format!("={seconds}"));
        }
        id
    }
}

/// Whether the files of a layer of this name have one time for all, and not their own.
pub(crate) fn has_epoch(form: &str) -> bool {
    form.contains('=')
}

/// Whether the layer is that of a Windows image.
pub(crate) fn is_windows(form: &str) -> bool {
    form.contains("-windows")
}

/// Whether a build that starts from the layer may take the delta instead.
pub(crate) fn is_whole(form: &str) -> bool {
    !has_epoch(form) && !is_windows(form)
}
