//! Results that other machines made: found by their records, fetched only when a step reads them.
//!
//! After the store has nothing for a key, the records are asked. A hit is a delta whose key is known
//! and whose files are not here: enough for the keys of all steps above it, and for the manifest of an
//! image, which names the layer where it is. Only what reads files - a step that has to run, a copy that
//! has to be made - brings a delta into the store, from its layer.
//!
//! A layer that turns out to be gone or damaged is forgotten, and the steps that stood on it are looked
//! up anew, see `attempt`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
};

use archway_cache::{Entry, Form, Outcome};
use archway_layer::{
    Layout,
    extract::{ExtractOptions, Extracted, Ownership, apply_layer},
};
use archway_oci::{Descriptor, Reference, media_type};
use archway_report::{Event, Events};
use archway_store::{About, CacheKey, CacheRecord, LayerRecord, SnapshotKey, SnapshotKind, Store};
use futures_util::future::{BoxFuture, try_join_all};
use jiff::Timestamp;

use crate::{Layer, StepError, image, key::Key, layers, step::Delta};

/// Why a layer of a build cache could not be had.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where the layers of a build cache are.
pub trait LayerSource: Send + Sync {
    /// As people know it.
    fn name(&self) -> &str;

    /// The repository that has its blobs, if it is one: images then name them where they are.
    fn repository(&self) -> Option<&Reference>;

    /// Whether a blob is there.
    fn contains<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, SourceError>>;

    /// Brings a blob into the store, if it is not there; its digest is checked.
    fn fetch<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<(), SourceError>>;
}

/// What build caches know.
#[derive(Default)]
pub struct RemoteResults {
    records: HashMap<CacheKey, Outcome>,
    layers: HashMap<SnapshotKey, Vec<RemoteLayer>>,
    /// Deltas whose layers cannot be read.
    unreadable: Mutex<HashSet<SnapshotKey>>,
}

#[derive(Clone)]
struct RemoteLayer {
    /// How it was made, as the store names it.
    form_name: String,
    form: Form,
    source: Arc<dyn LayerSource>,
}

impl RemoteResults {
    /// Adds what `source` knows. What was added before stays.
    pub fn add(&mut self, entry: Entry, source: &Arc<dyn LayerSource>) {
        for (key, record) in entry.records {
            self.records.entry(key).or_insert(record.outcome);
        }
        for ((snapshot, form_name), form) in entry.forms {
            let layer = RemoteLayer { form_name, form, source: source.clone() };
            self.layers.entry(snapshot).or_default().push(layer);
        }
    }

    /// How many results there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn is_readable(&self, snapshot: &SnapshotKey) -> bool {
        self.layers.contains_key(snapshot)
            && !self.unreadable.lock().expect("no holder panics").contains(snapshot)
    }

    /// The layer to unpack: one with the files' own times, if there is.
    fn layer_to_read(&self, snapshot: &SnapshotKey) -> Option<&RemoteLayer> {
        self.layers.get(snapshot)?.iter().min_by_key(|layer| layers::has_epoch(&layer.form_name))
    }
}

impl fmt::Debug for RemoteResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteResults({})", self.records.len())
    }
}

/// [`RemoteResults`], and what it takes to bring their deltas here.
pub(crate) struct Remote {
    results: Arc<RemoteResults>,
    store: Store,
    ownership: Ownership,
    events: Events,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.results.fmt(f)
    }
}

impl Remote {
    pub(crate) fn new(
        results: Arc<RemoteResults>,
        store: Store,
        ownership: Ownership,
        events: Events,
    ) -> Self {
        Self { results, store, ownership, events }
    }

    /// The delta that somebody has for `key`.
    pub(crate) fn find(&self, key: Key) -> Option<Delta> {
        match self.results.records.get(&CacheKey::from(key))? {
            Outcome::Delta { created, snapshot } if self.results.is_readable(snapshot) => {
                let created = Timestamp::from_second(*created).ok()?;
                Some(Delta { key: *snapshot, created, cached: true })
            }
            _ => None,
        }
    }

    /// The fact that somebody knows for `key`.
    pub(crate) fn fact(&self, key: Key) -> Option<Key> {
        match self.results.records.get(&CacheKey::from(key))? {
            Outcome::Fact(fact) => Some((*fact).into()),
            Outcome::Delta { .. } => None,
        }
    }

    /// The layer of a delta, made in this way, where it is. One that no image can name where it is gets
    /// brought here.
    pub(crate) async fn layer(
        &self,
        snapshot: &SnapshotKey,
        form_name: &str,
    ) -> Result<Option<Layer>, StepError> {
        let layers = self.results.layers.get(snapshot);
        let found = layers.and_then(|all| all.iter().find(|layer| layer.form_name == form_name));
        match found.filter(|_| self.results.is_readable(snapshot)) {
            None => Ok(None),
            Some(layer) => self.named(snapshot, layer).await.map(Some),
        }
    }

    /// Any layer of a delta that is not here, and how it was made.
    pub(crate) async fn any_layer(
        &self,
        snapshot: &SnapshotKey,
    ) -> Result<Option<(String, Layer)>, StepError> {
        if self.store.snapshots().path(snapshot)?.is_some() || !self.results.is_readable(snapshot) {
            return Ok(None);
        }
        let Some(layer) = self.results.layer_to_read(snapshot) else { return Ok(None) };
        Ok(Some((layer.form_name.clone(), self.named(snapshot, layer).await?)))
    }

