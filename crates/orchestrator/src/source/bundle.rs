//! Source bundles: a context and its Dockerfile as an artifact that registries and OCI layouts hold.
//! Written down in `docs/formats/source.md`.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc};

use archway_dockerfile::ast::SourceText;
use archway_engine::Layer;
use archway_layer::{
    Entry as TarEntry, EntryKind, LayerOptions,
    extract::{ExtractOptions, unpack_archive},
    write_layer_with,
};
use archway_oci::{
    Descriptor, Digest, Manifest, Reference, json,
    layout::Layout,
    media_type,
    reference::{ImageLocation, TagOrDigest},
};
use archway_source::{Entry, Kind, Snapshot};
use archway_store::PendingSnapshot;

use super::open::{Wanted, open_wanted};
use crate::{
    Context, Error,
    origin::{Found, Origin},
    plan,
};

/// The artifact type of a bundle.
pub const ARTIFACT_TYPE: &str = "application/vnd.archway.source.v1";
/// The media type of the Dockerfile, which stands where an image has its config.
pub const DOCKERFILE_TYPE: &str = "application/vnd.archway.source.dockerfile.v1";
/// What the Dockerfile of a bundle is called in messages.
const DOCKERFILE: &str = "Dockerfile";

/// Where a bundle is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleDestination {
    /// An OCI layout, which is made if it is missing.
    Layout {
        /// Its directory.
        directory: PathBuf,
        /// The bundle's name in it.
        tag: Option<String>,
    },
    /// A repository of a registry.
    Registry(Reference),
}

/// Writes a context and its Dockerfile as a bundle. The same source gives the same digest anywhere.
pub async fn write(
    context: &Context,
    wanted: Wanted<'_>,
    to: &BundleDestination,
) -> Result<Descriptor, Error> {
    let opened = open_wanted(context, wanted).await?;
    let snapshot = opened.snapshot().await?;
    let store = context.store().clone();
    let dockerfile = opened.dockerfile.text.clone();
    let stored = tokio::task::spawn_blocking(move || {
        let mut blob = store.blobs().writer()?;
        // Times are those of a checkout, and no part of the source.
        let options = LayerOptions { mtime: Some(0), ..LayerOptions::default() };
        let layer = write_layer_with(&options, &mut blob, |tar| append(&snapshot, tar))?;
        blob.commit(Some(&layer.digest))?;
        store.blobs().put(dockerfile.as_bytes())?;
        let config = Descriptor::of(DOCKERFILE_TYPE, dockerfile.as_bytes());
        let manifest = Manifest {
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            ..Manifest::new(config, vec![layer.descriptor()])
        };
        let bytes = json::to_vec(&manifest);
        store.blobs().put(&bytes)?;
        Ok::<_, Error>((manifest, bytes))
    });
    let (manifest, bytes) = stored.await.expect("writing a bundle does not panic")?;
    let top = Descriptor {
        artifact_type: manifest.artifact_type.clone(),
        ..Descriptor::of(media_type::OCI_MANIFEST, &bytes)
    };
    match to {
        BundleDestination::Layout { directory, tag } => {
            let (directory, tag, store) = (directory.clone(), tag.clone(), context.store().clone());
            let top = top.clone();
            let written = tokio::task::spawn_blocking(move || {
                let layout = Layout::create(directory)?;
                for part in manifest.layers.iter().chain([&manifest.config]) {
                    let blob = store.blobs().open(&part.digest)?;
                    let missing = || Error::BlobMissing { digest: part.digest.clone() };
                    layout.import_blob(blob.ok_or_else(missing)?, part)?;
                }
                layout.write_blob(&bytes)?;
                layout.set_reference(&top, tag.as_deref())?;
                Ok::<_, Error>(())
            });
            written.await.expect("writing a layout does not panic")?;
        }
        BundleDestination::Registry(reference) => push(context, reference, &manifest, bytes).await?,
    }
    Ok(top)
}

/// Blobs first, the name last.
async fn push(
    context: &Context,
    reference: &Reference,
    manifest: &Manifest,
    bytes: Vec<u8>,
) -> Result<(), Error> {
    let registry = &context.engine.registry;
    for part in manifest.layers.iter().chain([&manifest.config]) {
        let path = context.store().blobs().path(&part.digest)?;
        let path = path.ok_or_else(|| Error::BlobMissing { digest: part.digest.clone() })?;
        let pushed = registry.push_blob(reference, part, &path, &[], |_| {}).await;
        pushed.map_err(Error::registry("push", reference))?;
    }
    let pushed = registry.push_manifest(reference, media_type::OCI_MANIFEST, bytes.into()).await;
    pushed.map(|_| ()).map_err(Error::registry("push", reference))
}

