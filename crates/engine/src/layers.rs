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
    future::{BoxFuture, Shared},
};
use tokio::sync::Semaphore;

use self::{blob::LayerBlob, members::Members};
use crate::{Job, Layer, LayerSettings, StepError};

type Making = Shared<BoxFuture<'static, Result<Layer, Arc<StepError>>>>;

/// Makes layers from deltas.
pub(crate) struct LayerMaker {
    /// `None` if no layers are wanted.
    workshop: Option<Arc<Workshop>>,
    /// Deltas that are being made into layers, or were.
    making: Mutex<HashMap<(SnapshotKey, Layout), Making>>,
}

/// What it takes to make a layer.
struct Workshop {
    store: Store,
    settings: LayerSettings,
    /// Members of the layers that were made before, in this build or an earlier one.
    members: Option<Arc<Members>>,
    on_layer: Arc<dyn Fn(&Layer) + Send + Sync>,
    on_growing: Arc<dyn Fn(GrowingBlob) + Send + Sync>,
    /// Layers that are read at the same time. Those who compress are the same few for all of them.
    places: Semaphore,
}

impl LayerMaker {
    pub(crate) fn new(store: Store, job: &Job) -> Self {
        let workshop = job.layers.map(|settings| {
            let compressed = settings.compression != Compression::None;
            Arc::new(Workshop {
                members: compressed.then(|| Arc::new(Members::new(&store, settings.compression))),
                store,
                settings,
                on_layer: job.on_layer.clone(),
                on_growing: job.on_growing.clone(),
                places: Semaphore::new(available_parallelism().map_or(1, usize::from)),
            })
        });
        Self { workshop, making: Mutex::default() }
    }

    /// Begins to make the layer of `delta`, unless it has begun already or no layers are wanted.
    pub(crate) fn start(&self, delta: &SnapshotKey, layout: Layout) {
        let _ = self.begin(delta, layout);
    }

    /// The layer of `delta`; `None` if no layers are wanted.
    pub(crate) async fn wait(&self, delta: &SnapshotKey, layout: Layout) -> Result<Option<Layer>, StepError> {
        let Some(making) = self.begin(delta, layout) else { return Ok(None) };
        match making.await {
            Ok(layer) => Ok(Some(layer)),
            Err(error) => Err(Arc::try_unwrap(error).unwrap_or_else(StepError::Shared)),
        }
    }

    fn begin(&self, delta: &SnapshotKey, layout: Layout) -> Option<Making> {
        let workshop = self.workshop.as_ref()?;
        let mut making = self.making.lock().expect("no holder panics");
        let entry = making.entry((*delta, layout)).or_insert_with(|| {
            let task = tokio::spawn(workshop.clone().layer(*delta, layout));
            async move {
                task.await
                    .unwrap_or_else(|panic| Err(StepError::Panicked(panic.to_string())))
                    .map_err(Arc::new)
            }
            .boxed()
            .shared()
        });
        Some(entry.clone())
    }
}

impl Workshop {
    /// The layer of `delta`, found or made.
    async fn layer(self: Arc<Self>, delta: SnapshotKey, layout: Layout) -> Result<Layer, StepError> {
        let workshop = self.clone();
        let _place = workshop.places.acquire().await.expect("the semaphore is never closed");
        let work = move || {
            let form = Form { settings: self.settings, layout };
            if let Some(known) = self.find(&delta, form)? {
                return Ok(known);
            }
            let layer = self.make(&delta, form)?;
            (self.on_layer)(&layer);
            Ok(layer)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|panic| Err(StepError::Panicked(panic.to_string())))
    }

    /// The layer of `delta`, if the store has it.
    fn find(&self, delta: &SnapshotKey, form: Form) -> Result<Option<Layer>, StepError> {
        match self.store.layers().get(delta, &form.id())? {
            Some(record) if self.store.blobs().contains(&record.digest)? => Ok(Some(layer(record))),
            _ => Ok(None),
        }
    }

    /// Makes the layer of `delta`, and puts it in the store.
    fn make(&self, delta: &SnapshotKey, form: Form) -> Result<Layer, StepError> {
        let store = &self.store;
        let path = store.snapshots().path(delta)?.ok_or(StepError::DeltaMissing { key: *delta })?;
        let mut blob = LayerBlob::new(store.blobs().prehashed_writer()?, &*self.on_growing);
        let options = LayerOptions {
            compression: form.settings.compression,
            mtime: form.settings.mtime,
            layout: form.layout,
            known: self.members.clone().map(|members| members as Arc<dyn KnownMembers>),
            ..LayerOptions::default()
        };
        let info = write_layer(&path, &options, &mut blob).map_err(StepError::Layer)?;
        blob.commit(info.descriptor())?;
        if let Some(members) = &self.members {
            members.remember(&info)?;
        }
        let record = LayerRecord {
            diff_id: info.diff_id,
            digest: info.digest,
            size: info.size,
            media_type: info.media_type.to_owned(),
        };
        store.layers().put(delta, &form.id(), &record)?;
        if form.settings.mtime.is_none() && form.layout == Layout::Unix {
            // A build that starts from this image needs not unpack what is here.
            store.layers().set_extracted(&record.diff_id, delta)?;
        }
        Ok(layer(record))
    }
}

fn layer(record: LayerRecord) -> Layer {
    Layer { descriptor: record.descriptor(), diff_id: record.diff_id, origin: None }
}

/// Everything besides the delta that decides a layer's bytes.
#[derive(Debug, Clone, Copy)]
struct Form {
    settings: LayerSettings,
    layout: Layout,
}

impl Form {
    /// As the store names it.
    fn id(self) -> String {
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
