//! The files of images that exist, wherever their layers are: each layer is read once, streaming, for all
//! images that have it and for all that want to know something of it.

mod blob;

use std::{collections::BTreeMap, io::Read, sync::Arc, thread::available_parallelism};

use archway_layer::{
    Layout,
    contents::{
        Budget, Contents, ContentsError, LayerContents, ReadLayer, ReadOptions, Selector, read_contents,
        read_layer,
    },
};
use archway_oci::{
    Descriptor, Digest, Manifest, Platform,
    media_type::{LayerCompression, layer_compression},
};
use archway_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Context, Error, origin::Found};
pub(crate) use blob::fault;
pub use blob::{Fault, check_blob};

/// Layers that are read at the same time, at most; each has a download and three threads.
const MOST_AT_ONCE: usize = 6;
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
        let selectors = Arc::clone(selectors);
        let read = each(context, found, wanted, move |reader, compression, options| {
            let selectors: Vec<&dyn Selector> =
                selectors.iter().map(|selector| &**selector as &dyn Selector).collect();
            read_layer(reader, compression, options, &selectors)
        });
        let mut layers = Self::default();
        for (Wanted { descriptor, layout }, read) in read.await? {
            layers.bytes += if read.is_ok() { descriptor.size } else { 0 };
            layers.read.insert((descriptor.digest, layout), read.map_err(Arc::new));
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

/// Who wants to know something of files, and where the store keeps what it found.
#[derive(Clone)]
pub struct Reader {
    /// What it keeps.
    pub selector: Arc<dyn Selector + Send + Sync>,
    /// A name fit for a file, another one for every change of what is kept or of what it means.
    pub facts: &'static str,
}

/// The root file systems of images, each with what `reader` kept of it, in their order. What the store knows
/// of a layer is not read again, wherever the layer is: its digest says that it is the same.
///
/// # Errors
/// Also if a layer is not what its descriptor says.
pub async fn of_images(
    context: &Context,
    found: &Arc<Found>,
    images: &[(Platform, Manifest)],
    reader: &Reader,
) -> Result<Vec<Contents>, Error> {
    let (mut layers, mut unknown) = (BTreeMap::new(), Vec::new());
    for (platform, manifest) in images {
        let layout = layout(platform);
        for descriptor in &manifest.layers {
            match known(context.store(), &descriptor.digest, layout, reader)? {
                Some(contents) => drop(layers.insert((descriptor.digest.clone(), layout), contents)),
                None => unknown.push(Wanted { descriptor: descriptor.clone(), layout }),
            }
        }
    }
    let selector = Arc::clone(&reader.selector);
    let read = each(context, found, unknown, move |reader, compression, options| {
        let contents = read_contents(reader, compression, options, &[&*selector])?;
        Ok(contents.into_iter().next().unwrap_or_default())
    });
    for (Wanted { descriptor, layout }, contents) in read.await? {
        let contents = contents.map_err(|fault| Error::Blob(Arc::new(fault)))?;
        // All entries: also a file that nobody wants hides one below it.
        let facts = contents.to_bytes(|_, _| true);
        context.store().facts(&facts_of(reader, layout)).save(&descriptor.digest, &facts)?;
        layers.insert((descriptor.digest, layout), contents);
    }
    let stacked = |(platform, manifest): &(Platform, Manifest)| {
        let layout = layout(platform);
        Contents::stack(
            manifest.layers.iter().filter_map(|layer| layers.get(&(layer.digest.clone(), layout))),
        )
    };
    Ok(images.iter().map(stacked).collect())
}

/// What the store knows of a layer.
fn known(
    store: &Store,
    digest: &Digest,
    layout: Layout,
    reader: &Reader,
) -> Result<Option<LayerContents>, Error> {
    let facts = store.facts(&facts_of(reader, layout)).load(digest)?;
    Ok(facts.as_deref().and_then(LayerContents::from_bytes))
}

/// The kind of the facts of layers whose paths stand so.
fn facts_of(reader: &Reader, layout: Layout) -> String {
    match layout {
        Layout::Unix => reader.facts.to_owned(),
        Layout::Windows => format!("{}-windows", reader.facts),
    }
}

/// What `make` makes of each of the layers, equal ones once, the largest first.
async fn each<T: Send + 'static>(
    context: &Context,
    found: &Arc<Found>,
    wanted: impl IntoIterator<Item = Wanted>,
    make: impl Fn(&mut (dyn Read + Send), LayerCompression, &ReadOptions) -> Result<T, ContentsError>
    + Clone
    + Send
    + 'static,
) -> Result<Vec<(Wanted, Result<T, Fault>)>, Error> {
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
        let (found, make) = (Arc::clone(found), make.clone());
        async move {
            let read = read(context, found, &wanted.descriptor, options, make).await?;
            Ok::<_, Error>((wanted, read))
        }
    });
    let at_once = available_parallelism().map_or(1, usize::from).clamp(2, MOST_AT_ONCE);
    stream::iter(reading.collect::<Vec<_>>()).buffer_unordered(at_once).try_collect().await
}

async fn read<T: Send + 'static>(
    context: &Context,
    found: Arc<Found>,
    descriptor: &Descriptor,
    options: ReadOptions,
    make: impl FnOnce(&mut (dyn Read + Send), LayerCompression, &ReadOptions) -> Result<T, ContentsError>
    + Send
    + 'static,
) -> Result<Result<T, Fault>, Error> {
    // A media type that is no layer's is a finding of its own; most such blobs are gzip.
    let compression = layer_compression(&descriptor.media_type).unwrap_or(LayerCompression::Gzip);
    let digest = descriptor.digest.clone();
    let read = blob::stream(context, found, descriptor, move |reader: &mut (dyn Read + Send)| {
        make(reader, compression, &options)
    });
    Ok(match read.await? {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(source)) => Err(Fault::Unreadable { digest, source }),
        Err(fault) => Err(fault),
    })
}
