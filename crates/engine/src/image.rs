//! Base images: their layers become deltas when, and only when, a step reads them.

use std::{
    cmp::Reverse,
    io::Read,
    path::PathBuf,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
    time::Duration,
};

use archway_layer::{
    Layout,
    extract::{ExtractOptions, Ownership, apply_layer},
};
use archway_oci::{Descriptor, Digest, ImageConfig, Manifest, Reference, media_type};
use archway_registry::Client;
use archway_report::{Event, Events, StepId, StepOutcome};
use archway_store::{About, Lock, SnapshotKey, SnapshotKind, Store};
use futures_util::future::{join, try_join_all};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::Instant,
};

use crate::{
    Engine, Layer,
    error::StepError,
    key::{self, Key},
    pull::Pull,
    stack::{self, LayerFacts},
};

/// Time until a lock that is not free is asked for again, which doubles each time.
const LOCK_DELAY: Duration = Duration::from_millis(1);
const LONGEST_LOCK_DELAY: Duration = Duration::from_millis(50);

/// Layers that this process unpacks at the same time: each one keeps a processor busy.
static UNPACKING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// A base image for one platform, as it was resolved before the build.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseImage {
    /// As the Dockerfile names it.
    pub name: String,
    /// Where its blobs are; `None`: in the local store.
    pub origin: Option<Reference>,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

impl BaseImage {
    /// An image that can be built on.
    ///
    /// # Errors
    /// When its manifest and its config do not agree, or a layer is of a type that nobody here knows.
    pub fn new(
        name: String,
        origin: Option<Reference>,
        manifest: Manifest,
        config: ImageConfig,
    ) -> Result<Self, StepError> {
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(StepError::LayerCount { image: name, layers, diff_ids });
        }
        let unknown = |layer: &&Descriptor| media_type::layer_compression(&layer.media_type).is_none();
        if let Some(layer) = manifest.layers.iter().find(unknown) {
            return Err(StepError::LayerType { image: name, media_type: layer.media_type.clone() });
        }
        Ok(Self { name, origin, manifest, config })
    }

    /// How paths stand in its layers, and in those that are put on top of them.
    pub(crate) fn layout(&self) -> Layout {
        if self.config.platform.os == "windows" { Layout::Windows } else { Layout::Unix }
    }

    /// Its layers, base first.
    pub fn layers(&self) -> Vec<Layer> {
        self.manifest
            .layers
            .iter()
            .zip(&self.config.rootfs.diff_ids)
            .map(|(descriptor, diff_id)| Layer {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
                origin: self.origin.clone(),
            })
            .collect()
    }
}

/// A base image whose layers may not be on disk yet.
pub(crate) struct LazyImage {
    image: Arc<BaseImage>,
    store: Store,
    registry: Client,
    ownership: Ownership,
    events: Events,
    /// The step to report the fetching as.
    step: Option<StepId>,
    /// Their keys are known before they are on disk, base first.
    deltas: Vec<SnapshotKey>,
    /// What to mount, bottom first.
    lowers: OnceCell<Arc<[PathBuf]>>,
}

impl std::fmt::Debug for LazyImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LazyImage({})", self.image.name)
    }
}

impl LazyImage {
    pub(crate) fn new(
        engine: &Engine,
        image: Arc<BaseImage>,
        events: Events,
        step: Option<StepId>,
    ) -> Result<Self, StepError> {
        let (store, registry, ownership) = (engine.store.clone(), engine.registry.clone(), engine.ownership);
        let layout = image.layout();
        let delta = |diff_id: &Digest| -> Result<SnapshotKey, StepError> {
            let unpacked = key::layer_delta(diff_id, ownership, layout).into();
            if layout == Layout::Windows {
                return Ok(unpacked);
            }
            // A layer that was built here has its delta already.
            let known = store.layers().extracted(diff_id)?.filter(|_| ownership == Ownership::Keep);
            Ok(known.filter(|known| !is_squashed(diff_id, *known)).unwrap_or(unpacked))
        };
        let deltas = image.config.rootfs.diff_ids.iter().map(delta).collect::<Result<_, _>>()?;
        Ok(Self { image, store, registry, ownership, events, step, deltas, lowers: OnceCell::new() })
    }

    pub(crate) fn identity(&self) -> Key {
        key::image(&self.image.config.rootfs.diff_ids, self.ownership, self.image.layout())
    }

