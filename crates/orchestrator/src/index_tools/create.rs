//! An index over images that exist already, as `docker buildx imagetools create` makes it.

use std::sync::Arc;

use archway_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference,
    annotations::{Annotations, Scope},
    media_type,
    reference::ImageLocation,
    verify,
};
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};

use super::{
    closure::{self, PARALLEL, Part},
    combine::{self, Child, Offer, Rules},
    publish::{self, Whole},
};
use crate::{
    Context, Error,
    build::Published,
    expectation::{Expectations, Expected},
    origin::{Found, Origin, describe},
    request::PublicationRules,
    tag_guard::TagGuard,
};

/// An image that the new index is to list, or an index whose images it is to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A place with an image or index.
    Location(ImageLocation),
    /// What is described so in the repository that everything else is in. What the descriptor says of
    /// platform and annotations counts.
    Descriptor(Box<Descriptor>),
    /// What has this digest there.
    Digest(Digest),
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateRequest {
    /// In the order in which the index lists them.
    pub sources: Vec<Source>,
    /// What is to point at the index.
    pub tags: Vec<Reference>,
    /// Whether the sources are added to what the first tag points at.
    pub append: bool,
    /// Platforms that the index is to have; empty: all there are.
    pub platforms: Vec<Platform>,
    /// Annotations of the index and of the descriptors in it.
    pub annotations: Annotations,
    /// Whether a single image becomes an index of one, rather than being copied as it is.
    pub prefer_index: bool,
    /// How it is published. A tag that is appended to has to point at what was read.
    pub publication: PublicationRules,
    /// Whether nothing is to be published.
    pub dry_run: bool,
}

/// The index that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Describes it.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
    /// The tags that point at it now.
    pub published: Vec<Published>,
}

