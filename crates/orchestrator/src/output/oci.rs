//! OCI image layouts (image-spec `image-layout.md`), as a directory or a tar archive.

use std::{collections::BTreeMap, path::Path};

use archway_engine::BuiltImage;
use archway_oci::{Descriptor, Digest, Index, Reference, json, layout::Layout, media_type};
use archway_store::Store;

use super::{
    archive::{Archive, Sink},
    store::fetch_layers,
};
use crate::{Context, Error, build::Published, index::BuiltIndex, request::Destination};

/// The tag within the layout (image-spec `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and BuildKit write it.
const IMAGE_NAME: &str = "io.containerd.image.name";

pub(crate) async fn write(
    context: &Context,
    destination: &Destination,
    tar: bool,
    references: &[Reference],
    images: &[BuiltImage],
    index: &BuiltIndex,
) -> Result<Vec<Published>, Error> {
    fetch_layers(context, images).await?;
    let store = context.store().clone();
    let mut blobs = blobs(images);
    for attached in &index.attestations {
        let manifest = [&attached.descriptor].into_iter();
        let all = manifest.chain(attached.blobs.iter().map(|blob| &blob.descriptor));
        blobs.extend(all.map(|descriptor| (descriptor.digest.clone(), descriptor.size)));
    }
    let (destination, references, index) = (destination.clone(), references.to_vec(), index.clone());
    let published = tokio::task::spawn_blocking(move || {
        let target = match (&destination, tar) {
            (Destination::File(directory), false) => {
                directory_layout(&store, directory, &references, &blobs, &index)?;
                directory.display().to_string()
            }
            _ => archive_layout(&store, &destination, &references, &blobs, &index)?,
        };
        Ok::<_, Error>(Published { target, digest: Some(index.descriptor.digest) })
    })
    .await
    .expect("writing does not panic")?;
    Ok(vec![published])
}

/// Every blob of the images, each once, in a fixed order.
pub(crate) fn blobs(images: &[BuiltImage]) -> BTreeMap<Digest, u64> {
    let mut blobs = BTreeMap::new();
    for image in images {
        blobs.insert(image.descriptor.digest.clone(), image.descriptor.size);
        blobs.insert(image.config_descriptor.digest.clone(), image.config_descriptor.size);
        for layer in &image.layers {
            blobs.insert(layer.descriptor.digest.clone(), layer.descriptor.size);
        }
    }
    blobs
}

fn directory_layout(
    store: &Store,
    directory: &Path,
    references: &[Reference],
    blobs: &BTreeMap<Digest, u64>,
    index: &BuiltIndex,
) -> Result<(), Error> {
    let layout = Layout::create(directory)?;
    for (digest, size) in blobs {
        if layout.has_blob(digest) {
            continue;
        }
        let blob = store.blobs().open(digest)?.ok_or(Error::BlobMissing { digest: digest.clone() })?;
        layout.import_blob(blob, &Descriptor::new(media_type::OCI_LAYER, digest.clone(), *size))?;
    }
    layout.write_blob(&index.bytes)?;
    for entry in entries(references, &index.descriptor) {
        let name = entry.annotations.get(REF_NAME).cloned();
        layout.set_reference(&entry, name.as_deref())?;
    }
    Ok(())
}

fn archive_layout(
    store: &Store,
    destination: &Destination,
    references: &[Reference],
    blobs: &BTreeMap<Digest, u64>,
    index: &BuiltIndex,
) -> Result<String, Error> {
    let name = match destination {
        Destination::File(path) => path.clone(),
        _ => "standard output".into(),
    };
    let mut archive = Archive::new(Sink::open(destination)?);
    let top = json::to_vec(&Index::new(entries(references, &index.descriptor)));
    let mut fill = || -> Result<(), Error> {
        let write = || Error::write(&name);
        archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(write())?;
        archive.bytes("index.json", &top).map_err(write())?;
        archive.directory("blobs/").map_err(write())?;
        archive.directory("blobs/sha256/").map_err(write())?;
        let digest = &index.descriptor.digest;
        archive.bytes(&format!("blobs/sha256/{}", digest.hex()), &index.bytes).map_err(write())?;
        for (digest, size) in blobs {
            let blob = store.blobs().open(digest)?.ok_or(Error::BlobMissing { digest: digest.clone() })?;
            archive.file(&format!("blobs/sha256/{}", digest.hex()), *size, blob).map_err(write())?;
        }
        Ok(())
    };
    fill()?;
    archive.finish().map_err(Error::write(&name))?.finish()
}

/// One entry of `index.json` for each name; one without a name if there is none.
fn entries(references: &[Reference], index: &Descriptor) -> Vec<Descriptor> {
    if references.is_empty() {
        return vec![index.clone()];
    }
    let entry = |reference: &Reference| {
        let mut entry = index.clone();
        entry.annotations.insert(IMAGE_NAME.into(), reference.to_string());
        if let Some(tag) = &reference.tag {
            entry.annotations.insert(REF_NAME.into(), tag.clone());
        }
        entry
    };
    references.iter().map(entry).collect()
}