/// The files of a snapshot, by path. Of a file with several names the first one has the content.
fn append(snapshot: &Snapshot, tar: &mut archway_layer::diff::LayerWriter) -> Result<(), Error> {
    let mut first: HashMap<(u64, u64), &str> = HashMap::new();
    for entry in snapshot.entries().iter().filter(|entry| !entry.path.is_empty()) {
        let known = match entry.linked {
            true => *first.entry((entry.stat.dev, entry.stat.ino)).or_insert(&entry.path),
            false => &entry.path,
        };
        let kind = match &entry.kind {
            _ if known != entry.path => EntryKind::Hardlink { target: known.as_bytes().to_vec() },
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink { target } => EntryKind::Symlink { target: target.as_bytes().to_vec() },
            Kind::Fifo => EntryKind::Fifo,
            Kind::File => EntryKind::File { size: entry.stat.size },
        };
        append_one(snapshot, entry, kind, tar)?;
    }
    Ok(())
}

fn append_one(
    snapshot: &Snapshot,
    entry: &Entry,
    kind: EntryKind,
    tar: &mut archway_layer::diff::LayerWriter,
) -> Result<(), Error> {
    let has_data = matches!(kind, EntryKind::File { .. });
    let (uid, gid) = entry.owner;
    let header = TarEntry { uid, gid, ..TarEntry::new(entry.path.as_bytes(), kind, entry.mode) };
    let written = |error| Error::WriteFiles(archway_layer::DiffError::Write(error));
    if !has_data {
        return tar.append(&header, io::empty()).map_err(written);
    }
    let mut file = snapshot.open(entry)?;
    tar.append(&header, &mut file).map_err(written)?;
    Ok(file.finish()?)
}

/// A bundle that was unpacked.
pub(super) struct Unpacked {
    pub(super) made: PendingSnapshot,
    /// The Dockerfile, if it has one beside the files.
    pub(super) dockerfile: Option<SourceText>,
    /// Of the bundle's manifest.
    pub(super) digest: Digest,
}

/// Reads and unpacks the bundle at `location`.
pub(super) async fn read(context: &Context, location: &ImageLocation) -> Result<Unpacked, Error> {
    let what = describe(location);
    let not_one = |problem: String| Error::NotABundle { what: what.clone(), problem };
    let found = Arc::new(Found::at(context, location, true).await?);
    if !media_type::is_manifest(&found.top.media_type) {
        return Err(not_one(format!("it is of type `{}`", found.top.media_type)));
    }
    let manifest = Manifest::parse(&found.document(context, &found.top).await?)?;
    if manifest.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
        let kind = manifest.artifact_type.as_deref().unwrap_or("image");
        return Err(not_one(format!("it is an artifact of type `{kind}`")));
    }
    let [layer] = manifest.layers.as_slice() else {
        return Err(not_one(format!("it has {} layers", manifest.layers.len())));
    };
    let dockerfile = match manifest.config.media_type == DOCKERFILE_TYPE {
        true => Some(plan::text(DOCKERFILE, &found.document(context, &manifest.config).await?)?),
        false => None,
    };
    let origin = match &found.origin {
        Origin::Registry(reference) => Some(reference.clone()),
        _ => None,
    };
    // The digest of what is in it is not known, and not asked for.
    let blob = Layer { descriptor: layer.clone(), diff_id: layer.digest.clone(), origin };
    context.engine.fetch_blob(&context.events, &blob).await?;
    let (store, ownership) = (context.store().clone(), context.engine.ownership);
    let bundle = found.top.digest.clone();
    let (found, manifest) = (found.clone(), manifest.clone());
    let unpacked = tokio::task::spawn_blocking(move || {
        found.import_layers(&store, &manifest)?;
        let digest = &blob.descriptor.digest;
        let bytes =
            store.blobs().open(digest)?.ok_or_else(|| Error::BlobMissing { digest: digest.clone() })?;
        let made = store.snapshots().begin()?;
        let options = ExtractOptions { ownership, ..ExtractOptions::default() };
        let unpacked = unpack_archive(bytes, made.delta(), &options);
        unpacked.map_err(|source| Error::UnpackContext { what, source: Box::new(source) })?;
        Ok::<_, Error>(made)
    });
    let made = unpacked.await.expect("unpacking does not panic")?;
    Ok(Unpacked { made, dockerfile, digest: bundle })
}

pub(super) fn describe(location: &ImageLocation) -> String {
    match location {
        ImageLocation::Registry(reference) => reference.to_string(),
        ImageLocation::OciLayout { dir, tag_or_digest } => match tag_or_digest {
            Some(TagOrDigest::Tag(tag)) => format!("oci:{}:{tag}", dir.display()),
            Some(TagOrDigest::Digest(digest)) => format!("oci:{}@{digest}", dir.display()),
            None => format!("oci:{}", dir.display()),
        },
        ImageLocation::OciArchive(path) | ImageLocation::DockerArchive(path) => path.display().to_string(),
    }
}
