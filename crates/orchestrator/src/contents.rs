//! The files of images that exist, wherever their layers are: each layer is read once, streaming, for all
//! images that have it and for all that want to know something of it.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::Arc,
    thread::available_parallelism,
};

use archway_layer::{
    Layout,
    contents::{Budget, Contents, ContentsError, ReadLayer, ReadOptions, Selector, read_layer},
};
use archway_oci::{
    Descriptor, Digest, Manifest, Platform, Reference,
    digest::Hasher,
    media_type::{LayerCompression, layer_compression},
};
use archway_report::{Event, TransferKind};
use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::{
    Context, Error,
    origin::{Found, Origin},
};

/// Layers that are read at the same time, at most; each has a download and three threads.
const MOST_AT_ONCE: usize = 6;
/// Pieces of a download that wait to be read.
const AHEAD: usize = 16;
/// Bytes between two progress events of a download.
const PROGRESS_STEP: u64 = 1 << 20;
/// Bytes of memory that files and names of all layers may take together.
const MEMORY: u64 = 2 << 30;

/// Those who want to know something of files. What each keeps is found by its place here.
pub type Selectors = Arc<[Arc<dyn Selector + Send + Sync>]>;

/// A layer as images name it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The blob.
    pub descriptor: Descriptor,
    /// How paths stand in it.
    pub layout: Layout,
}

/// Why the bytes of a blob are not those of its descriptor, or not those of a layer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not where it should be.
    #[error("blob {digest} is missing")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// It is longer or shorter.
    #[error("blob {digest} has {actual} bytes, and not {expected}")]
    Size {
        /// Its digest.
        digest: Digest,
        /// In the descriptor.
        expected: u64,
        /// Found; one more than expected stands for any larger number.
        actual: u64,
    },
    /// It has other content.
    #[error("blob {expected} has other content: its digest is {actual}")]
    Digest {
        /// In the descriptor.
        expected: Digest,
        /// That of the bytes.
        actual: Digest,
    },
    /// The blob is what its descriptor says, and no layer.
    #[error("blob {digest} cannot be unpacked")]
    Unreadable {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: ContentsError,
    },
}

/// Layers that were read.
#[derive(Debug, Default)]
pub struct Layers {
    read: BTreeMap<(Digest, Layout), Result<ReadLayer, Arc<Fault>>>,
    /// Size of all that were read.
    bytes: u64,
}

impl Layers {
    /// Reads `wanted` from where `found` is, equal ones once, the largest first.
    ///
    /// # Errors
    /// Where it could not be found out what a blob is: no connection, no right to read it. What is wrong with
    /// a blob itself is a [`Fault`].
    pub async fn read(
        context: &Context,
        found: &Arc<Found>,
        wanted: impl IntoIterator<Item = Wanted>,
        selectors: &Selectors,
    ) -> Result<Self, Error> {
        let distinct: BTreeMap<(Digest, Layout), Wanted> = wanted
            .into_iter()
            .map(|wanted| ((wanted.descriptor.digest.clone(), wanted.layout), wanted))
            .collect();
        let mut order: Vec<Wanted> = distinct.into_values().collect();
        order.sort_by_key(|wanted| std::cmp::Reverse(wanted.descriptor.size));
        let budget = Budget::new(MEMORY);
        let reading = order.into_iter().map(|wanted| {
            let options =
                ReadOptions { layout: wanted.layout, budget: Arc::clone(&budget), ..ReadOptions::default() };
            let (found, selectors) = (Arc::clone(found), Arc::clone(selectors));
            async move {
                let read = read(context, found, &wanted.descriptor, options, selectors).await?;
                Ok::<_, Error>((wanted, read.map_err(Arc::new)))
            }
        });
        let at_once = available_parallelism().map_or(1, usize::from).clamp(2, MOST_AT_ONCE);
        let mut reading = stream::iter(reading.collect::<Vec<_>>()).buffer_unordered(at_once);
        let mut layers = Self::default();
        while let Some(read) = reading.next().await {
            let (Wanted { descriptor, layout }, read) = read?;
            layers.bytes += if read.is_ok() { descriptor.size } else { 0 };
            layers.read.insert((descriptor.digest, layout), read);
        }
        Ok(layers)
    }

