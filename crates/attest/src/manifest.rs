//! Statements beside their image: an attestation manifest, as BuildKit stores it since 0.32
//! (`docs/attestations/attestation-storage.md` there).
//!
//! The one manifest is found in two ways. Readers of indexes find it as the child whose platform is
//! `unknown/unknown` and whose annotations name the image; readers of OCI referrers by its `subject`.

use std::collections::BTreeMap;

use archway_oci::{Descriptor, Digest, Manifest, Platform, json, media_type};

use crate::statement::{self, Attestation, Subject};

/// The artifact type of the manifest.
pub const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// What a child of an index is that is no image.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The digest of the child that such a child is about.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// [`REFERENCE_TYPE`] of attestations.
pub const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// On the layers: the type of the predicate, so that a reader fetches only those it asks for.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// The empty JSON document, which stands where an image has its config (image-spec, "guidance for an
/// empty descriptor").
const EMPTY: &[u8] = b"{}";
const EMPTY_BASE64: &str = "e30=";

/// A blob and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Describes it.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The attestations of one image, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The manifest, as a child of the image's index.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The same, as it is hashed and stored.
    pub bytes: Vec<u8>,
    /// Everything the manifest names: its config, and a statement for each attestation, in order.
    pub blobs: Vec<Blob>,
}

/// Attaches attestations to the image that `subject` describes, under all its `names`; none is none.
pub fn attach(subject: &Descriptor, names: &[String], attestations: &[Attestation]) -> Option<Attached> {
    if attestations.is_empty() {
        return None;
    }
    let subjects: Vec<Subject> = match names {
        [] => vec![Subject::unnamed(&subject.digest)],
        names => names.iter().map(|name| Subject::new(name, &subject.digest)).collect(),
    };
    let empty =
        Descriptor { data: Some(EMPTY_BASE64.to_owned()), ..Descriptor::of(media_type::OCI_EMPTY, EMPTY) };
    let statements = attestations.iter().map(|attestation| {
        let bytes = attestation.statement(&subjects);
        let mut descriptor = Descriptor::of(statement::MEDIA_TYPE, &bytes);
        descriptor.annotations.insert(PREDICATE_TYPE.to_owned(), attestation.predicate_type().to_owned());
        Blob { descriptor, bytes }
    });
    let config = Blob { descriptor: empty, bytes: EMPTY.to_vec() };
    let blobs: Vec<Blob> = std::iter::once(config).chain(statements).collect();
    let [config, layers] = [&blobs[..1], &blobs[1..]]
        .map(|blobs| blobs.iter().map(|blob| blob.descriptor.clone()).collect::<Vec<_>>());
    let manifest = Manifest {
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        subject: Some(Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size)),
        ..Manifest::new(config.into_iter().next().expect("made above"), layers)
    };
    let bytes = json::to_vec(&manifest);
    let unknown = || "unknown".to_owned();
    let descriptor = Descriptor {
        annotations: BTreeMap::from([
            (REFERENCE_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned()),
            (REFERENCE_DIGEST.to_owned(), subject.digest.to_string()),
        ]),
        platform: Some(Platform { os: unknown(), architecture: unknown(), ..Platform::default() }),
        ..Descriptor::of(media_type::OCI_MANIFEST, &bytes)
    };
    Some(Attached { descriptor, manifest, bytes, blobs })
}

/// The image that a child of an index attests something of, if it does.
pub fn attested(child: &Descriptor) -> Option<Digest> {
    let kind = child.annotations.get(REFERENCE_TYPE)?;
    let digest = child.annotations.get(REFERENCE_DIGEST)?;
    (kind == ATTESTATION_MANIFEST).then(|| digest.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subject() -> Descriptor {
        let mut subject = Descriptor::of(media_type::OCI_MANIFEST, b"image");
        subject.platform = Some(Platform::parse("linux/arm64").unwrap());
        subject.annotations.insert("of.the".to_owned(), "index".to_owned());
        subject
    }

    fn attestations() -> [Attestation; 2] {
        ["https://example.com/one", "https://example.com/two"]
            .map(|kind| Attestation::new(kind, &json!({"a": "b"})))
    }

    #[test]
    fn nothing_to_say_attaches_nothing() {
        assert_eq!(attach(&subject(), &["name".to_owned()], &[]), None);
    }

    #[test]
    fn the_manifest_is_the_one_that_readers_of_buildkits_know() {
        let attached = attach(&subject(), &[], &attestations()).unwrap();
        let image = Digest::sha256(b"image");
        let layer = |index: usize| {
            let blob = &attached.blobs[index];
            assert!(blob.descriptor.digest.verifies(&blob.bytes));
            (blob.descriptor.digest.as_str(), blob.descriptor.size)
        };
        let (one, two) = (layer(1), layer(2));
        let manifest: serde_json::Value = serde_json::from_slice(&attached.bytes).unwrap();
        assert_eq!(
            manifest,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "size": 2,
                    "data": "e30=",
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.in-toto+json",
                        "digest": one.0,
                        "size": one.1,
                        "annotations": {"in-toto.io/predicate-type": "https://example.com/one"},
                    },
                    {
                        "mediaType": "application/vnd.in-toto+json",
                        "digest": two.0,
                        "size": two.1,
                        "annotations": {"in-toto.io/predicate-type": "https://example.com/two"},
                    },
                ],
                // Only what says which content it is.
                "subject": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": image.as_str(),
                    "size": 5,
                },
            })
        );
        assert_eq!(Manifest::parse(&attached.bytes).unwrap(), attached.manifest);
        assert!(attached.blobs[0].descriptor.digest.verifies(&attached.blobs[0].bytes));
        assert!(attached.descriptor.digest.verifies(&attached.bytes));
        assert!(attached.descriptor.platform.as_ref().unwrap().is_unknown());
        assert_eq!(attested(&attached.descriptor), Some(image));
        assert_eq!(attested(&subject()), None);
    }

    #[test]
    fn every_name_of_the_image_is_a_subject() {
        let names = ["pkg:docker/a@1".to_owned(), "pkg:docker/b@1".to_owned()];
        let attached = attach(&subject(), &names, &attestations()).unwrap();
        for blob in &attached.blobs[1..] {
            let statement: serde_json::Value = serde_json::from_slice(&blob.bytes).unwrap();
            let subjects = statement["subject"].as_array().unwrap();
            assert_eq!(subjects.len(), names.len());
            assert!(subjects.iter().zip(&names).all(|(subject, name)| subject["name"] == name.as_str()));
            let hex = Digest::sha256(b"image").hex().to_owned();
            assert!(subjects.iter().all(|subject| subject["digest"] == json!({"sha256": hex})));
        }
    }
}
