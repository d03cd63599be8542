//! The layers of images, and the files in them.

use std::cmp::Reverse;

use archway_audit::{
    Audit, Image, Rules, Severity, audit,
    drift::{self, compare},
};
use archway_layer::contents::{Contents, LayerContents};
use archway_oci::{ContainerConfig, Descriptor, Digest, Platform, media_type};

use super::{AuditSettings, Finding, Problem, VerifiedImage, structure::Child};
use crate::contents::{Fault, Layers, layout};

/// Files of one image that are told of; the others are counted.
const MOST_FILES: usize = 1000;
/// The place of the audit among the selectors; it is the only one.
const AUDITED: usize = 0;

const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// Whether the layers of an image are those that its documents name, and what their files are for.
pub(super) fn of_child(
    child: &Child,
    layers: &Layers,
    settings: &AuditSettings,
) -> (VerifiedImage, Vec<Finding>) {
    let layout = layout(&child.platform);
    let finding = |severity, layer: Option<&Digest>, problem| Finding {
        platform: Some(child.platform.clone()),
        layer: layer.cloned(),
        ..Finding::of_manifest(&child.descriptor.digest, severity, problem)
    };
    let mut findings = Vec::new();
    for (place, layer) in child.manifest.layers.iter().enumerate() {
        let digest = &layer.digest;
        match layers.get(digest, layout) {
            None => {}
            Some(Err(fault)) if is_elsewhere(fault, layer) => {
                findings.push(finding(Severity::Note, Some(digest), Problem::ForeignLayer));
            }
            Some(Err(fault)) => {
                findings.push(finding(Severity::Error, Some(digest), Problem::Blob(fault.clone())));
            }
            Some(Ok(read)) => {
                // Another number of diffIDs is a finding of its own.
                let expected = child.config.rootfs.diff_ids.get(place);
                if let Some(expected) = expected.filter(|expected| **expected != read.diff_id) {
                    let (expected, actual) = (expected.clone(), read.diff_id.clone());
                    let problem = Problem::DiffId { layer: place, expected, actual };
                    findings.push(finding(Severity::Error, Some(digest), problem));
                }
            }
        }
    }
    let contents: Vec<(&Digest, Option<&LayerContents>)> = child
        .manifest
        .layers
        .iter()
        .map(|layer| {
            let read = layers.get(&layer.digest, layout).and_then(|read| read.as_ref().ok());
            (&layer.digest, read.and_then(|read| read.contents.get(AUDITED)))
        })
        .collect();
    let audit = audited(&child.platform, &child.config.config, &contents, settings);
    for (severity, problem) in told(audit.findings) {
        let layer = problem.path().and_then(|path| layer_of(&contents, path));
        findings.push(finding(severity, layer, problem));
    }
    let image = VerifiedImage {
        platform: child.platform.clone(),
        digest: child.descriptor.digest.clone(),
        layers: child.manifest.layers.len(),
        programs: audit.programs,
        scripts: audit.scripts,
        allowed: audit.allowed,
    };
    (image, findings)
}

/// Whether a layer is where clients get it, which is not here.
fn is_elsewhere(fault: &Fault, layer: &Descriptor) -> bool {
    matches!(fault, Fault::Missing { .. }) && media_type::is_foreign_layer(&layer.media_type)
}

/// Audits what is known of an image: with a layer missing nothing is known to be missing.
pub(super) fn audited(
    platform: &Platform,
    config: &ContainerConfig,
    layers: &[(&Digest, Option<&LayerContents>)],
    settings: &AuditSettings,
) -> Audit {
    let contents = Contents::stack(layers.iter().filter_map(|(_, contents)| *contents));
    let is_complete = layers.iter().all(|(_, contents)| contents.is_some());
    let allowed = |path: &str| settings.allowed.matches(path);
    let image = Image { platform, config, contents: &contents, is_complete };
    audit(&image, &Rules { policy: settings.policy, allowed: &allowed })
}

/// What is told of files: the worst first, so that no error is lost among notes, and how many there are more.
pub(super) fn told(mut found: Vec<archway_audit::Finding>) -> Vec<(Severity, Problem)> {
    found.sort_by_key(|finding| Reverse(finding.severity));
    let more = found.len().saturating_sub(MOST_FILES);
    found.truncate(MOST_FILES);
    let mut told: Vec<(Severity, Problem)> =
        found.into_iter().map(|finding| (finding.severity, Problem::File(finding))).collect();
    if more > 0 {
        told.push((Severity::Note, Problem::MoreFiles { count: more }));
    }
    told
}

/// The topmost layer that has a file.
pub(super) fn layer_of<'a>(
    layers: &[(&'a Digest, Option<&LayerContents>)],
    path: &str,
) -> Option<&'a Digest> {
    let has = |contents: &LayerContents| contents.get(path.as_bytes()).is_some();
    layers.iter().rev().find(|(_, contents)| contents.is_some_and(has)).map(|(digest, _)| *digest)
}

/// What differs between the images beyond their architecture.
pub(super) fn drift(children: &[Child], layers: &Layers) -> Vec<Finding> {
    let contents: Vec<Option<Contents>> = children
        .iter()
        .map(|child| layers.contents(&child.manifest, layout(&child.platform), AUDITED))
        .collect();
    let compared: Vec<drift::Child<'_>> = children
        .iter()
        .zip(&contents)
        .map(|(child, contents)| {
            let says = |key: &str| {
                let annotations =
                    child.manifest.annotations.get(key).or(child.descriptor.annotations.get(key));
                annotations.map(String::as_str)
            };
            drift::Child {
                platform: &child.platform,
                contents: contents.as_ref(),
                base_name: says(BASE_NAME),
                base_digest: says(BASE_DIGEST),
            }
        })
        .collect();
    let found = compare(&compared).into_iter();
    found.map(|drift| Finding::of_all(drift.severity(), Problem::Drift(drift))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_however_many_notes_there_are() {
        let finding = |severity, path: String| archway_audit::Finding {
            severity,
            path,
            is_entrypoint: false,
            problem: archway_audit::Problem::MissingEntrypoint,
        };
        let notes = (0..MOST_FILES + 5).map(|number| finding(Severity::Note, format!("a/{number}")));
        let told = told(notes.chain([finding(Severity::Error, "z".to_owned())]).collect());
        assert_eq!((told[0].0, told[0].1.path()), (Severity::Error, Some("z")));
        assert_eq!(told[1].1.path(), Some("a/0"));
        assert!(matches!(told[MOST_FILES], (Severity::Note, Problem::MoreFiles { count: 6 })));
    }
}
