//! Files as destinations: layouts, which keep what they have, and archives, which are written anew.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use archway_oci::{
    Descriptor, Digest, Index, Layout, Reference, json,
    reference::{ImageLocation, TagOrDigest},
    referrer,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    closure::Part,
    copy::Copied,
    publish::{Transfers, Whole},
    transfer::{Checked, LocalBlob},
};
use crate::{
    Context, Error,
    build::{Publications, Published},
    origin::{Found, describe},
    output::{
        archive::{Archive, Sink},
        docker::ManifestEntry,
    },
    request::Destination,
};

pub(super) use archway_oci::layout::REF_NAME;

/// The whole name, as containerd and BuildKit write it.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";

/// Blobs that are brought here at the same time.
const PARALLEL: usize = 8;

/// Adds an image to a layout, which is made if it is not there. `entry` is what `index.json` says of it.
pub(super) async fn layout(
    context: &Context,
    directory: &Path,
    entry: &Descriptor,
    whole: &Whole<'_>,
) -> Result<(Vec<Published>, Transfers), Error> {
    let layout = Arc::new(Layout::create(directory)?);
    let importing = blobs(whole).into_iter().map(|(blob, found)| {
        let layout = layout.clone();
        async move {
            let there =
                fs::metadata(layout.blob_path(&blob.digest)).is_ok_and(|there| there.len() == blob.size);
            if there {
                return Ok(Transfers { existed: 1, ..Transfers::default() });
            }
            let content = LocalBlob::fetch(context, found, blob).await?;
            let copied = blob.clone();
            blocking(move || Ok(layout.import_blob(content, &copied)?)).await?;
            Ok::<_, Error>(Transfers { sent: 1, bytes: blob.size, ..Transfers::default() })
        }
    });
    let mut importing = stream::iter(importing.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
    let mut transfers = Transfers::default();
    while let Some(imported) = importing.try_next().await? {
        transfers += imported;
    }
    let documents: Vec<(Descriptor, Vec<u8>)> =
        documents(whole).map(|(descriptor, bytes)| (descriptor.clone(), bytes.to_vec())).collect();
    let referrers: Vec<_> = whole.referrers.iter().filter_map(|part| part.referrer.clone()).collect();
    let (entry, target) = (entry.clone(), directory.to_owned());
    let name = entry.annotations.get(REF_NAME).cloned();
    let published = blocking(move || {
        for (descriptor, bytes) in &documents {
            layout.import_blob(&**bytes, descriptor)?;
        }
        for referrer in &referrers {
            layout.set_referrer(&referrer.descriptor, &referrer.subject.digest)?;
        }
        layout.set_reference(&entry, name.as_deref())?;
        let tag_or_digest = name.map(TagOrDigest::Tag);
        let target = describe(&ImageLocation::OciLayout { dir: target, tag_or_digest });
        Ok(Published { target, digest: Some(entry.digest) })
    })
    .await?;
    Ok((tell(context, published), transfers))
}

/// Writes an image as a tar of a layout.
pub(super) async fn oci_archive(
    context: &Context,
    path: &Path,
    entry: &Descriptor,
    whole: &Whole<'_>,
) -> Result<(Vec<Published>, Transfers), Error> {
    let write = || Error::write(path);
    let mut archive = Archive::new(Sink::open(&Destination::File(path.to_owned()))?);
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(write())?;
    archive
        .bytes("index.json", &json::to_vec(&Index::new(entries(entry, whole.referrers))))
        .map_err(write())?;
    archive.directory("blobs/").map_err(write())?;
    let blobs = blobs(whole);
    let documents: BTreeMap<&Digest, &[u8]> =
        documents(whole).map(|(descriptor, bytes)| (&descriptor.digest, bytes)).collect();
    let digests = blobs.iter().map(|(blob, _)| &blob.digest).chain(documents.keys().copied());
    for algorithm in digests.map(Digest::algorithm).collect::<BTreeSet<_>>() {
        archive.directory(&format!("blobs/{algorithm}/")).map_err(write())?;
    }
    for (digest, bytes) in documents {
        archive.bytes(&blob_path(digest), bytes).map_err(write())?;
    }
    let (archive, transfers) = append(context, archive, blobs, path).await?;
    let target = finish(archive, path).await?;
    Ok((tell(context, Published { target, digest: Some(entry.digest.clone()) }), transfers))
}

/// Writes the image of one platform as `docker save` does. Such an archive has no manifest, and so no digest.
pub(super) async fn docker_archive(
    context: &Context,
    found: &Found,
    image: Descriptor,
    names: &[Reference],
    path: &Path,
) -> Result<Copied, Error> {
    let (manifest, _) = found.image(context, &image).await?;
    let layers = manifest.layers.iter().map(|layer| &layer.digest);
    let entry = ManifestEntry::new(&manifest.config.digest, layers, names);
    let write = || Error::write(path);
    let mut archive = Archive::new(Sink::open(&Destination::File(path.to_owned()))?);
    archive.bytes("manifest.json", &json::to_vec(&[entry])).map_err(write())?;
    archive.directory("blobs/").map_err(write())?;
    archive.directory("blobs/sha256/").map_err(write())?;
    let mut blobs: BTreeMap<&Digest, (&Descriptor, &Found)> = BTreeMap::new();
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        blobs.insert(&blob.digest, (blob, found));
    }
    let (archive, transfers) = append(context, archive, blobs.into_values().collect(), path).await?;
    let target = finish(archive, path).await?;
    let published = tell(context, Published { target, digest: None });
    Ok(Copied { source: image.clone(), descriptor: image, referrers: 0, transfers, published })
}

