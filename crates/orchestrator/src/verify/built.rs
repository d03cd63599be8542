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
use serde::Serialize;

use super::{AuditSettings, Finding, files};
use crate::{
    Context, Error,
    contents::{Fault, layout},
};

/// Layers that are read at the same time.
const PARALLEL: usize = 2;
/// Warnings about one image that are given; the others are counted.
const MOST_WARNINGS: usize = 5;

/// The image of a platform that was built, and what its files are for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuiltAudit {
    /// What it is for.
    #[serde(skip)]
    pub platform: Platform,
    /// Programs and libraries whose machine was looked at.
    pub programs: usize,
    /// Scripts whose interpreter was looked for.
    pub scripts: usize,
    /// Files for other machines that were allowed.
    pub allowed: usize,
    /// Layers of other images, which were not looked at.
    pub unread_layers: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// Images of a build have files for other machines, which is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image for {platform} is not what it says it is: {first}{}", and_more(.more))]
pub struct ForeignFiles {
    /// The first of the images.
    pub platform: Platform,
    /// The first error.
    pub first: String,
    /// How many errors there are besides, in all images.
    pub more: usize,
}

fn and_more(more: &usize) -> String {
    if *more == 0 { String::new() } else { format!("; and {more} more") }
}

type Known = BTreeMap<(Digest, Layout), Arc<LayerContents>>;

/// Looks at all images of a build, in their order, and warns of what is no error.
///
/// # Errors
/// The store, or a layer in it that is damaged.
pub(crate) async fn audit_built(
    context: &Context,
    settings: &AuditSettings,
    images: &[BuiltImage],
) -> Result<Vec<BuiltAudit>, Error> {
    if settings.policy == Policy::Off {
        return Ok(Vec::new());
    }
    let known = known_layers(context.store(), images).await?;
    let audits: Vec<BuiltAudit> = images.iter().map(|image| audit_image(image, &known, settings)).collect();
    for message in audits.iter().flat_map(warnings) {
        context.events.send(Event::Warning { message });
    }
    Ok(audits)
}

/// Whether the images may be published.
///
/// # Errors
/// [`ForeignFiles`]: they may not.
pub(crate) fn may_be_published(audits: &[BuiltAudit]) -> Result<(), ForeignFiles> {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors = |audit: &'_ BuiltAudit| audit.findings.iter().filter(is_error).count();
    let Some(audit) = audits.iter().find(|audit| errors(audit) > 0) else { return Ok(()) };
    let first = audit.findings.iter().find(is_error).map(|finding| finding.problem.to_string());
    Err(ForeignFiles {
        platform: audit.platform.clone(),
        first: first.unwrap_or_default(),
        more: audits.iter().map(errors).sum::<usize>() - 1,
    })
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
    if !found.is_empty() && audit.unread_layers > 0 {
        warnings.push(format!(
            "{platform}: {} layers of other images were not looked at; `archway index verify` does",
            audit.unread_layers
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
        Layout::Unix => "audit-2",
        Layout::Windows => "audit-2-windows",
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
    let findings = files::told(audit.findings).into_iter().map(|(severity, problem)| Finding {
        platform: Some(image.platform.clone()),
        layer: problem.path().and_then(|path| files::layer_of(&layers, path)).cloned(),
        ..Finding::of_manifest(&image.descriptor.digest, severity, problem)
    });
    BuiltAudit {
        platform: image.platform.clone(),
        programs: audit.programs,
        scripts: audit.scripts,
        allowed: audit.allowed,
        unread_layers: layers.iter().filter(|(_, contents)| contents.is_none()).count(),
        findings: findings.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Problem;

    #[test]
    fn errors_of_all_images_are_counted_and_the_first_is_told() {
        let audit = |platform: &str, severities: &[Severity]| BuiltAudit {
            platform: platform.parse().unwrap(),
            programs: 0,
            scripts: 0,
            allowed: 0,
            unread_layers: 0,
            findings: severities
                .iter()
                .map(|severity| Finding::of_all(*severity, Problem::MoreFiles { count: 2 }))
                .collect(),
        };
        let (error, warning) = (Severity::Error, Severity::Warning);
        let fine = audit("linux/386", &[warning]);
        let audits = [fine, audit("linux/amd64", &[error]), audit("linux/arm64", &[error, error, warning])];
        let refused = may_be_published(&audits).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the image for linux/amd64 is not what it says it is: and 2 more files; and 2 more"
        );
        assert!(!may_be_published(&audits[1..2]).unwrap_err().to_string().ends_with("; and 0 more"));
        assert_eq!(may_be_published(&audits[..1]), Ok(()));
    }
}