/// Makes the index, verifies the images it lists, and moves the tags to it when everything else is where
/// it belongs.
///
/// # Errors
/// [`Error`]. No tag has moved then, unless a registry failed in the midst of several.
pub async fn create(context: &Context, request: &CreateRequest) -> Result<Created, Error> {
    let tags = publish::tags(&request.tags);
    request.publication.check(!tags.is_empty(), &tags, "leave it out, or name a tag with `-t`")?;
    let found = find(context, request).await?;
    let offers = try_join_all(found.iter().map(|source| offer(context, source))).await?;
    let rules = Rules { append: request.append, platforms: &request.platforms };
    let children = combine::children(&offers, &rules)?;
    check_annotations(&request.annotations, &children)?;
    let documents = children.iter().map(|child| load(context, &found[child.source].found, child));
    let parts: Vec<Part> =
        stream::iter(documents.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await?;
    let (descriptor, bytes) = top(context, request, &found, &offers, &children).await?;
    let expected = expectations(request, &found, &descriptor.digest)?;
    let rules = PublicationRules { expected, ..request.publication.clone() };
    let published = match request.dry_run {
        true => {
            let registry = &context.engine.registry;
            let guard = TagGuard { registry, expected: &rules.expected, new: &descriptor.digest };
            guard.look_if_expected(&tags).await?;
            Vec::new()
        }
        false => {
            let subjects = subjects(request, &found, &parts, &descriptor, &bytes)?;
            let referrers = closure::referrers(context, &subjects).await?;
            let (top, bytes) = (&descriptor, &*bytes);
            let whole = Whole { top, bytes, parts: &parts, blobs: &[], referrers: &referrers };
            publish::publish(context, &request.tags, &rules, &whole).await?.0
        }
    };
    Ok(Created { descriptor, bytes, published })
}

/// A source, found.
struct FoundSource {
    found: Arc<Found>,
    /// What the user says of it.
    stated: Option<Descriptor>,
}

impl CreateRequest {
    /// The tag whose index the sources are added to.
    fn appended_to(&self) -> Option<&Reference> {
        self.tags.first().filter(|_| self.append)
    }
}

/// What is expected of tags, with what follows from reading one: an image that somebody else has appended since
/// would be lost.
fn expectations(request: &CreateRequest, found: &[FoundSource], new: &Digest) -> Result<Expectations, Error> {
    let mut expected = request.publication.expected.clone();
    if let Some((tag, first)) = request.appended_to().zip(found.first()) {
        let read = &first.found.top.digest;
        expected.judge(tag, Some(read), new)?;
        expected.tags.insert(tag.clone(), Expected::Digest(read.clone()));
    }
    Ok(expected)
}

/// Finds all sources; with `append` what the first tag points at comes first.
async fn find(context: &Context, request: &CreateRequest) -> Result<Vec<FoundSource>, Error> {
    let appended_to = request.appended_to().map(|tag| Source::Location(ImageLocation::Registry(tag.clone())));
    let sources: Vec<Source> = appended_to.into_iter().chain(request.sources.clone()).collect();
    let home = &repository(&sources, &request.tags);
    let finding = sources.iter().map(|source| async move {
        let by_digest = |digest: &Digest| match home {
            Some(home) => Ok(ImageLocation::Registry(home.with_digest(digest.clone()))),
            None => Err(Error::Output {
                message: format!("it is not clear in which repository {digest} is"),
                hint: Some("write it as NAME@DIGEST".to_owned()),
            }),
        };
        let (location, stated) = match source {
            Source::Location(location) => (location.clone(), None),
            Source::Digest(digest) => (by_digest(digest)?, None),
            Source::Descriptor(stated) => (by_digest(&stated.digest)?, Some(Descriptor::clone(stated))),
        };
        // A name in the local store may be older than what the registry has.
        let found = Found::at(context, &location, true).await?;
        Ok(FoundSource { found: Arc::new(found), stated })
    });
    try_join_all(finding).await
}

/// The only repository that sources and tags name.
fn repository(sources: &[Source], tags: &[Reference]) -> Option<Reference> {
    let named = sources.iter().filter_map(|source| match source {
        Source::Location(ImageLocation::Registry(reference)) => Some(reference),
        _ => None,
    });
    let mut all = named.chain(tags);
    let first = all.next()?;
    all.all(|other| other.repository_name() == first.repository_name()).then(|| Reference {
        tag: None,
        digest: None,
        ..first.clone()
    })
}

/// What a source offers: the manifests of an index, however deep, or its only manifest.
async fn offer(context: &Context, source: &FoundSource) -> Result<Offer, Error> {
    let FoundSource { found, stated } = source;
    let mut top = found.top.clone();
    if let Some(stated) = stated {
        top.platform.clone_from(&stated.platform);
        top.annotations.clone_from(&stated.annotations);
    }
    Offer::of(context, found, top).await
}

impl Offer {
    /// What `found` offers, described as `top`.
    pub(super) async fn of(context: &Context, found: &Found, top: Descriptor) -> Result<Self, Error> {
        let index = match media_type::is_index(&top.media_type) {
            true => Some((top.clone(), Index::parse(&found.document(context, &top).await?)?)),
            false => None,
        };
        let manifests = found.manifests(context, top).await?.into_iter().map(|mut descriptor| async move {
            if descriptor.platform.is_none() {
                let (_, config) = found.image(context, &descriptor).await?;
                descriptor.platform = Some(config.platform.normalized());
            }
            Ok::<_, Error>(descriptor)
        });
        Ok(Self { manifests: try_join_all(manifests).await?, index })
    }
}

/// Annotations for a platform that the index does not have would be lost.
fn check_annotations(annotations: &Annotations, children: &[Child]) -> Result<(), Error> {
    let listed: Vec<Platform> =
        children.iter().filter_map(|child| combine::image_platform(&child.descriptor)).collect();
    let wanted = annotations.scopes().filter_map(Scope::platform).cloned().map(Platform::normalized);
    let missing: Vec<Platform> = wanted.filter(|platform| !listed.contains(platform)).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(super::NoSuchPlatforms { missing, offered: listed }.into()),
    }
}

/// What is copied to another repository than it is in, and so takes along what refers to it. The index is
/// among it if it is a source as it was.
fn subjects(
    request: &CreateRequest,
    found: &[FoundSource],
    parts: &[Part],
    top: &Descriptor,
    bytes: &[u8],
) -> Result<Vec<Part>, Error> {
    let source = found.iter().find(|source| source.found.top.digest == top.digest);
    let index = source.map(|source| Part::new(&source.found, top.clone(), bytes.to_vec())).transpose()?;
    let is_elsewhere = |part: &Part| match &part.found.origin {
        Origin::Registry(home) => {
            request.tags.iter().any(|tag| tag.repository_name() != home.repository_name())
        }
        Origin::Store | Origin::Layout(_) | Origin::Archive(_) => true,
    };
    Ok(parts.iter().cloned().chain(index).filter(is_elsewhere).collect())
}