    /// A layer; `None`: it was not asked for.
    pub fn get(&self, digest: &Digest, layout: Layout) -> Option<&Result<ReadLayer, Arc<Fault>>> {
        self.read.get(&(digest.clone(), layout))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read.len()
    }

    /// Size in bytes of those whose blob is good.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// The root file system of an image, with what the selector at `place` kept; `None` if one of its layers
    /// was not read, or could not be.
    pub fn contents(&self, manifest: &Manifest, layout: Layout, place: usize) -> Option<Contents> {
        let layers = manifest.layers.iter().map(|layer| {
            let read = self.get(&layer.digest, layout)?.as_ref().ok()?;
            read.contents.get(place)
        });
        Some(Contents::stack(layers.collect::<Option<Vec<_>>>()?))
    }
}

/// How paths stand in the layers of an image.
pub fn layout(platform: &Platform) -> Layout {
    if platform.os == "windows" { Layout::Windows } else { Layout::Unix }
}

/// The root file systems of images, each with what the selectors kept of it, in their order.
///
/// # Errors
/// Also if a layer is not what its descriptor says.
pub async fn of_images(
    context: &Context,
    found: &Arc<Found>,
    images: &[(Platform, Manifest)],
    selectors: &Selectors,
) -> Result<Vec<Vec<Contents>>, Error> {
    let wanted = images.iter().flat_map(|(platform, manifest)| {
        let layout = layout(platform);
        manifest.layers.iter().map(move |layer| Wanted { descriptor: layer.clone(), layout })
    });
    let mut layers = Layers::read(context, found, wanted, selectors).await?;
    let faulty = layers.read.iter().find(|(_, read)| read.is_err()).map(|(key, _)| key.clone());
    if let Some(Err(fault)) = faulty.and_then(|key| layers.read.remove(&key)) {
        return Err(Error::Blob(fault));
    }
    let stacked = |(platform, manifest): &(Platform, Manifest)| {
        let all = (0..selectors.len()).map(|place| layers.contents(manifest, layout(platform), place));
        all.map(Option::unwrap_or_default).collect()
    };
    Ok(images.iter().map(stacked).collect())
}

/// Checks that a blob is what its descriptor says.
pub async fn check_blob(
    context: &Context,
    found: &Arc<Found>,
    blob: &Descriptor,
) -> Result<Result<(), Fault>, Error> {
    // Whoever does not read it has it checked none the less.
    stream_blob(context, Arc::clone(found), blob, |_: &mut (dyn Read + Send)| ()).await
}

async fn read(
    context: &Context,
    found: Arc<Found>,
    descriptor: &Descriptor,
    options: ReadOptions,
    selectors: Selectors,
) -> Result<Result<ReadLayer, Fault>, Error> {
    // A media type that is no layer's is a finding of its own; most such blobs are gzip.
    let compression = layer_compression(&descriptor.media_type).unwrap_or(LayerCompression::Gzip);
    let digest = descriptor.digest.clone();
    let read = stream_blob(context, found, descriptor, move |reader: &mut (dyn Read + Send)| {
        let selectors: Vec<&dyn Selector> =
            selectors.iter().map(|selector| &**selector as &dyn Selector).collect();
        read_layer(reader, compression, &options, &selectors)
    });
    Ok(match read.await? {
        Ok(Ok(layer)) => Ok(layer),
        Ok(Err(source)) => Err(Fault::Unreadable { digest, source }),
        Err(fault) => Err(fault),
    })
}

/// Lets `consume` read a blob on a thread of its own, and checks size and digest of all of it, also if
/// `consume` stops early: what is wrong with the blob counts before what is wrong with its content.
async fn stream_blob<T: Send + 'static>(
    context: &Context,
    found: Arc<Found>,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut (dyn Read + Send)) -> T + Send + 'static,
) -> Result<Result<T, Fault>, Error> {
    match &found.origin {
        Origin::Registry(reference) => from_registry(context, reference, descriptor, consume).await,
        _ => {
            let descriptor = descriptor.clone();
            let file = found.open_blob(context, &descriptor.digest)?;
            let reading = tokio::task::spawn_blocking(move || match file {
                Some(file) => from_file(file, &descriptor, consume),
                None => Ok(Err(Fault::Missing { digest: descriptor.digest })),
            });
            reading.await.expect("reading a layer does not panic")
        }
    }
}

