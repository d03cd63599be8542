//! Manifests about another one, in layouts and at registries, made and read without Archway.

use std::{fs, path::Path};

use archway_oci::{Descriptor, Digest, Index, Manifest, media_type, referrer};
use archway_testkit::Skopeo;

/// What the signatures of these tests are.
pub(crate) const SIGNATURE: &str = "application/vnd.example.signature";

/// Adds to a layout a manifest about `subject` that says `text`, with its entry in `index.json` as containerd and
/// buildx write it.
pub(crate) fn sign(layout: &Path, subject: &Descriptor, text: &str) -> Descriptor {
    let blob = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(layout.join("blobs/sha256").join(descriptor.digest.hex()), bytes).unwrap();
        descriptor
    };
    let config = blob(media_type::OCI_EMPTY, b"{}");
    let content = blob("text/plain", text.as_bytes());
    let mut manifest = Manifest::new(config, vec![content]);
    manifest.artifact_type = Some(SIGNATURE.into());
    manifest.annotations.insert("says".into(), text.into());
    let mut plain = subject.clone();
    plain.annotations.clear();
    plain.platform = None;
    manifest.subject = Some(plain);
    let mut descriptor = blob(media_type::OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    descriptor.artifact_type = Some(SIGNATURE.into());
    descriptor.annotations = manifest.annotations;

    let path = layout.join("index.json");
    let mut index: Index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut entry = descriptor.clone();
    entry.annotations.insert("io.containerd.manifest.subject".into(), subject.digest.to_string());
    index.manifests.push(entry);
    fs::write(path, serde_json::to_vec(&index).unwrap()).unwrap();
    descriptor
}

/// What the tag of a registry without the referrers API lists; nothing if there is no such tag.
pub(crate) fn listed(repository: &str, subject: &Digest) -> Vec<Descriptor> {
    let tag = referrer::fallback_tag(subject);
    if !Skopeo::new().tags(repository).unwrap().contains(&tag) {
        return Vec::new();
    }
    let list = Skopeo::new().raw_manifest(&format!("docker://{repository}:{tag}")).unwrap();
    Index::parse(&list).unwrap().manifests
}
