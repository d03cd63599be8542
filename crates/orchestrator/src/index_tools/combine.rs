//! Which images a new index lists: pure decisions about descriptors.

use std::collections::BTreeMap;

use archway_oci::{
    Descriptor, Digest, Index, Platform, annotations::Annotations, assemble, json, media_type,
};

use super::NoSuchPlatforms;
use crate::{Error, missing};

/// Names the manifest that an attestation is about, in the attestation's descriptor.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// What a source has to offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Offer {
    /// Manifests: of images, each with its platform, and of attestations. Nested indexes are flat.
    pub(super) manifests: Vec<Descriptor>,
    /// The source itself, if it is an index.
    pub(super) index: Option<(Descriptor, Index)>,
}

/// A manifest of the new index, and the number of the source that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) descriptor: Descriptor,
    pub(super) source: usize,
}

/// How sources become an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules<'a> {
    /// The first source is an index that the others are added to.
    pub(super) append: bool,
    /// Platforms of the result; empty: all.
    pub(super) platforms: &'a [Platform],
}

/// The manifests of the new index, in the order of the sources.
///
/// A manifest that several sources have is listed once. What is appended takes the place of the image
/// for its platform, and of that image's attestations.
///
/// # Errors
/// When there is no image for a platform that was asked for.
pub(super) fn children(offers: &[Offer], rules: &Rules<'_>) -> Result<Vec<Child>, NoSuchPlatforms> {
    let mut children: Vec<Child> = Vec::new();
    let mut replaced: Vec<Digest> = Vec::new();
    for (source, offer) in offers.iter().enumerate() {
        for descriptor in &offer.manifests {
            let is_same = |child: &&mut Child| child.descriptor.digest == descriptor.digest;
            if let Some(known) = children.iter_mut().find(is_same) {
                merge(&mut known.descriptor, descriptor);
                continue;
            }
            let child = Child { descriptor: descriptor.clone(), source };
            let is_old = |old: &&mut Child| {
                rules.append && source > 0 && old.source == 0 && same_platform(&old.descriptor, descriptor)
            };
            match children.iter_mut().find(is_old) {
                Some(old) => replaced.push(std::mem::replace(old, child).descriptor.digest),
                None => children.push(child),
            }
        }
    }
    children.retain(|child| subject(&child.descriptor).is_none_or(|subject| !replaced.contains(&subject)));
    chosen(children, rules.platforms)
}

/// The children for `platforms`, with their attestations.
fn chosen(children: Vec<Child>, platforms: &[Platform]) -> Result<Vec<Child>, NoSuchPlatforms> {
    if platforms.is_empty() {
        return Ok(children);
    }
    let images = || children.iter().filter_map(|child| image_platform(&child.descriptor));
    let is_missing = |wanted: &&Platform| !images().any(|offered| is_for(&offered, wanted));
    let missing: Vec<Platform> = platforms.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        return Err(NoSuchPlatforms { missing, offered: images().collect() });
    }
    let is_chosen = |descriptor: &Descriptor| {
        let platform = image_platform(descriptor);
        platform.is_some_and(|offered| platforms.iter().any(|wanted| is_for(&offered, wanted)))
    };
    let images: Vec<Digest> = children
        .iter()
        .filter(|child| is_chosen(&child.descriptor))
        .map(|child| child.descriptor.digest.clone())
        .collect();
    let is_kept = |child: &Child| {
        images.contains(&child.descriptor.digest)
            || subject(&child.descriptor).is_some_and(|subject| images.contains(&subject))
    };
    Ok(children.into_iter().filter(is_kept).collect())
}

/// What a later source says of the same manifest goes over what an earlier one said.
fn merge(known: &mut Descriptor, other: &Descriptor) {
    if other.platform.is_some() {
        known.platform.clone_from(&other.platform);
    }
    known.annotations.extend(other.annotations.clone());
}

/// The platform of an image, in normal form; `None` for an attestation.
pub(super) fn image_platform(descriptor: &Descriptor) -> Option<Platform> {
    descriptor.platform.clone().filter(|platform| !platform.is_unknown()).map(Platform::normalized)
}

fn same_platform(one: &Descriptor, other: &Descriptor) -> bool {
    let platform = image_platform(one);
    platform.is_some() && platform == image_platform(other)
}

/// Whether an image is for the platform that was asked for. A version of Windows counts if one was
/// asked for.
pub(crate) fn is_for(offered: &Platform, wanted: &Platform) -> bool {
    let (offered, wanted) = (offered.clone().normalized(), wanted.clone().normalized());
    (&offered.os, &offered.architecture, &offered.variant)
        == (&wanted.os, &wanted.architecture, &wanted.variant)
        && (wanted.os_version.is_none() || wanted.os_version == offered.os_version)
}

/// The manifest that an attestation is about.
pub(crate) fn subject(descriptor: &Descriptor) -> Option<Digest> {
    descriptor.annotations.get(REFERENCE_DIGEST)?.parse().ok()
}

