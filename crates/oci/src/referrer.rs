//! Referrers: manifests that are about another one, such as signatures (image-spec "subject",
//! distribution-spec "Listing Referrers").

use crate::{Descriptor, Digest, Index, Manifest, json::DocumentError, media_type};

/// Annotation of an entry in a layout's `index.json`: the digest of what the entry is about. As containerd and
/// buildx write it; the image layout has no rule of its own.
pub const LAYOUT_SUBJECT: &str = "io.containerd.manifest.subject";

/// Longest algorithm and longest encoded part of a digest in a [`fallback_tag`].
const LONGEST: (usize, usize) = (32, 64);

/// A manifest or index that has a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// What it is about.
    pub subject: Descriptor,
    /// Describes it as lists of referrers do: with its artifact type and its annotations.
    pub descriptor: Descriptor,
}

impl Referrer {
    /// Reads a manifest or index; `None` if it has no subject.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn of(media_type: &str, bytes: &[u8]) -> Result<Option<Self>, DocumentError> {
        let (subject, artifact_type, annotations) = if media_type::is_index(media_type) {
            let index = Index::parse(bytes)?;
            (index.subject, index.artifact_type, index.annotations)
        } else {
            let manifest = Manifest::parse(bytes)?;
            // What images were called before there were artifact types.
            let artifact_type = manifest.artifact_type.filter(|name| !name.is_empty());
            let artifact_type = artifact_type.unwrap_or(manifest.config.media_type);
            (manifest.subject, Some(artifact_type), manifest.annotations)
        };
        let descriptor = Descriptor { artifact_type, annotations, ..Descriptor::of(media_type, bytes) };
        Ok(subject.map(|subject| Self { subject, descriptor }))
    }
}

/// The tag under which a registry without the referrers API keeps the list of a subject's referrers, an
/// image index (distribution-spec "Referrers Tag Schema").
pub fn fallback_tag(subject: &Digest) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    let part = |text: &str, longest| text.chars().take(longest).map(allowed).collect::<String>();
    format!("{}-{}", part(subject.algorithm(), LONGEST.0), part(subject.hex(), LONGEST.1))
}

/// Adds a referrer to a list. Returns false if the list has it.
pub fn insert(list: &mut Index, referrer: &Descriptor) -> bool {
    let is_new = list.manifests.iter().all(|listed| listed.digest != referrer.digest);
    if is_new {
        list.manifests.push(referrer.clone());
    }
    is_new
}

/// An entry for a layout's `index.json`.
#[must_use]
pub fn layout_entry(referrer: &Descriptor, subject: &Digest) -> Descriptor {
    let mut entry = referrer.clone();
    entry.annotations.insert(LAYOUT_SUBJECT.into(), subject.to_string());
    entry
}

/// Whether an entry of a layout's `index.json` is there for an image, and is none that a user would name.
/// `name` is its name, if it has one.
pub fn is_layout_entry(entry: &Descriptor, name: Option<&str>) -> bool {
    // Other tools keep the lists of registries without the API, under the same tags.
    let is_list = |name: &str| {
        let digest =
            name.split_once('-').and_then(|(algorithm, hex)| format!("{algorithm}:{hex}").parse().ok());
        digest.is_some_and(|digest: Digest| fallback_tag(&digest) == name)
    };
    entry.annotations.contains_key(LAYOUT_SUBJECT) || name.is_some_and(is_list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    const SIGNATURE: &str = "application/vnd.example.signature";

    fn subject() -> Descriptor {
        Descriptor::of(media_type::OCI_MANIFEST, b"image")
    }

    fn manifest() -> Manifest {
        let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
        Manifest { subject: Some(subject()), ..Manifest::new(config, Vec::new()) }
    }

    #[test]
    fn a_referrer_is_listed_by_what_it_says_of_itself() {
        let mut manifest = manifest();
        manifest.artifact_type = Some(SIGNATURE.into());
        manifest.annotations.insert("k".into(), "v".into());
        let bytes = json::to_vec(&manifest);
        let referrer = Referrer::of(media_type::OCI_MANIFEST, &bytes).unwrap().unwrap();
        assert_eq!(referrer.subject, subject());
        assert_eq!(referrer.descriptor.digest, Digest::sha256(&bytes));
        assert_eq!(referrer.descriptor.artifact_type.as_deref(), Some(SIGNATURE));
        assert_eq!(referrer.descriptor.annotations, manifest.annotations);
    }

    #[test]
    fn the_type_of_a_manifest_may_be_that_of_its_config_but_not_of_an_index() {
        let listed = |media_type: &str, bytes: Vec<u8>| {
            Referrer::of(media_type, &bytes).unwrap().unwrap().descriptor.artifact_type
        };
        assert_eq!(
            listed(media_type::OCI_MANIFEST, json::to_vec(&manifest())).as_deref(),
            Some(media_type::OCI_EMPTY)
        );
        let index = Index { subject: Some(subject()), ..Index::new(Vec::new()) };
        assert_eq!(listed(media_type::OCI_INDEX, json::to_vec(&index)), None);
    }

    #[test]
    fn most_manifests_are_about_nothing() {
        let image = Manifest { subject: None, ..manifest() };
        assert_eq!(Referrer::of(media_type::OCI_MANIFEST, &json::to_vec(&image)).unwrap(), None);
    }

    #[test]
    fn a_tag_is_made_of_any_digest() {
        let sha256 = Digest::sha256(b"x");
        assert_eq!(fallback_tag(&sha256), format!("sha256-{}", sha256.hex()));
        let sha512: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(fallback_tag(&sha512), format!("sha512-{}", "ab".repeat(32)));
    }

    #[test]
    fn entries_of_layouts_that_are_no_images_are_known() {
        let image = subject();
        let entry = layout_entry(&image, &image.digest);
        let list = fallback_tag(&image.digest);
        for (entry, name, expected) in [
            (&entry, None, true),
            (&image, None, false),
            (&image, Some("1"), false),
            (&image, Some("sha256-of-something"), false),
            (&image, Some(list.as_str()), true),
        ] {
            assert_eq!(is_layout_entry(entry, name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_referrer_is_listed_once() {
        let mut list = Index::new(Vec::new());
        assert!(insert(&mut list, &subject()));
        assert!(!insert(&mut list, &subject()));
        assert_eq!(list.manifests, [subject()]);
    }
}