async fn from_registry<T: Send + 'static>(
    context: &Context,
    reference: &Reference,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut (dyn Read + Send)) -> T + Send + 'static,
) -> Result<Result<T, Fault>, Error> {
    let client = &context.engine.registry;
    // A blob that is too short would look like a connection that breaks again and again.
    let stated = match client.blob_size(reference, &descriptor.digest).await {
        Ok(size) => size,
        Err(error) => return fault(error, reference, descriptor).map(Err),
    };
    if let Some(actual) = stated.filter(|actual| *actual != descriptor.size) {
        let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
        return Ok(Err(Fault::Size { digest, expected, actual }));
    }
    let (to_reader, chunks) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || consume(&mut Chunks { chunks, current: Bytes::new() }));
    let download = async {
        let mut blob = client.blob_reader(reference, descriptor).await?;
        let (mut received, mut told, mut wants_more) = (0, 0, true);
        while let Some(chunk) = blob.chunk().await? {
            received += chunk.len() as u64;
            if received - told >= PROGRESS_STEP {
                told = received;
                context.events.send(progress(descriptor, received, false));
            }
            wants_more = wants_more && to_reader.send(Ok(chunk)).await.is_ok();
        }
        context.events.send(progress(descriptor, received, true));
        Ok(())
    };
    let downloaded = download.await;
    if downloaded.is_err() {
        let broken = io::Error::new(io::ErrorKind::BrokenPipe, "the download failed");
        let _ = to_reader.send(Err(broken)).await;
    }
    drop(to_reader);
    let consumed = reading.await.expect("reading a layer does not panic");
    match downloaded {
        Ok(()) => Ok(Ok(consumed)),
        Err(error) => fault(error, reference, descriptor).map(Err),
    }
}

fn progress(descriptor: &Descriptor, current: u64, done: bool) -> Event {
    let name = format!("sha256:{}", descriptor.digest.short());
    Event::Transfer { name, kind: TransferKind::Pull, current, total: Some(descriptor.size), done }
}

/// What a registry's answer says about a blob; an error if it says nothing about it.
pub(crate) fn fault(
    error: archway_registry::Error,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Fault, Error> {
    use archway_registry::Error as Registry;

    let digest = descriptor.digest.clone();
    match error {
        Registry::NotFound { .. } => Ok(Fault::Missing { digest }),
        Registry::SizeMismatch { expected, actual, .. } => Ok(Fault::Size { digest, expected, actual }),
        Registry::DigestMismatch { expected, actual, .. } => Ok(Fault::Digest { expected, actual }),
        other => Err(Error::registry("read", reference)(other)),
    }
}

/// A download, as a thread reads it.
struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current[..count]);
        self.current.advance(count);
        Ok(count)
    }
}

fn from_file<T>(
    file: impl Read + Send,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut (dyn Read + Send)) -> T,
) -> Result<Result<T, Fault>, Error> {
    let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
    // One byte more tells of too many.
    let reader = file.take(expected.saturating_add(1));
    let mut hashed = Hashed { reader, hasher: Hasher::for_digest(&digest), count: 0 };
    let consumed = consume(&mut hashed);
    if let Err(source) = io::copy(&mut hashed, &mut io::sink()) {
        return Err(Error::BlobRead { digest, source });
    }
    let Hashed { hasher, count: actual, .. } = hashed;
    if actual != expected {
        return Ok(Err(Fault::Size { digest, expected, actual }));
    }
    let actual = hasher.finish();
    match actual == digest {
        true => Ok(Ok(consumed)),
        false => Ok(Err(Fault::Digest { expected: digest, actual })),
    }
}

/// Hashes and counts what is read.
struct Hashed<R> {
    reader: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}
