//! Base images, all of them, for all platforms, before anything runs.

use std::{collections::BTreeMap, sync::Arc};

use archway_dockerfile::ast::SourceText;
use archway_engine::BaseImage;
use archway_graph::{BaseRequest, ResolvedBase};
use archway_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, json::MAX_DOCUMENT, media_type,
    platform,
};
use archway_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Context, Error};

/// Base images that are resolved at the same time.
const PARALLEL: usize = 8;
/// An index in an index in an index …
const MAX_DEPTH: usize = 4;

/// Base images that were resolved so far.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    /// For the graph.
    pub(crate) by_name: BTreeMap<(String, Platform), ResolvedBase>,
    /// For the engine.
    pub(crate) by_manifest: BTreeMap<Digest, Arc<BaseImage>>,
}

impl Bases {
    /// Resolves every request, in parallel. The first failure ends it.
    pub(crate) async fn add(
        &mut self,
        context: &Context,
        text: &SourceText,
        requests: Vec<BaseRequest>,
        pull: bool,
    ) -> Result<(), Error> {
        let resolved: Vec<(BaseRequest, Resolved)> = stream::iter(requests)
            .map(|request| async move {
                let resolved = resolve(context, text, &request, pull).await?;
                Ok::<_, Error>((request, resolved))
            })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        for (request, resolved) in resolved {
            let base = ResolvedBase {
                reference: resolved.reference,
                manifest: resolved.digest.clone(),
                config: resolved.image.config.clone(),
            };
            self.by_name.insert((request.name, request.platform), base);
            self.by_manifest.insert(resolved.digest, Arc::new(resolved.image));
        }
        Ok(())
    }
}

struct Resolved {
    reference: Reference,
    digest: Digest,
    image: BaseImage,
}

/// The local store first, as Docker does, unless `--pull` says otherwise.
async fn resolve(
    context: &Context,
    text: &SourceText,
    request: &BaseRequest,
    pull: bool,
) -> Result<Resolved, Error> {
    let reference: Reference = request.name.parse().expect("lowering asks for valid references only");
    if !pull && let Some(found) = local(context, request, &reference)? {
        return Ok(found);
    }
    let registry = &context.engine.registry;
    let resolved = registry.resolve(&reference, &request.platform).await.map_err(|cause| Error::Base {
        name: request.name.clone(),
        platform: request.platform.clone(),
        place: Box::new((text.clone(), request.span)),
        hint: request.hint.clone(),
        cause: Box::new(cause),
    })?;
    let image = BaseImage {
        name: request.name.clone(),
        origin: Some(reference.clone()),
        manifest: resolved.manifest,
        config: resolved.config,
    };
    Ok(Resolved { digest: resolved.manifest_descriptor.digest, reference, image })
}

fn local(context: &Context, request: &BaseRequest, reference: &Reference) -> Result<Option<Resolved>, Error> {
    let store = context.store();
    let Some(image) = store.images().get(&reference.to_string())? else { return Ok(None) };
    // The name may be there without this platform: then the registry is asked.
    let Some(descriptor) = child(store, &image.descriptor, &request.platform, MAX_DEPTH)? else {
        return Ok(None);
    };
    let manifest = Manifest::parse(&document(store, &descriptor.digest)?)?;
    let config = ImageConfig::parse(&document(store, &manifest.config.digest)?)?;
    let image = BaseImage { name: request.name.clone(), origin: None, manifest, config };
    Ok(Some(Resolved { reference: reference.clone(), digest: descriptor.digest, image }))
}

/// The manifest for `platform` below `top`, in the store.
fn child(
    store: &Store,
    top: &Descriptor,
    wanted: &Platform,
    depth: usize,
) -> Result<Option<Descriptor>, Error> {
    if !media_type::is_index(&top.media_type) {
        return Ok(Some(top.clone()));
    }
    if depth == 0 {
        return Ok(None);
    }
    let index = Index::parse(&document(store, &top.digest)?)?;
    let offered: Vec<(&Descriptor, &Platform)> =
        index.manifests.iter().filter_map(|child| Some((child, child.platform.as_ref()?))).collect();
    match platform::best_match(wanted, offered.iter().map(|(_, platform)| *platform)) {
        Some(best) => child(store, offered[best].0, wanted, depth - 1),
        None => Ok(None),
    }
}

fn document(store: &Store, digest: &Digest) -> Result<Vec<u8>, Error> {
    let bytes = store.blobs().read(digest, MAX_DOCUMENT)?;
    bytes.ok_or_else(|| Error::BlobMissing { digest: digest.clone() })
}
