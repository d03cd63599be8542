//! The files of an image that was just built, before anybody gets it.
//!
//! Layers that are in the store are looked at, and what was found in each is kept there: a layer is read once,
//! however many builds have it. Layers of bases that were never fetched are not fetched for this.

use std::{collections::BTreeMap, sync::Arc};

use archway_audit::{Audited, Policy, is_evidence};
use archway_engine::BuiltImage;
use archway_layer::{
    Layout,
    contents::{LayerContents, ReadOptions, read_layer},
};
use archway_oci::{
    Descriptor, Digest, Platform,
    media_type::{LayerCompression, layer_compression},
};
use archway_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::{AuditSettings, Finding, Problem, files};
use crate::{
    Context, Error,
    contents::{Fault, layout},
};

/// Layers that are read at the same time.
const PARALLEL: usize = 2;

/// The image of a platform that was built, and what its files are for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuiltAudit {
    /// The platform.
    pub platform: Platform,
    /// Programs and libraries whose machine was looked at.
    pub programs: usize,
    /// Scripts whose interpreter was looked for.
    pub scripts: usize,
    /// Files for other machines that were allowed.
    pub allowed: usize,
    /// Layers of the base that are not on this machine, and were not looked at.
    pub unread_layers: usize,
    /// What was found.
    pub findings: Vec<Finding>,
}

type Known = BTreeMap<(Digest, Layout), Arc<LayerContents>>;

/// Looks at all images of a build.
///
/// # Errors
/// The store, or a layer in it that is damaged.
pub async fn audit_build(
    context: &Context,
    settings: &AuditSettings,
    images: &[BuiltImage],
) -> Result<Vec<BuiltAudit>, Error> {
    if settings.policy == Policy::Off {
        return Ok(Vec::new());
    }
    let known = known_layers(context.store(), images).await?;
    Ok(images.iter().map(|image| audit_image(image, &known, settings)).collect())
}

/// Of each layer that is here, what matters of it.
async fn known_layers(store: &Store, images: &[BuiltImage]) -> Result<Known, Error> {
    let layers: BTreeMap<(Digest, Layout), Descriptor> = images
        .iter()
        .flat_map(|image| {
            let layout = layout(&image.platform);
            image.layers.iter().map(move |layer| {
                let descriptor = layer.descriptor.clone();
                ((descriptor.digest.clone(), layout), descriptor)
            })
        })
        .collect();
    let reading = layers.into_iter().map(|(key, descriptor)| {
        let store = store.clone();
        async move {
            let layout = key.1;
            let read = tokio::task::spawn_blocking(move || evidence(&store, &descriptor, layout));
            let read = read.await.expect("reading a layer does not panic")?;
            Ok::<_, Error>(read.map(|contents| (key, Arc::new(contents))))
        }
    });
    let read: Vec<_> =
        stream::iter(reading.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// What the store knows of a layer, or what is found by reading it; `None`: it is not here.
fn evidence(store: &Store, layer: &Descriptor, layout: Layout) -> Result<Option<LayerContents>, Error> {
    // Another number for every change of what is kept, or of what it means.
    let facts = store.facts(match layout {
        Layout::Unix => "audit-1",
        Layout::Windows => "audit-1-windows",
    });
    if let Some(known) = facts.load(&layer.digest)?.as_deref().and_then(LayerContents::from_bytes) {
        return Ok(Some(known));
    }
    let Some(file) = store.blobs().open(&layer.digest)? else { return Ok(None) };
    let compression = layer_compression(&layer.media_type).unwrap_or(LayerCompression::Gzip);
    let options = ReadOptions { layout, ..ReadOptions::default() };
    let read = read_layer(file, compression, &options, &[&Audited]).map_err(|source| {
        let digest = layer.digest.clone();
        Error::Blob(Arc::new(Fault::Unreadable { digest, source }))
    })?;
    let contents = read.contents.into_iter().next().unwrap_or_default();
    let kept = contents.to_bytes(|_, entry| is_evidence(entry));
    facts.save(&layer.digest, &kept)?;
    Ok(LayerContents::from_bytes(&kept))
}

fn audit_image(image: &BuiltImage, known: &Known, settings: &AuditSettings) -> BuiltAudit {
    let layout = layout(&image.platform);
    let layers: Vec<(&Digest, Option<&LayerContents>)> = image
        .layers
        .iter()
        .map(|layer| {
            let digest = &layer.descriptor.digest;
            (digest, known.get(&(digest.clone(), layout)).map(|contents| &**contents))
        })
        .collect();
    let audit = files::audited(&image.platform, &image.config.config, &layers, settings);
    let findings = audit.findings.into_iter().map(|found| Finding {
        platform: Some(image.platform.clone()),
        layer: files::layer_of(&layers, &found.path).cloned(),
        ..Finding::of_manifest(&image.descriptor.digest, found.severity, Problem::File(found))
    });
    BuiltAudit {
        platform: image.platform.clone(),
        findings: findings.collect(),
        programs: audit.programs,
        scripts: audit.scripts,
        allowed: audit.allowed,
        unread_layers: layers.iter().filter(|(_, contents)| contents.is_none()).count(),
    }
}
