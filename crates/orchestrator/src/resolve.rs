//! Base images, all of them, for all platforms, before anything runs.

use std::{collections::BTreeMap, sync::Arc};

use archway_dockerfile::ast::SourceText;
use archway_engine::BaseImage;
use archway_graph::{BaseRequest, ResolvedBase};
use archway_oci::{Digest, Platform, Reference, reference::ImageLocation};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Context, Error,
    origin::{Found, Origin},
    source,
};

/// Base images that are resolved at the same time.
const PARALLEL: usize = 8;

/// Base images that were resolved so far.
#[derive(Default)]
pub(crate) struct Bases {
    /// Each name is looked up once: a tag that moves meanwhile must not mix two images.
    found: BTreeMap<String, Arc<Found>>,
    /// For the graph.
    pub(crate) by_name: BTreeMap<(String, Platform), ResolvedBase>,
    /// For the engine.
    pub(crate) by_manifest: BTreeMap<Digest, Arc<BaseImage>>,
    /// What was found under a name, by the name and the manifest that was chosen of it.
    tops: BTreeMap<(String, Digest), Digest>,
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
        let failed = |request: &BaseRequest, cause| Error::Base {
            name: request.name.clone(),
            platform: request.platform.clone(),
            place: Box::new((text.clone(), request.span)),
            hint: request.hint.clone(),
            cause: Box::new(cause),
        };
        let new: BTreeMap<&str, &BaseRequest> = requests
            .iter()
            .rev()
            .filter(|request| !self.found.contains_key(&request.name))
            .map(|request| (request.name.as_str(), request))
            .collect();
        let found: Vec<(String, Arc<Found>)> = stream::iter(new.into_values())
            .map(|request| async move {
                let found = Found::at(context, &location(request), pull).await;
                let found = found.map_err(|cause| failed(request, cause))?;
                Ok::<_, Error>((request.name.clone(), Arc::new(found)))
            })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        self.found.extend(found);
        let known = &self.found;
        let resolved: Vec<(BaseRequest, Resolved)> = stream::iter(requests)
            .map(|request| async move {
                let resolved = resolve(context, &known[&request.name], &request).await;
                let resolved = resolved.map_err(|cause| failed(&request, cause))?;
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
            self.tops.insert((request.name.clone(), resolved.digest.clone()), resolved.top);
            self.by_name.insert((request.name, request.platform), base);
            self.by_manifest.insert(resolved.digest, Arc::new(resolved.image));
        }
        Ok(())
    }

    /// The digest of what was found under `name`, an index as a rule, of which `manifest` was chosen.
    pub(crate) fn top<'a>(&'a self, name: &str, manifest: &'a Digest) -> &'a Digest {
        self.tops.get(&(name.to_owned(), manifest.clone())).unwrap_or(manifest)
    }
}

struct Resolved {
    reference: Reference,
    /// Of the topmost document.
    top: Digest,
    digest: Digest,
    image: BaseImage,
}

fn location(request: &BaseRequest) -> ImageLocation {
    let layout = source::named::location(&request.name);
    layout.unwrap_or_else(|| ImageLocation::Registry(reference(request)))
}

/// An image in a layout has no name of its own, and nobody asks for one.
fn reference(request: &BaseRequest) -> Reference {
    let name = if source::named::location(&request.name).is_some() { "context" } else { &request.name };
    name.parse().expect("lowering asks for valid references only")
}

/// What was found under the name, for the platform. If it was found in the local store, without this
/// platform, the registry is asked.
async fn resolve(context: &Context, found: &Arc<Found>, request: &BaseRequest) -> Result<Resolved, Error> {
    let reference = reference(request);
    let (found, child) = match found.child(context, &request.name, &request.platform).await {
        Err(Error::NoSuchPlatform { .. }) if matches!(found.origin, Origin::Store) => {
            let found = Arc::new(Found::at(context, &location(request), true).await?);
            let child = found.child(context, &request.name, &request.platform).await?;
            (found, child)
        }
        child => (found.clone(), child?),
    };
    let (manifest, config) = found.image(context, &child).await?;
    let (store, read) = (context.store().clone(), (found.clone(), manifest.clone()));
    let import = tokio::task::spawn_blocking(move || read.0.import_layers(&store, &read.1));
    import.await.expect("importing does not panic")?;
    let origin = matches!(found.origin, Origin::Registry(_)).then(|| reference.clone());
    let image = BaseImage::new(request.name.clone(), origin, manifest, config)?;
    Ok(Resolved { reference, top: found.top.digest.clone(), digest: child.digest, image })
}