    /// Whether every layer is on disk.
    pub(crate) fn is_here(&self) -> Result<bool, StepError> {
        for (diff_id, delta) in self.image.config.rootfs.diff_ids.iter().zip(&self.deltas) {
            if facts(&self.store, diff_id, *delta)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches and unpacks what is missing, all layers at the same time, once. Gives the directories to
    /// mount, bottom first.
    pub(crate) async fn materialize(&self) -> Result<Arc<[PathBuf]>, StepError> {
        self.lowers.get_or_try_init(|| self.lowers()).await.cloned()
    }

    async fn lowers(&self) -> Result<Arc<[PathBuf]>, StepError> {
        self.fetch_all().await?;
        let (store, image, deltas) = (self.store.clone(), self.image.clone(), self.deltas.clone());
        let lowers = tokio::task::spawn_blocking(move || {
            let mut layers = Vec::with_capacity(deltas.len());
            for (diff_id, delta) in image.config.rootfs.diff_ids.iter().zip(deltas) {
                let facts = facts(&store, diff_id, delta)?;
                layers.push((delta, facts.ok_or(StepError::DeltaMissing { key: delta })?));
            }
            stack::lowers(&store, &layers)
        });
        Ok(lowers.await.map_err(|panic| StepError::Panicked(panic.to_string()))??.into())
    }

    async fn fetch_all(&self) -> Result<(), StepError> {
        if self.is_here()? {
            return Ok(());
        }
        let started = Instant::now();
        if let Some(step) = self.step {
            self.events.send(Event::StepStarted { step });
        }
        let mut layers: Vec<_> = self.image.layers().into_iter().zip(&self.deltas).collect();
        // The largest decides when all are there.
        layers.sort_by_key(|(layer, _)| Reverse(layer.descriptor.size));
        let fetched = layers.into_iter().map(|(layer, delta)| self.fetch(layer, *delta));
        let result = try_join_all(fetched).await;
        if let Some(step) = self.step {
            let outcome = match &result {
                Ok(_) => StepOutcome::Done,
                Err(error) => StepOutcome::Failed { message: error.to_string() },
            };
            self.events.send(Event::StepFinished { step, outcome, duration: started.elapsed() });
        }
        result.map(|_| ())
    }

    /// One layer: its blob to the store if needed, and, while it comes, its delta.
    async fn fetch(&self, layer: Layer, delta: SnapshotKey) -> Result<(), StepError> {
        // Another process, or another platform with the same layer, may be at it.
        let _lock = lock(&self.store, delta.to_string()).await?;
        if facts(&self.store, &layer.diff_id, delta)?.is_some() {
            return Ok(());
        }
        let (image, events) = (&self.image.name, &self.events);
        match Pull::begin(&self.store, &self.registry, events, image, &layer).await? {
            None => {
                let digest = &layer.descriptor.digest;
                let blob = self.store.blobs().open(digest)?;
                let blob = blob.ok_or_else(|| StepError::BlobMissing { digest: digest.clone() })?;
                self.unpack(&layer, delta, blob).await
            }
            Some(pull) => {
                let growing = pull.reader()?;
                let (pulled, unpacked) = join(pull.run(), self.unpack(&layer, delta, growing)).await;
                // What cannot be unpacked may just be damaged on its way.
                pulled.and(unpacked)
            }
        }
    }

    /// What its layers are in the store. One that other images have too stays named after the first.
    fn about(&self) -> About {
        About {
            kind: SnapshotKind::BaseLayer,
            description: format!("layer of {}", self.image.name),
            platform: Some(self.image.config.platform.to_string()),
            parent: None,
        }
    }

    /// Unpacks `blob`. It is committed only if it could be read to its end and has its diffID; a reader
    /// that follows a download comes to its end only if the digest is right.
    async fn unpack(
        &self,
        layer: &Layer,
        delta: SnapshotKey,
        blob: impl Read + Send + 'static,
    ) -> Result<(), StepError> {
        let layer = layer.clone();
        let slot = UNPACKING.acquire().await.expect("the semaphore is never closed");
        let store = self.store.clone();
        let name = self.image.name.clone();
        let events = self.events.clone();
        let layout = self.image.layout();
        let about = self.about();
        let options = ExtractOptions { ownership: self.ownership, layout, ..ExtractOptions::default() };
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let extract = |source| StepError::Extract { image: name.clone(), source };
            let compression = media_type::layer_compression(&layer.descriptor.media_type)
                .expect("an image with layers of unknown type is refused");
            let pending = store.snapshots().begin()?;
            let extracted = apply_layer(blob, compression, pending.delta(), &options).map_err(extract)?;
            if extracted.diff_id != layer.diff_id {
                return Err(StepError::DiffIdMismatch {
                    image: name,
                    layer: layer.descriptor.digest,
                    expected: layer.diff_id,
                    actual: extracted.diff_id,
                });
            }
            store.snapshots().commit(pending, &delta)?;
            if !extracted.skipped_devices.is_empty() {
                let message = skipped(&name, &extracted.skipped_devices);
                events.send(Event::Warning { message });
            }
            LayerFacts::of(&extracted).remember(&store, delta, &about)?;
            if layout == Layout::Unix {
                store.layers().set_extracted(&layer.diff_id, &delta)?;
            }
            Ok(())
        })
        .await
        .map_err(|panic| StepError::Panicked(panic.to_string()))?
    }
}

/// What is to be known of the layer in `delta`; `None` if the layer has to be unpacked.
fn facts(store: &Store, diff_id: &Digest, delta: SnapshotKey) -> Result<Option<LayerFacts>, StepError> {
    if store.snapshots().path(&delta)?.is_none() {
        return Ok(None);
    }
    // A delta that a step made here has all it needs.
    let is = |ownership, layout| delta == key::layer_delta(diff_id, ownership, layout).into();
    let was_unpacked = [Layout::Unix, Layout::Windows]
        .into_iter()
        .any(|layout| is(Ownership::Keep, layout) || is(Ownership::Squash, layout));
    if was_unpacked { LayerFacts::find(store, delta) } else { Ok(Some(LayerFacts::default())) }
}

/// Whether `delta` was unpacked where a single user id is all there is.
fn is_squashed(diff_id: &Digest, delta: SnapshotKey) -> bool {
    delta == key::layer_delta(diff_id, Ownership::Squash, Layout::Unix).into()
}

pub(crate) fn skipped(image: &str, devices: &[PathBuf]) -> String {
    let names: Vec<String> = devices.iter().take(3).map(|path| format!("/{}", path.display())).collect();
    let more = if devices.len() > names.len() { ", …" } else { "" };
    format!(
        "only root can make device files: {} of {image} are left out ({}{more})",
        devices.len(),
        names.join(", ")
    )
}

/// Takes a lock of the store. Somebody else may hold it for as long as a step takes, so it is asked for
/// again and again: a thread that waits for it could not be cancelled.
pub(crate) async fn lock(store: &Store, name: String) -> Result<Lock, StepError> {
    let mut delay = LOCK_DELAY;
    loop {
        if let Some(lock) = store.try_lock(&name)? {
            return Ok(lock);
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_LOCK_DELAY);
    }
}
