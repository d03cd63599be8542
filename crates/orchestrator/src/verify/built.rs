//! The files of an image that was just built, before anybody gets it.
//!
//! Looked at are the layers that were made on this machine, and what was found in each is kept in the store: a
//! layer is read once, however many builds have it, from its delta if that is there. Layers that have their place in a registry - those of bases,
//! mostly - are not fetched for this.

use std::{collections::BTreeMap, sync::Arc};

use archway_audit::{Audited, Policy, Severity, is_evidence};
use archway_engine::{BuiltImage, Layer};
use archway_layer::{
    Layout,
    contents::{LayerContents, ReadOptions, read_layer},
};
use archway_oci::{
    Digest, Platform,
    media_type::{LayerCompression, layer_compression},
};
use archway_report::Event;
use archway_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{AuditSettings, Finding, Problem, files};
use crate::{
    Context, Error,
    contents::{Fault, layout},
};

/// Layers that are read at the same time.
const PARALLEL: usize = 2;
/// Warnings about one image that are given; the others are counted.
const MOST_WARNINGS: usize = 5;

/// The image of a platform that was built, and what its files are for.
#[derive(Debug)]
struct BuiltAudit {
    platform: Platform,
    /// Layers that were not looked at.
    unread: usize,
    findings: Vec<Finding>,
}

/// Images of a build have files for other machines, which is an error.
#[derive(Debug, thiserror::Error)]
#[error("{}", sentence(.findings))]
pub struct ForeignFiles {
    /// The errors; not empty.
    pub findings: Vec<Finding>,
}

fn sentence(findings: &[Finding]) -> String {
    let Some(first) = findings.first() else { return String::new() };
    let platform = first.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let more = match findings.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("the image for {platform} is not what it says it is: {}{more}", first.problem)
}

type Known = BTreeMap<(Digest, Layout), Arc<LayerContents>>;

/// Looks at all images of a build, and warns of what is no error.
///
/// # Errors
/// [`ForeignFiles`]: nothing may be published. The store, or a layer in it that is damaged.
pub(crate) async fn before_publication(
    context: &Context,
    settings: &AuditSettings,
    images: &[BuiltImage],
) -> Result<(), Error> {
    if settings.policy == Policy::Off {
        return Ok(());
    }
    let known = known_layers(context.store(), images).await?;
    let mut errors = Vec::new();
    for image in images {
        let audit = audit_image(image, &known, settings);
        for message in warnings(&audit) {
            context.events.send(Event::Warning { message });
        }
        errors.extend(audit.findings.into_iter().filter(|finding| finding.severity == Severity::Error));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ForeignFiles { findings: errors }.into()),
    }
}

fn warnings(audit: &BuiltAudit) -> Vec<String> {
    let is_warning = |finding: &&Finding| finding.severity == Severity::Warning;
    let found: Vec<&Finding> = audit.findings.iter().filter(is_warning).collect();
    let platform = &audit.platform;
    let mut warnings: Vec<String> =
        found.iter().take(MOST_WARNINGS).map(|finding| format!("{platform}: {}", finding.problem)).collect();
    if found.len() > MOST_WARNINGS {
        warnings.push(format!("{platform}: {} more of that kind", found.len() - MOST_WARNINGS));
    }
    if !found.is_empty() && audit.unread > 0 {
        warnings.push(format!(
            "{platform}: {} layers of other images were not looked at; `archway index verify` does",
            audit.unread
        ));
    }
    warnings
}

/// Of each layer that is here, what matters of it.
async fn known_layers(store: &Store, images: &[BuiltImage]) -> Result<Known, Error> {
    let layers: BTreeMap<(Digest, Layout), &Layer> = images
        .iter()
        .flat_map(|image| {
            let layout = layout(&image.platform);
            image
                .layers
                .iter()
                .filter(|layer| layer.origin.is_none())
                .map(move |layer| ((layer.descriptor.digest.clone(), layout), layer))
        })
        .collect();
    let reading = layers.into_iter().map(|(key, layer)| {
        let (store, layer) = (store.clone(), layer.clone());
        async move {
            let layout = key.1;
            let read = tokio::task::spawn_blocking(move || evidence(&store, &layer, layout));
            let read = read.await.expect("reading a layer does not panic")?;
            Ok::<_, Error>(read.map(|contents| (key, Arc::new(contents))))
        }
    });
    let read: Vec<_> =
        stream::iter(reading.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// What the store knows of a layer, or what is found by reading it; `None`: it is not here.
fn evidence(store: &Store, layer: &Layer, layout: Layout) -> Result<Option<LayerContents>, Error> {
    // Another number for every change of what is kept, or of what it means.
    let facts = store.facts(match layout {
        Layout::Unix => "audit-1",
        Layout::Windows => "audit-1-windows",
    });
    let digest = &layer.descriptor.digest;
    if let Some(known) = facts.load(digest)?.as_deref().and_then(LayerContents::from_bytes) {
        return Ok(Some(known));
    }
    let unreadable = |source| {
        let digest = digest.clone();
        Error::Blob(Arc::new(Fault::Unreadable { digest, source }))
    };
    let options = ReadOptions { layout, ..ReadOptions::default() };
    let delta = match layout {
        Layout::Unix => store.layers().extracted(&layer.diff_id)?,
        // Paths stand otherwise in these.
        Layout::Windows => None,
    };
    let contents = if let Some(delta) = delta.map(|key| store.snapshots().path(&key)).transpose()?.flatten() {
        LayerContents::of_delta(&delta, &options.budget, &Audited).map_err(unreadable)?
    } else if let Some(file) = store.blobs().open(digest)? {
        let compression = layer_compression(&layer.descriptor.media_type).unwrap_or(LayerCompression::Gzip);
        let read = read_layer(file, compression, &options, &[&Audited]).map_err(unreadable)?;
        read.contents.into_iter().next().unwrap_or_default()
    } else {
        return Ok(None);
    };
    let kept = contents.to_bytes(|_, entry| is_evidence(entry));
    facts.save(digest, &kept)?;
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
        unread: layers.iter().filter(|(_, contents)| contents.is_none()).count(),
    }
}
