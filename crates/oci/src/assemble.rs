//! One image index from the images of several platforms (image-spec `image-index.md`).

use std::collections::BTreeMap;

use crate::{Descriptor, Digest, Index, Platform, json, media_type};

/// The children do not make an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// There are none.
    #[error("an image index needs at least one image")]
    Empty,
    /// A child has no platform, so nobody could choose it.
    #[error("image {0} has no platform")]
    NoPlatform(Digest),
    /// A child is not an image manifest. Indexes are to be flattened before.
    #[error("{digest} is not an image manifest: its media type is `{media_type}`")]
    NotAManifest {
        /// The child.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Two children are for the same platform, so that one could never be chosen.
    #[error("images {first} and {second} are both for {}", platform.specifier())]
    DuplicatePlatform {
        /// The platform, in normal form.
        platform: Box<Platform>,
        /// The child that comes first.
        first: Digest,
        /// The other.
        second: Digest,
    },
}

/// The OCI image index over `children`, in their order, and the bytes to hash and push.
///
/// Attestations (`unknown/unknown`) may occur any number of times.
///
/// # Errors
/// [`AssembleError`].
pub fn image_index(
    children: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<(Index, Vec<u8>), AssembleError> {
    if children.is_empty() {
        return Err(AssembleError::Empty);
    }
    let mut seen: BTreeMap<Platform, &Digest> = BTreeMap::new();
    for child in children {
        let platform = platform_of(child)?;
        if platform.is_unknown() {
            continue;
        }
        if let Some(first) = seen.insert(platform.clone(), &child.digest) {
            return Err(AssembleError::DuplicatePlatform {
                platform: Box::new(platform),
                first: first.clone(),
                second: child.digest.clone(),
            });
        }
    }
    let index = Index { annotations: annotations.clone(), ..Index::new(children.to_vec()) };
    let bytes = json::to_vec(&index);
    Ok((index, bytes))
}

/// The platform of a child that may be in an index, in normal form.
fn platform_of(child: &Descriptor) -> Result<Platform, AssembleError> {
    if !media_type::is_manifest(&child.media_type) {
        return Err(AssembleError::NotAManifest {
            digest: child.digest.clone(),
            media_type: child.media_type.clone(),
        });
    }
    match &child.platform {
        Some(platform) => Ok(platform.clone().normalized()),
        None => Err(AssembleError::NoPlatform(child.digest.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(platform: &str, content: &str) -> Descriptor {
        let mut child = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
        child.platform = Some(Platform::parse(platform).unwrap());
        child
    }

    #[test]
    fn order_and_annotations_are_kept() {
        let children = [child("linux/s390x", "1"), child("linux/amd64", "2"), child("linux/arm/v6", "3")];
        let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let (index, bytes) = image_index(&children, &annotations).unwrap();
        assert_eq!(index.manifests, children);
        assert_eq!(index.media_type.as_deref(), Some(media_type::OCI_INDEX));
        assert_eq!(index.annotations, annotations);
        assert_eq!(Index::parse(&bytes).unwrap(), index);
    }

    #[test]
    fn the_bytes_never_change() {
        let (_, bytes) = image_index(&[child("linux/arm/v7", "x")], &BTreeMap::new()).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            concat!(
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#,
                r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1,"#,
                r#""platform":{"architecture":"arm","os":"linux","variant":"v7"}}]}"#,
            )
        );
    }

    #[test]
    fn a_platform_occurs_once_under_any_spelling() {
        let mut spelled = child("linux/arm64", "2");
        spelled.platform = Some(Platform {
            os: "linux".into(),
            architecture: "aarch64".into(),
            variant: Some("v8".into()),
            ..Platform::default()
        });
        let children = [child("linux/arm64", "1"), spelled];
        let error = image_index(&children, &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error,
            AssembleError::DuplicatePlatform {
                platform: Box::new(Platform::parse("linux/arm64").unwrap()),
                first: children[0].digest.clone(),
                second: children[1].digest.clone(),
            }
        );
    }

    #[test]
    fn windows_versions_and_attestations_may_repeat() {
        let mut attestation = child("linux/amd64", "a");
        attestation.platform =
            Some(Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() });
        let children = [
            child("windows(10.0.17763)/amd64", "1"),
            child("windows(10.0.20348)/amd64", "2"),
            attestation.clone(),
            attestation,
        ];
        assert!(image_index(&children, &BTreeMap::new()).is_ok());
    }

    #[test]
    fn what_is_no_image_of_a_platform_is_refused() {
        assert_eq!(image_index(&[], &BTreeMap::new()), Err(AssembleError::Empty));
        let mut bare = child("linux/amd64", "1");
        bare.platform = None;
        let error = image_index(std::slice::from_ref(&bare), &BTreeMap::new()).unwrap_err();
        assert_eq!(error, AssembleError::NoPlatform(bare.digest));
        let nested = Descriptor { media_type: media_type::OCI_INDEX.into(), ..child("linux/amd64", "1") };
        let error = image_index(&[nested], &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, AssembleError::NotAManifest { .. }));
    }
}
