//! Blobs of base images from their registry into the store.

use std::{io::Write as _, sync::LazyLock};

use archway_registry::{BlobReader, Client};
use archway_report::{Event, Events, TransferKind};
use archway_store::{GrowingBlob, GrowingReader, Lock, Store};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Layer, error::StepError, image::lock};

/// Blobs that this process downloads at the same time, from whatever registry.
const PARALLEL: usize = 6;
/// Bytes between two progress events of a download.
const PROGRESS_STEP: u64 = 1 << 20;

static DOWNLOADING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(PARALLEL));

/// A download that has begun. Its bytes may be read while they arrive.
pub(crate) struct Pull<'a> {
    store: &'a Store,
    events: &'a Events,
    image: &'a str,
    layer: &'a Layer,
    from: BlobReader,
    blob: GrowingBlob,
    /// No other platform or process downloads the same.
    _lock: Lock,
    _slot: SemaphorePermit<'static>,
}

impl<'a> Pull<'a> {
    /// Begins to download the blob of `layer`; `None` if it is in the store, or is in no registry.
    pub(crate) async fn begin(
        store: &'a Store,
        registry: &Client,
        events: &'a Events,
        image: &'a str,
        layer: &'a Layer,
    ) -> Result<Option<Self>, StepError> {
        let descriptor = &layer.descriptor;
        let Some(origin) = &layer.origin else { return Ok(None) };
        if store.blobs().contains(&descriptor.digest)? {
            return Ok(None);
        }
        // Another platform, or another process, may be at it.
        let lock = lock(store, format!("pull {}", descriptor.digest)).await?;
        if store.blobs().contains(&descriptor.digest)? {
            return Ok(None);
        }
        let slot = DOWNLOADING.acquire().await.expect("the semaphore is never closed");
        let from = registry.blob_reader(origin, descriptor).await.map_err(failed(image))?;
        let blob = store.blobs().growing_writer()?;
        Ok(Some(Self { store, events, image, layer, from, blob, _lock: lock, _slot: slot }))
    }

    /// The bytes as they arrive. They end only if size and digest are right.
    pub(crate) fn reader(&self) -> Result<GrowingReader, StepError> {
        Ok(self.blob.reader()?)
    }

    /// Downloads to the end.
    pub(crate) async fn run(mut self) -> Result<(), StepError> {
        let (mut received, mut told) = (0, 0);
        // After the last chunk the reader has checked size and digest.
        while let Some(chunk) = self.from.chunk().await.map_err(failed(self.image))? {
            self.blob.write_all(&chunk).map_err(StepError::io(self.store.root()))?;
            received += chunk.len() as u64;
            if received - told >= PROGRESS_STEP {
                told = received;
                self.events.send(progress(self.layer, received, false));
            }
        }
        self.blob.commit(&self.layer.descriptor.digest)?;
        self.events.send(progress(self.layer, received, true));
        Ok(())
    }
}

/// Brings the blob of a layer into the store, if it is not there.
pub(crate) async fn blob(
    store: &Store,
    registry: &Client,
    events: &Events,
    image: &str,
    layer: &Layer,
) -> Result<(), StepError> {
    match Pull::begin(store, registry, events, image, layer).await? {
        Some(pull) => pull.run().await,
        None => Ok(()),
    }
}

fn failed(image: &str) -> impl Fn(archway_registry::Error) -> StepError + use<'_> {
    |source| StepError::Pull { image: image.to_owned(), source }
}

fn progress(layer: &Layer, current: u64, done: bool) -> Event {
    let name = format!("sha256:{}", layer.descriptor.digest.short());
    let total = Some(layer.descriptor.size);
    Event::Transfer { name, kind: TransferKind::Pull, current, total, done }
}