/// Adds blobs to an archive in their order, while the next ones are on their way.
async fn append(
    context: &Context,
    mut archive: Archive<Sink>,
    blobs: Vec<(&Descriptor, &Found)>,
    path: &Path,
) -> Result<(Archive<Sink>, Transfers), Error> {
    let fetching = blobs.into_iter().map(|(blob, found)| async move {
        Ok::<_, Error>((blob, LocalBlob::fetch(context, found, blob).await?))
    });
    let mut fetching = stream::iter(fetching.collect::<Vec<_>>()).buffered(PARALLEL);
    let mut transfers = Transfers::default();
    while let Some((blob, content)) = fetching.try_next().await? {
        let (blob, path) = (blob.clone(), path.to_owned());
        transfers += Transfers { sent: 1, bytes: blob.size, ..Transfers::default() };
        archive = blocking(move || {
            let mut checked = Checked::new(content, &blob);
            archive.file(&blob_path(&blob.digest), blob.size, &mut checked).map_err(Error::write(path))?;
            checked.finish().map(|()| archive)
        })
        .await?;
    }
    Ok((archive, transfers))
}

async fn finish(archive: Archive<Sink>, path: &Path) -> Result<String, Error> {
    let path = path.to_owned();
    blocking(move || archive.finish().map_err(Error::write(path))?.finish()).await
}

/// All blobs that are no documents, each once, the largest first.
fn blobs<'a>(whole: &'a Whole<'_>) -> Vec<(&'a Descriptor, &'a Found)> {
    let of = |part: &'a Part| part.blobs.iter().map(|blob| (blob, &*part.found));
    let named = whole.parts.iter().chain(whole.referrers).flat_map(of);
    let own = whole.blobs.iter().map(|(blob, found)| (blob, *found));
    let mut blobs: BTreeMap<&Digest, (&Descriptor, &Found)> = BTreeMap::new();
    for (blob, found) in named.chain(own) {
        blobs.entry(&blob.digest).or_insert((blob, found));
    }
    let mut blobs: Vec<_> = blobs.into_values().collect();
    blobs.sort_by_key(|(blob, _)| Reverse(blob.size));
    blobs
}

/// All documents, what is named before what names it.
fn documents<'a>(whole: &'a Whole<'_>) -> impl Iterator<Item = (&'a Descriptor, &'a [u8])> {
    let parts = whole.parts.iter().chain(whole.referrers).map(|part| (&part.descriptor, &*part.bytes));
    parts.chain([(whole.top, whole.bytes)])
}

/// What `index.json` lists: the image first, for readers that take the first.
fn entries(entry: &Descriptor, referrers: &[Part]) -> Vec<Descriptor> {
    let referrers = referrers.iter().filter_map(|part| part.referrer.as_ref());
    let listed =
        referrers.map(|referrer| referrer::layout_entry(&referrer.descriptor, &referrer.subject.digest));
    [entry.clone()].into_iter().chain(listed).collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn tell(context: &Context, published: Published) -> Vec<Published> {
    let mut publications = Publications::new(&context.events);
    publications.add(published);
    publications.finish()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("writing does not panic")
}
