//! Names in the local store, which keeps all platforms of an image.

use archway_engine::BuiltImage;
use archway_oci::Reference;

use crate::{Context, Error, build::Published, index::BuiltIndex};

pub(crate) async fn write(
    context: &Context,
    references: &[Reference],
    images: &[BuiltImage],
    index: &BuiltIndex,
) -> Result<Vec<Published>, Error> {
    for image in images {
        fetch_layers(context, image).await?;
    }
    let store = context.store();
    store.blobs().put(&index.bytes)?;
    let names: Vec<String> = references.iter().map(ToString::to_string).collect();
    store.images().set(&names, &index.descriptor)?;
    let digest = Some(index.descriptor.digest.clone());
    Ok(references.iter().map(|name| Published { target: name.familiar(), digest: digest.clone() }).collect())
}

/// Brings the base layers that no step read into the store.
pub(crate) async fn fetch_layers(context: &Context, image: &BuiltImage) -> Result<(), Error> {
    for layer in &image.layers {
        context.engine.fetch_blob(&context.events, layer).await?;
    }
    Ok(())
}