/// Reads what a child consists of. An image has to be what its descriptor says.
async fn load(context: &Context, found: &Arc<Found>, child: &Child) -> Result<Part, Error> {
    let descriptor = &child.descriptor;
    let part = Part::read(context, found, descriptor.clone()).await?;
    if let Some(platform) = combine::image_platform(descriptor) {
        let manifest = Manifest::parse(&part.bytes)?;
        let config = ImageConfig::parse(&found.document(context, &manifest.config).await?)?;
        let findings = verify::child(&platform, descriptor, &manifest, &config);
        if !findings.is_empty() {
            return Err(Error::Unverified { digest: descriptor.digest.clone(), platform, findings });
        }
    }
    Ok(part)
}

/// The document that the tags will point at.
async fn top(
    context: &Context,
    request: &CreateRequest,
    found: &[FoundSource],
    offers: &[Offer],
    children: &[Child],
) -> Result<(Descriptor, Vec<u8>), Error> {
    let as_it_is = match (offers, children) {
        ([Offer { index: None, .. }], [only]) if !request.prefer_index && request.annotations.is_empty() => {
            Some(&only.descriptor)
        }
        _ => combine::unchanged(offers, children, &request.annotations),
    };
    match as_it_is {
        Some(descriptor) => {
            let bytes = found[0].found.document(context, descriptor).await?;
            let Descriptor { media_type, digest, size, .. } = descriptor.clone();
            Ok((Descriptor::new(media_type, digest, size), bytes))
        }
        None => combine::document(offers, children, request.append, &request.annotations),
    }
}

/// How a source is named in messages.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Location(location) => f.write_str(&describe(location)),
            Self::Descriptor(descriptor) => write!(f, "{}", descriptor.digest),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_looked_for_where_all_the_rest_is() {
        let location = |text: &str| Source::Location(text.parse().unwrap());
        let tag = |text: &str| text.parse::<Reference>().unwrap();
        let name = |sources: &[Source], tags: &[Reference]| {
            repository(sources, tags).map(|reference| reference.repository_name())
        };
        let digest = Source::Digest(Digest::sha256(b"x"));
        let app = Some("r.example/app".to_owned());
        assert_eq!(
            name(std::slice::from_ref(&digest), &[tag("r.example/app:1"), tag("r.example/app:2")]),
            app
        );
        assert_eq!(name(&[digest.clone(), location("r.example/app:arm")], &[]), app);
        assert_eq!(name(&[digest.clone(), location("oci:dir")], &[tag("r.example/app:1")]), app);
        assert_eq!(name(&[digest.clone(), location("r.example/other:1")], &[tag("r.example/app:1")]), None);
        assert_eq!(name(&[digest], &[]), None);
    }

    #[test]
    fn what_is_appended_to_must_not_move_meanwhile() {
        let top = Descriptor::of(media_type::OCI_INDEX, b"read");
        let (read, [new, other]) =
            (top.digest.clone(), ["new", "other"].map(|s| Digest::sha256(s.as_bytes())));
        let found = [FoundSource { found: Arc::new(Found { origin: Origin::Store, top }), stated: None }];
        let tags: Vec<Reference> = ["r.io/a:1", "r.io/a:2"].map(|tag| tag.parse().unwrap()).into();
        let of_first = |append, all: Option<&Digest>| {
            let all = all.cloned().map(Expected::Digest);
            let expected = Expectations { all, ..Expectations::default() };
            let publication = PublicationRules { expected, ..PublicationRules::default() };
            let request =
                CreateRequest { tags: tags.clone(), append, publication, ..CreateRequest::default() };
            expectations(&request, &found, &new).ok().map(|expected| expected.of(&tags[0]).cloned())
        };
        let where_it_was_read = Some(Some(Expected::Digest(read.clone())));
        assert_eq!(of_first(false, None), Some(None));
        assert_eq!(of_first(true, None), where_it_was_read);
        assert_eq!(of_first(true, Some(&read)), where_it_was_read);
        assert_eq!(of_first(true, Some(&other)), None, "it was not read where it is expected");
    }
}