    async fn named(&self, snapshot: &SnapshotKey, layer: &RemoteLayer) -> Result<Layer, StepError> {
        let descriptor = layer.form.descriptor();
        let failed = |source| unreadable(*snapshot, layer, source);
        let origin = layer.source.repository().cloned();
        if origin.is_none() {
            layer.source.fetch(&descriptor).await.map_err(failed)?;
        } else if !layer.source.contains(&descriptor).await.map_err(failed)? {
            return Err(unreadable(*snapshot, layer, "it is not there".into()));
        }
        Ok(Layer { descriptor, diff_id: layer.form.diff_id.clone(), origin })
    }

    /// Brings the deltas that are not in the store there, all at the same time.
    pub(crate) async fn bring(&self, deltas: &[SnapshotKey]) -> Result<(), StepError> {
        let mut missing = Vec::new();
        for delta in deltas {
            if self.results.layers.contains_key(delta) && self.store.snapshots().path(delta)?.is_none() {
                missing.push(*delta);
            }
        }
        try_join_all(missing.into_iter().map(|delta| self.fetch(delta))).await.map(drop)
    }

    async fn fetch(&self, snapshot: SnapshotKey) -> Result<(), StepError> {
        // Another process, or another platform, may be at it.
        let _lock = image::lock(&self.store, snapshot.to_string()).await?;
        if self.store.snapshots().path(&snapshot)?.is_some() {
            return Ok(());
        }
        let layer = self.results.layer_to_read(&snapshot).ok_or(StepError::DeltaMissing { key: snapshot })?;
        let fetched = layer.source.fetch(&layer.form.descriptor()).await;
        fetched.map_err(|source| unreadable(snapshot, layer, source))?;
        let (store, ownership, own) = (self.store.clone(), self.ownership, layer.clone());
        let unpacked = tokio::task::spawn_blocking(move || unpack(&store, ownership, snapshot, &own));
        let extracted = unpacked.await.map_err(|panic| StepError::Panicked(panic.to_string()))??;
        if !extracted.skipped_devices.is_empty() {
            let message = image::skipped(layer.source.name(), &extracted.skipped_devices);
            self.events.send(Event::Warning { message });
        }
        self.remember(snapshot, layer)
    }

    /// What is here now is found without the cache the next time.
    fn remember(&self, snapshot: SnapshotKey, layer: &RemoteLayer) -> Result<(), StepError> {
        let Form { diff_id, digest, size, media_type } = layer.form.clone();
        let record = LayerRecord { diff_id, digest, size, media_type };
        self.store.layers().put(&snapshot, &layer.form_name, &record)?;
        if layers::is_whole(&layer.form_name) {
            self.store.layers().set_extracted(&record.diff_id, &snapshot)?;
        }
        let description = format!("from the build cache {}", layer.source.name());
        let about = About { kind: SnapshotKind::Step, description, platform: None, parent: None };
        for (key, outcome) in &self.results.records {
            if let Outcome::Delta { created, snapshot: of } = outcome
                && *of == snapshot
                && let Ok(created) = Timestamp::from_second(*created)
                && self.store.cache().get(key)?.is_none()
            {
                let record = CacheRecord { snapshot: Some(snapshot), created, metadata: String::new() };
                self.store.cache().put_about(key, &record, &about)?;
            }
        }
        Ok(())
    }

    /// Forgets a delta that cannot be read, and says so, once.
    pub(crate) fn forget(&self, snapshot: SnapshotKey, why: &StepError) {
        if self.results.unreadable.lock().expect("no holder panics").insert(snapshot) {
            let cause = std::error::Error::source(why).map(|cause| format!(": {cause}")).unwrap_or_default();
            let message = format!("{why}{cause}; the steps it came from run again");
            self.events.send(Event::Warning { message });
        }
    }
}

/// Unpacks a layer to the delta that it was made of.
fn unpack(
    store: &Store,
    ownership: Ownership,
    snapshot: SnapshotKey,
    layer: &RemoteLayer,
) -> Result<Extracted, StepError> {
    let failed = |source| unreadable(snapshot, layer, source);
    let blob = store.blobs().open(&layer.form.digest)?;
    let blob = blob.ok_or_else(|| StepError::BlobMissing { digest: layer.form.digest.clone() })?;
    let compression = media_type::layer_compression(&layer.form.media_type)
        .ok_or_else(|| failed("its type is unknown".into()))?;
    let layout = if layers::is_windows(&layer.form_name) { Layout::Windows } else { Layout::Unix };
    let options = ExtractOptions { ownership, layout, ..ExtractOptions::default() };
    let pending = store.snapshots().begin()?;
    let extracted = apply_layer(blob, compression, pending.delta(), &options)
        .map_err(|source| failed(Box::new(source)))?;
    if extracted.diff_id != layer.form.diff_id {
        let problem = format!("its diffID is {}, not {}", extracted.diff_id, layer.form.diff_id);
        return Err(failed(problem.into()));
    }
    if extracted.opaque_root || !extracted.implied_directories.is_empty() {
        return Err(failed("it is no delta of a step".into()));
    }
    store.snapshots().commit(pending, &snapshot)?;
    Ok(extracted)
}

fn unreadable(snapshot: SnapshotKey, layer: &RemoteLayer, source: SourceError) -> StepError {
    StepError::RemoteDelta {
        snapshot,
        layer: layer.form.digest.clone(),
        cache: layer.source.name().to_owned(),
        source,
    }
}
