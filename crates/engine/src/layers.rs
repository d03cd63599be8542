//! Deltas to layer blobs, each once, while other steps run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use archway_layer::{Compression, LayerOptions, Layout, write_layer};
use archway_store::{LayerRecord, SnapshotKey, Store};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

use crate::{Job, Layer, LayerSettings, StepError};

type Making = Shared<BoxFuture<'static, Result<Layer, Arc<StepError>>>>;

/// Makes layers from deltas.
pub(crate) struct LayerMaker {
    store: Store,
    settings: Option<LayerSettings>,
    on_layer: Arc<dyn Fn(&Layer) + Send + Sync>,
    /// Deltas that are being made into layers, or were.
    making: Mutex<HashMap<(SnapshotKey, Layout), Making>>,
}

impl LayerMaker {
    pub(crate) fn new(store: Store, job: &Job) -> Self {
        Self { store, settings: job.layers, on_layer: job.on_layer.clone(), making: Mutex::default() }
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
        let form = Form { settings: self.settings?, layout };
        let mut making = self.making.lock().expect("no holder panics");
        let entry = making.entry((*delta, layout)).or_insert_with(|| {
            let (store, delta, on_layer) = (self.store.clone(), *delta, self.on_layer.clone());
            let task = tokio::task::spawn_blocking(move || {
                if let Some(known) = find(&store, &delta, form)? {
                    return Ok(known);
                }
                let layer = make(&store, &delta, form)?;
                on_layer(&layer);
                Ok(layer)
            });
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

/// The layer of `delta`, if the store has it.
fn find(store: &Store, delta: &SnapshotKey, form: Form) -> Result<Option<Layer>, StepError> {
    match store.layers().get(delta, &form.id())? {
        Some(record) if store.blobs().contains(&record.digest)? => Ok(Some(layer(record))),
        _ => Ok(None),
    }
}

/// Makes the layer of `delta`, and puts it in the store.
fn make(store: &Store, delta: &SnapshotKey, form: Form) -> Result<Layer, StepError> {
    let path = store.snapshots().path(delta)?.ok_or(StepError::DeltaMissing { key: *delta })?;
    let mut writer = store.blobs().writer()?;
    let options = LayerOptions {
        compression: form.settings.compression,
        mtime: form.settings.mtime,
        layout: form.layout,
        ..LayerOptions::default()
    };
    let info = write_layer(&path, &options, &mut writer).map_err(StepError::Layer)?;
    writer.commit(Some(&info.digest))?;
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
        let mut id = match self.settings.compression {
            Compression::None => "tar".to_owned(),
            Compression::Gzip { level } => format!("gzip-{level}"),
            Compression::Zstd { level } => format!("zstd-{level}"),
        };
        if self.layout == Layout::Windows {
            id.push_str("-windows");
        }
        if let Some(seconds) = self.settings.mtime {
            id.push_str(&format!("={seconds}"));
        }
        id
    }
}
