//! Annotations of an index that exists. Its images stay as they are, so the new index is all that is written.

use archway_oci::{
    Descriptor, Digest, Index, Layout, Platform, Reference,
    annotations::{Annotations, Scope},
    json, media_type,
    reference::ImageLocation,
};

use super::{NoSuchPlatforms, combine, publish::push_manifest};
use crate::{
    Context, Error,
    build::{Publications, Published},
    expectation::{self, Expectations, Expected, Verdict, judge},
    origin::{Found, describe},
    tag_guard::TagGuard,
};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotateRequest {
    /// A tag at a registry, or an image in a layout.
    pub image: ImageLocation,
    /// Annotations to set: of the index and of descriptors in it.
    pub set: Annotations,
    /// Keys to remove first.
    pub remove: Vec<(Scope, String)>,
    /// What the name has to point at; `None`: whatever it does.
    pub expected: Option<Digest>,
    /// Whether nothing is to be published.
    pub dry_run: bool,
}

/// The index that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotated {
    /// What the name pointed at.
    pub before: Digest,
    /// Describes the new index.
    pub descriptor: Descriptor,
    /// The new index.
    pub bytes: Vec<u8>,
    /// What points at it now.
    pub published: Vec<Published>,
}

/// The annotations cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotateError {
    /// Nothing has this annotation.
    #[error("there is no annotation `{key}` to remove")]
    NoSuchKey {
        /// As given.
        key: String,
        /// Keys that are there.
        present: Vec<String>,
    },
    /// It is the image of one platform.
    #[error("{name} is the image of one platform, and no index")]
    NotAnIndex {
        /// As given.
        name: String,
    },
    /// It cannot be changed where it is.
    #[error("{name} cannot point at another index")]
    NotAName {
        /// As given.
        name: String,
    },
}

/// Makes an index with other annotations, and lets the name point at it.
///
/// # Errors
/// [`Error`]. The name points where it did.
pub async fn annotate(context: &Context, request: &AnnotateRequest) -> Result<Annotated, Error> {
    let name = describe(&request.image);
    match &request.image {
        ImageLocation::Registry(Reference { digest: None, .. }) | ImageLocation::OciLayout { .. } => {}
        _ => return Err(AnnotateError::NotAName { name }.into()),
    }
    let found = Found::at(context, &request.image, true).await?;
    let before = found.top.digest.clone();
    let made = make(context, &found, request, &name).await;
    let expected = request.expected.clone().map(Expected::Digest);
    match &made {
        Ok((new, _)) => judge(&name, expected.as_ref(), Some(&before), &new.digest).map(drop)?,
        // An index that nobody meant may well lack what was to be removed.
        Err(_) => expectation::check(&name, expected.as_ref(), Some(&before))?,
    }
    let (descriptor, bytes) = made?;
    let mut publications = Publications::new(&context.events);
    if !request.dry_run {
        match &request.image {
            ImageLocation::Registry(tag) => {
                if descriptor.digest != before {
                    publish(context, tag, &before, &descriptor, &bytes).await?;
                }
            }
            ImageLocation::OciLayout { dir, .. } => {
                let layout = Layout::open(dir)?;
                layout.import_blob(&*bytes, &descriptor)?;
                layout.replace(&found.top, &descriptor)?;
            }
            ImageLocation::OciArchive(_) | ImageLocation::DockerArchive(_) => unreachable!("refused above"),
        }
        publications.add(Published { target: name, digest: Some(descriptor.digest.clone()) });
    }
    Ok(Annotated { before, descriptor, bytes, published: publications.finish() })
}

/// Reads the index, and makes the new one.
async fn make(
    context: &Context,
    found: &Found,
    request: &AnnotateRequest,
    name: &str,
) -> Result<(Descriptor, Vec<u8>), Error> {
    if !media_type::is_index(&found.top.media_type) {
        return Err(AnnotateError::NotAnIndex { name: name.to_owned() }.into());
    }
    let old = found.document(context, &found.top).await?;
    document(&found.top, old, &request.set, &request.remove)
}

/// Moves the tag, if it still points at what was read.
async fn publish(
    context: &Context,
    tag: &Reference,
    read: &Digest,
    new: &Descriptor,
    bytes: &[u8],
) -> Result<(), Error> {
    let expected = &Expectations { all: Some(Expected::Digest(read.clone())), ..Expectations::default() };
    let guard = TagGuard { registry: &context.engine.registry, expected, new: &new.digest };
    if guard.look(tag).await? == Verdict::Move {
        push_manifest(context, "publish", tag, new, bytes).await?;
    }
    guard.look_after(&[tag]).await
}

/// The index with other annotations. One that stays the same stays so byte for byte.
fn document(
    top: &Descriptor,
    bytes: Vec<u8>,
    set: &Annotations,
    remove: &[(Scope, String)],
) -> Result<(Descriptor, Vec<u8>), Error> {
    let old = Index::parse(&bytes)?;
    let mut index = edit(old.clone(), set, remove)?;
    if index == old {
        let Descriptor { media_type, digest, size, .. } = top.clone();
        return Ok((Descriptor::new(media_type, digest, size), bytes));
    }
    // A manifest list of Docker has no place for annotations.
    let media_type = media_type::OCI_INDEX;
    index.media_type = Some(media_type.to_owned());
    let bytes = json::to_vec(&index);
    Ok((Descriptor::of(media_type, &bytes), bytes))
}

/// Removes, then sets.
fn edit(mut index: Index, set: &Annotations, remove: &[(Scope, String)]) -> Result<Index, Error> {
    for (scope, key) in remove {
        remove_key(&mut index, scope, key)?;
    }
    let scopes: Vec<Scope> = set.scopes().cloned().collect();
    for scope in &scopes {
        check_platform(&index, scope)?;
    }
    index.annotations.extend(set.index());
    for manifest in &mut index.manifests {
        if let Some(platform) = combine::image_platform(manifest) {
            manifest.annotations.extend(set.manifest_descriptor(&platform));
        }
    }
    Ok(index)
}