/// The index over `children`, and its descriptor.
///
/// A source that is to be listed as it is stays as it is, byte for byte. Annotations of an index that is
/// appended to, or chosen from, are kept.
pub(super) fn document(
    offers: &[Offer],
    children: &[Child],
    append: bool,
    annotations: &Annotations,
) -> Result<(Descriptor, Vec<u8>), Error> {
    let mut manifests: Vec<Descriptor> = children.iter().map(|child| child.descriptor.clone()).collect();
    for manifest in &mut manifests {
        if let Some(platform) = image_platform(manifest) {
            manifest.annotations.extend(annotations.manifest_descriptor(&platform));
        }
    }
    let kept = match offers {
        [Offer { index: Some((_, index)), .. }, rest @ ..] if append || rest.is_empty() => Some(index),
        _ => None,
    };
    let mut index_annotations = kept.map(|index| index.annotations.clone()).unwrap_or_default();
    if let Some(value) = index_annotations.remove(missing::KEY)
        && let Some(left) = missing::still_missing(&value, &manifests)
    {
        index_annotations.insert(missing::KEY.to_owned(), left);
    }
    index_annotations.extend(annotations.index());
    let (mut index, bytes) = assemble::image_index(&manifests, &index_annotations)?;
    if is_docker(&manifests, &index_annotations) {
        index.media_type = Some(media_type::DOCKER_INDEX.to_owned());
        let bytes = json::to_vec(&index);
        return Ok((Descriptor::of(media_type::DOCKER_INDEX, &bytes), bytes));
    }
    Ok((Descriptor::of(media_type::OCI_INDEX, &bytes), bytes))
}

/// Whether a Docker manifest list can hold them: it has no annotations.
fn is_docker(manifests: &[Descriptor], annotations: &BTreeMap<String, String>) -> bool {
    let is_docker = |manifest: &Descriptor| {
        manifest.media_type == media_type::DOCKER_MANIFEST && manifest.annotations.is_empty()
    };
    annotations.is_empty() && manifests.iter().all(is_docker)
}

/// The only source, if it is an index that already is what is asked for.
pub(super) fn unchanged<'a>(
    offers: &'a [Offer],
    children: &[Child],
    annotations: &Annotations,
) -> Option<&'a Descriptor> {
    let [Offer { index: Some((descriptor, index)), .. }] = offers else { return None };
    let listed = children.iter().map(|child| &child.descriptor);
    (annotations.is_empty() && index.manifests.iter().eq(listed)).then_some(descriptor)
}

#[cfg(test)]
mod tests {
    use archway_oci::annotations::Scope;

    use super::*;

    fn image(platform: &str, content: &str) -> Descriptor {
        let mut image = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
        image.platform = Some(platform.parse().unwrap());
        image
    }

