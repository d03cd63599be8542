//! Archives for `docker load`: the layout of `docker save`, one platform.

use archway_engine::BuiltImage;
use archway_oci::{Digest, Platform, Reference, platform};
use serde::Serialize;

use super::{
    archive::{Archive, Sink},
    daemon, oci,
    store::fetch_layers,
};
use crate::{Context, Error, build::Published, request::Destination};

/// One element of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ManifestEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl ManifestEntry {
    /// An image whose blobs are in the archive as in a layout.
    pub(crate) fn new<'a>(
        config: &Digest,
        layers: impl IntoIterator<Item = &'a Digest>,
        names: &[Reference],
    ) -> Self {
        Self {
            config: path(config),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers: layers.into_iter().map(path).collect(),
        }
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(crate) async fn write(
    context: &Context,
    destination: &Destination,
    references: &[Reference],
    images: &[BuiltImage],
) -> Result<Vec<Published>, Error> {
    let image = choose(images)?.clone();
    fetch_layers(context, std::slice::from_ref(&image)).await?;
    let (context, references) = (context.clone(), references.to_vec());
    if *destination == Destination::Daemon {
        return daemon::load(&context, &references, &image).await;
    }
    let destination = destination.clone();
    let target = tokio::task::spawn_blocking(move || {
        let mut sink = Sink::open(&destination)?;
        archive(&context, &references, &image, &mut sink)?;
        sink.finish()
    })
    .await
    .expect("writing does not panic")?;
    Ok(vec![Published { target, digest: None }])
}

/// The only image, or the one this machine runs.
fn choose(images: &[BuiltImage]) -> Result<&BuiltImage, Error> {
    if let [only] = images {
        return Ok(only);
    }
    let host = Platform::host();
    let best = platform::best_match(&host, images.iter().map(|image| &image.platform));
    best.map(|index| &images[index]).ok_or_else(|| Error::Output {
        message: format!("none of the platforms is this machine's, {host}, and Docker loads one"),
        hint: Some(format!("add {host} to `--platform`")),
    })
}

/// Writes `manifest.json` and the blobs it names.
pub(crate) fn archive(
    context: &Context,
    references: &[Reference],
    image: &BuiltImage,
    to: impl std::io::Write,
) -> Result<(), Error> {
    let layers = image.layers.iter().map(|layer| &layer.descriptor.digest);
    let manifest = [ManifestEntry::new(&image.config_descriptor.digest, layers, references)];
    let mut blobs = oci::blobs(std::slice::from_ref(image));
    blobs.remove(&image.descriptor.digest);

    let write = || Error::write("docker archive");
    let mut archive = Archive::new(to);
    archive.bytes("manifest.json", &archway_oci::json::to_vec(&manifest)).map_err(write())?;
    archive.directory("blobs/").map_err(write())?;
    archive.directory("blobs/sha256/").map_err(write())?;
    for (digest, size) in blobs {
        let blob = context.store().blobs().open(&digest)?;
        let blob = blob.ok_or(Error::BlobMissing { digest: digest.clone() })?;
        archive.file(&path(&digest), size, blob).map_err(write())?;
    }
    archive.finish().map_err(write())?;
    Ok(())
}