fn remove_key(index: &mut Index, scope: &Scope, key: &str) -> Result<(), Error> {
    check_platform(index, scope)?;
    let platform = scope.platform().cloned().map(Platform::normalized);
    let is_meant = |manifest: &&mut Descriptor| {
        let own = combine::image_platform(manifest);
        own.is_some() && (platform.is_none() || own == platform)
    };
    let places: Vec<_> = match scope {
        Scope::Index => vec![&mut index.annotations],
        _ => index.manifests.iter_mut().filter(is_meant).map(|manifest| &mut manifest.annotations).collect(),
    };
    let (mut present, mut removed) = (Vec::new(), false);
    for annotations in places {
        present.extend(annotations.keys().cloned());
        removed |= annotations.remove(key).is_some();
    }
    present.sort();
    present.dedup();
    match removed {
        true => Ok(()),
        false => Err(AnnotateError::NoSuchKey { key: key.to_owned(), present }.into()),
    }
}

/// An annotation for a platform that the index does not have would be lost.
fn check_platform(index: &Index, scope: &Scope) -> Result<(), Error> {
    let Some(wanted) = scope.platform().cloned().map(Platform::normalized) else { return Ok(()) };
    let offered: Vec<Platform> = index.manifests.iter().filter_map(combine::image_platform).collect();
    match offered.contains(&wanted) {
        true => Ok(()),
        false => Err(NoSuchPlatforms { missing: vec![wanted], offered }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let image = |platform: &str| {
            let mut image = Descriptor::of(media_type::OCI_MANIFEST, platform.as_bytes());
            image.platform = Some(platform.parse().unwrap());
            image.annotations.insert("each".into(), "1".into());
            image
        };
        let mut attestation = image("linux/amd64");
        attestation.platform.as_mut().unwrap().os = "unknown".into();
        attestation.platform.as_mut().unwrap().architecture = "unknown".into();
        let mut index = Index::new(vec![image("linux/amd64"), image("linux/arm64"), attestation]);
        index.annotations.insert("old".into(), "1".into());
        index
    }

    fn arm64(of: fn(Option<Platform>) -> Scope) -> Scope {
        of(Some("linux/arm64".parse().unwrap()))
    }

    fn set(scope: Scope, key: &str, value: &str) -> Annotations {
        let mut annotations = Annotations::default();
        annotations.set(scope, key.into(), value.into());
        annotations
    }

    #[test]
    fn annotations_go_where_they_are_meant_to() {
        let mut annotations = set(Scope::Index, "old", "2");
        annotations.extend(set(arm64(Scope::ManifestDescriptor), "arm", "1"));
        annotations.extend(set(Scope::ManifestDescriptor(None), "all", "1"));
        let edited = edit(index(), &annotations, &[]).unwrap();
        assert_eq!(edited.annotations["old"], "2");
        let keys: Vec<Vec<&str>> = edited
            .manifests
            .iter()
            .map(|manifest| manifest.annotations.keys().map(String::as_str).collect())
            .collect();
        assert_eq!(keys, [vec!["all", "each"], vec!["all", "arm", "each"], vec!["each"]]);
    }

    #[test]
    fn what_is_removed_is_gone_and_may_be_set_again() {
        let remove =
            [(Scope::Index, "old".to_owned()), (arm64(Scope::ManifestDescriptor), "each".to_owned())];
        let edited = edit(index(), &Annotations::default(), &remove).unwrap();
        assert!(edited.annotations.is_empty());
        let left: Vec<usize> = edited.manifests.iter().map(|manifest| manifest.annotations.len()).collect();
        assert_eq!(left, [1, 0, 1]);
        let again = edit(index(), &set(Scope::Index, "old", "3"), &remove[..1]).unwrap();
        assert_eq!(again.annotations["old"], "3");
    }

    #[test]
    fn what_is_not_there_cannot_be_removed_or_annotated() {
        let none = Annotations::default();
        match edit(index(), &none, &[(Scope::Index, "odl".to_owned())]) {
            Err(Error::Annotate(AnnotateError::NoSuchKey { key, present })) => {
                assert_eq!((key.as_str(), present), ("odl", vec!["old".to_owned()]));
            }
            other => panic!("{other:?}"),
        }
        let s390x = Scope::ManifestDescriptor(Some("linux/s390x".parse().unwrap()));
        for (set, remove) in
            [(set(s390x.clone(), "k", "v"), vec![]), (none, vec![(s390x, "each".to_owned())])]
        {
            assert!(matches!(edit(index(), &set, &remove), Err(Error::NoSuchPlatforms(_))));
        }
    }

    #[test]
    fn a_list_of_docker_becomes_an_index_only_if_it_changes() {
        let docker = Index { media_type: Some(media_type::DOCKER_INDEX.into()), ..index() };
        // As another program would write it.
        let bytes = serde_json::to_vec_pretty(&docker).unwrap();
        let top = Descriptor::of(media_type::DOCKER_INDEX, &bytes);
        let same = document(&top, bytes.clone(), &set(Scope::Index, "old", "1"), &[]).unwrap();
        assert_eq!(same, (top.clone(), bytes.clone()));
        let (descriptor, bytes) = document(&top, bytes, &set(Scope::Index, "new", "1"), &[]).unwrap();
        assert_eq!(descriptor, Descriptor::of(media_type::OCI_INDEX, &bytes));
        assert_eq!(Index::parse(&bytes).unwrap().media_type.as_deref(), Some(media_type::OCI_INDEX));
    }
}