    fn attestation(subject: &Descriptor) -> Descriptor {
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, subject.digest.as_str().as_bytes());
        let unknown = || "unknown".to_owned();
        descriptor.platform =
            Some(Platform { os: unknown(), architecture: unknown(), ..Platform::default() });
        descriptor.annotations.insert(REFERENCE_DIGEST.into(), subject.digest.to_string());
        descriptor
    }

    fn offer(manifests: &[&Descriptor]) -> Offer {
        Offer { manifests: manifests.iter().copied().cloned().collect(), index: None }
    }

    fn index(manifests: &[&Descriptor], annotations: &[(&str, &str)]) -> Offer {
        let manifests: Vec<Descriptor> = manifests.iter().copied().cloned().collect();
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let index = Index { annotations, ..Index::new(manifests.clone()) };
        let descriptor = Descriptor::of(media_type::OCI_INDEX, &json::to_vec(&index));
        Offer { manifests, index: Some((descriptor, index)) }
    }

    fn list(offers: &[Offer], append: bool, platforms: &[&str]) -> Vec<Descriptor> {
        let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().unwrap()).collect();
        let rules = Rules { append, platforms: &platforms };
        children(offers, &rules).unwrap().into_iter().map(|child| child.descriptor).collect()
    }

    #[test]
    fn sources_stand_in_their_order_and_each_manifest_once() {
        let (amd64, arm64) = (image("linux/amd64", "1"), image("linux/arm64", "2"));
        let mut annotated = amd64.clone();
        annotated.annotations.insert("k".into(), "v".into());
        let offers = [offer(&[&amd64]), offer(&[&arm64]), offer(&[&annotated])];
        assert_eq!(list(&offers, false, &[]), [annotated, arm64]);
    }

    #[test]
    fn two_images_for_one_platform_are_refused() {
        let (one, other) = (image("linux/amd64", "1"), image("linux/amd64", "2"));
        let offers = [offer(&[&one]), offer(&[&other])];
        let listed = children(&offers, &Rules { append: false, platforms: &[] }).unwrap();
        let refused = document(&offers, &listed, false, &Annotations::default());
        assert!(matches!(refused, Err(Error::Assemble(assemble::AssembleError::DuplicatePlatform { .. }))));
    }

    #[test]
    fn what_is_appended_takes_the_place_of_its_platform() {
        let (amd64, arm64) = (image("linux/amd64", "1"), image("linux/arm64", "2"));
        let new = image("linux/amd64", "3");
        let (old_about, new_about) = (attestation(&amd64), attestation(&new));
        let there = index(&[&amd64, &arm64, &old_about], &[]);
        let offers = [there, offer(&[&new, &new_about])];
        assert_eq!(list(&offers, true, &[]), [new, arm64, new_about]);
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let amd64 = image("linux/amd64", "1");
        let about = attestation(&amd64);
        let there = index(&[&amd64, &about], &[]);
        assert_eq!(list(&[there.clone(), offer(&[&amd64])], true, &[]), [amd64, about]);
        let listed =
            children(std::slice::from_ref(&there), &Rules { append: false, platforms: &[] }).unwrap();
        let none = Annotations::default();
        assert_eq!(
            unchanged(std::slice::from_ref(&there), &listed, &none),
            there.index.as_ref().map(|(descriptor, _)| descriptor)
        );
        assert_eq!(unchanged(&[there], &listed[..1], &none), None);
    }

    #[test]
    fn attestations_go_with_their_image() {
        let (amd64, arm64) = (image("linux/amd64", "1"), image("linux/arm64", "2"));
        let (about_amd64, about_arm64) = (attestation(&amd64), attestation(&arm64));
        let offers = [index(&[&amd64, &arm64, &about_amd64, &about_arm64], &[])];
        assert_eq!(list(&offers, false, &["linux/arm64"]), [arm64, about_arm64]);
    }

    #[test]
    fn a_platform_that_nobody_offers_is_missing() {
        let offers = [offer(&[&image("linux/amd64", "1")])];
        let platforms = ["linux/amd64", "linux/arm/v7"].map(|text| text.parse().unwrap());
        let missing = children(&offers, &Rules { append: false, platforms: &platforms }).unwrap_err();
        assert_eq!(missing.missing, ["linux/arm/v7".parse().unwrap()]);
        assert_eq!(missing.offered, ["linux/amd64".parse().unwrap()]);
    }

    #[test]
    fn a_version_of_windows_counts_if_it_is_asked_for() {
        let (old, new) = (image("windows(10.0.17763)/amd64", "1"), image("windows(10.0.20348)/amd64", "2"));
        let offers = [offer(&[&old, &new])];
        assert_eq!(list(&offers, false, &["windows/amd64"]), [old, new.clone()]);
        assert_eq!(list(&offers, false, &["windows(10.0.20348)/amd64"]), [new]);
    }

    #[test]
    fn manifests_of_docker_make_a_manifest_list_unless_there_are_annotations() {
        let docker =
            Descriptor { media_type: media_type::DOCKER_MANIFEST.into(), ..image("linux/amd64", "1") };
        let oci = image("linux/arm64", "2");
        let mut annotated = Annotations::default();
        annotated.set(Scope::ManifestDescriptor(None), "k".into(), "v".into());
        let kind = |manifests: &[&Descriptor], annotations: &Annotations| {
            let offers = [offer(manifests)];
            let listed = children(&offers, &Rules { append: false, platforms: &[] }).unwrap();
            let (descriptor, bytes) = document(&offers, &listed, false, annotations).unwrap();
            assert_eq!(Index::parse(&bytes).unwrap().media_type.as_ref(), Some(&descriptor.media_type));
            descriptor.media_type
        };
        let none = Annotations::default();
        assert_eq!(kind(&[&docker], &none), media_type::DOCKER_INDEX);
        assert_eq!(kind(&[&docker, &oci], &none), media_type::OCI_INDEX);
        assert_eq!(kind(&[&docker], &annotated), media_type::OCI_INDEX);
    }

    #[test]
    fn annotations_are_those_of_what_is_appended_to_and_new_ones() {
        let (amd64, arm64) = (image("linux/amd64", "1"), image("linux/arm64", "2"));
        let mut annotations = Annotations::default();
        annotations.set(Scope::Index, "b".into(), "new".into());
        annotations.set(
            Scope::ManifestDescriptor(Some("linux/arm64".parse().unwrap())),
            "c".into(),
            "arm".into(),
        );
        let offers = [index(&[&amd64], &[("a", "old"), ("b", "old")]), offer(&[&arm64])];
        let made = |append| {
            let listed = children(&offers, &Rules { append, platforms: &[] }).unwrap();
            Index::parse(&document(&offers, &listed, append, &annotations).unwrap().1).unwrap()
        };
        let appended = made(true);
        let pairs: Vec<(&str, &str)> =
            appended.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "old"), ("b", "new")]);
        assert!(appended.manifests[0].annotations.is_empty());
        assert_eq!(appended.manifests[1].annotations["c"], "arm");
        assert_eq!(made(false).annotations.len(), 1, "annotations of a source among others are its own");
    }
}
