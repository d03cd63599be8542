//! Names in the local store, which keeps all platforms of an image.

use archway_engine::BuiltImage;
use archway_oci::Reference;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Context, Error, build::Published, index::BuiltIndex};

/// Blobs that are downloaded at the same time.
const PARALLEL: usize = 8;

pub(crate) async fn write(
    context: &Context,
    references: &[Reference],
    images: &[BuiltImage],
    index: &BuiltIndex,
) -> Result<Vec<Published>, Error> {
    fetch_layers(context, images).await?;
    let store = context.store();
    store.blobs().put(&index.bytes)?;
    let names: Vec<String> = references.iter().map(ToString::to_string).collect();
    store.images().set(&names, &index.descriptor)?;
    let digest = Some(index.descriptor.digest.clone());
    Ok(references.iter().map(|name| Published { target: name.familiar(), digest: digest.clone() }).collect())
}

/// Brings the base layers that no step read into the store.
pub(crate) async fn fetch_layers(context: &Context, images: &[BuiltImage]) -> Result<(), Error> {
    let layers = images.iter().flat_map(|image| &image.layers);
    let fetched = layers.map(|layer| context.engine.fetch_blob(&context.events, layer));
    stream::iter(fetched.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    Ok(())
}
