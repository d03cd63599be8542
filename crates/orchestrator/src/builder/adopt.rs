//! What a daemon built, as if it had been built here.
//!
//! The documents of the image come here whatever becomes of it: they are verified and referred to. Layers stay where
//! they are unless somebody here reads them - the audit of program files does, by default - or writes them somewhere.

use std::{collections::BTreeSet, sync::Arc};

use archway_engine::{BaseImage, Built, BuiltImage, Layer};
use archway_oci::{Digest, Platform, Reference, reference::ImageLocation};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Context, Error, origin::Found};

/// Layers that are fetched at the same time.
const PARALLEL: usize = 4;

/// Which layers of an image have to be on this machine.
pub(super) enum Wanted {
    /// None: they are where they have to be.
    Nothing,
    /// Those that the build made, which are all but these.
    AllBut(BTreeSet<Digest>),
}

/// Reads the image of `platform` at `location`.
///
/// # Errors
/// It is not there, or not whole, or not an image.
pub(super) async fn adopt(
    context: &Context,
    location: &ImageLocation,
    platform: &Platform,
    mtime: Option<i64>,
    wanted: Wanted,
) -> Result<Built, Error> {
    let found = Found::at(context, location, true).await?;
    let name = crate::origin::describe(location);
    let child = found.child(context, &name, platform).await?;
    let (manifest, config) = found.image(context, &child).await?;
    for document in [&child, &manifest.config] {
        context.store().blobs().put(&found.document(context, document).await?)?;
    }
    let (store, read) = (context.store().clone(), (Arc::new(found), manifest.clone()));
    let found = read.0.clone();
    let import = tokio::task::spawn_blocking(move || read.0.import_layers(&store, &read.1));
    import.await.expect("importing does not panic")?;
    let origin = match &found.origin {
        crate::origin::Origin::Registry(reference) => Some(Reference { digest: None, ..reference.clone() }),
        _ => None,
    };
    let base = BaseImage::new(name, origin, manifest.clone(), config.clone())?;
    let mut layers = base.layers();
    if let Wanted::AllBut(known) = wanted {
        let made = layers.iter_mut().filter(|layer| !known.contains(&layer.diff_id));
        bring(context, made.collect()).await?;
    }
    let mut descriptor = child;
    descriptor.platform = Some(config.platform.clone());
    descriptor.annotations.clear();
    let rootfs = context.engine.rootfs(Arc::new(base), &context.events)?;
    let image = BuiltImage {
        platform: platform.clone(),
        layers,
        config_descriptor: manifest.config.clone(),
        config,
        manifest,
        descriptor,
    };
    Ok(Built { platform: platform.clone(), rootfs, image: Some(image), mtime, results: None })
}

/// Brings layers here. From then on they are this machine's as much as those that it makes.
async fn bring(context: &Context, layers: Vec<&mut Layer>) -> Result<(), Error> {
    let fetching = layers.into_iter().map(|layer| async move {
        context.engine.fetch_blob(&context.events, layer).await?;
        layer.origin = None;
        Ok::<_, Error>(())
    });
    stream::iter(fetching.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await
}
