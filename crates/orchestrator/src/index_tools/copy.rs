//! An image from one place to another, as it is: documents are not rewritten, so digests stay, and what is
//! signed stays signed.

use std::sync::Arc;

use archway_oci::{
    Descriptor, Digest, Platform, Reference,
    annotations::Annotations,
    platform::best_match,
    reference::{ImageLocation, TagOrDigest},
};
use archway_report::Event;

use super::{
    closure::{self, Part},
    combine::{self, Offer, Rules},
    files,
    publish::{self, Transfers, Whole},
};
use crate::{
    Context, Error,
    build::Published,
    origin::{Found, describe},
    request::PublicationRules,
};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// Where the image is. A reference is looked up at its registry.
    pub source: ImageLocation,
    /// Where it is to be, too. A digest has to be that of the copy.
    pub destination: ImageLocation,
    /// Platforms that are copied; empty: all there are.
    pub platforms: Vec<Platform>,
    /// Whether what refers to the image, such as signatures, is copied, too.
    pub referrers: bool,
    /// How it is published, if the destination is a registry.
    pub publication: PublicationRules,
}

/// The copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What was at the source.
    pub source: Descriptor,
    /// What is at the destination. Another digest if only some platforms were wanted.
    pub descriptor: Descriptor,
    /// Documents that refer to it and were copied.
    pub referrers: usize,
    /// How its blobs came there.
    pub transfers: Transfers,
    /// What points at it now.
    pub published: Vec<Published>,
}

/// Copies an image. The name at the destination comes last.
///
/// # Errors
/// [`Error`]. The name at the destination points where it did.
pub async fn copy(context: &Context, request: &CopyRequest) -> Result<Copied, Error> {
    let is_pushed = matches!(request.destination, ImageLocation::Registry(_));
    request.publication.check(
        is_pushed,
        &moved(&request.destination),
        "leave it out, or name a tag to copy to",
    )?;
    let found = Arc::new(Found::at(context, &request.source, true).await?);
    if let ImageLocation::DockerArchive(path) = &request.destination {
        let image = one_platform(context, &found, request).await?;
        return files::docker_archive(context, &found, image, &tags(&request.source), path).await;
    }
    let top = choose(context, &found, &request.platforms).await?;
    check_digest(&request.destination, &top.descriptor)?;
    let mut parts = closure::below(context, top).await?;
    let referrers = match request.referrers {
        true => closure::referrers(context, &parts).await?,
        false => Vec::new(),
    };
    let top = parts.pop().expect("the topmost document is among them, as the last");
    if request.referrers && top.descriptor.digest != found.top.digest {
        tell_who_stays(context, &found).await?;
    }
    let blobs: Vec<(Descriptor, &Found)> = top.blobs.iter().map(|blob| (blob.clone(), &*found)).collect();
    let whole = Whole {
        top: &top.descriptor,
        bytes: &top.bytes,
        parts: &parts,
        blobs: &blobs,
        referrers: &referrers,
    };
    let (published, transfers) = match &request.destination {
        ImageLocation::Registry(reference) => {
            publish::publish(context, std::slice::from_ref(reference), &request.publication, &whole).await?
        }
        ImageLocation::OciLayout { dir, tag_or_digest } => {
            let entry = entry(&top.descriptor, request, &found, tag_or_digest.as_ref());
            files::layout(context, dir, &entry, &whole).await?
        }
        ImageLocation::OciArchive(path) => {
            let entry = entry(&top.descriptor, request, &found, None);
            files::oci_archive(context, path, &entry, &whole).await?
        }
        ImageLocation::DockerArchive(_) => unreachable!("done above"),
    };
    let descriptor = top.descriptor.clone();
    let referrers = referrers.iter().filter(|part| part.referrer.is_some()).count();
    Ok(Copied { source: found.top.clone(), descriptor, referrers, transfers, published })
}

/// The tag that the copy gets in a registry, if it gets one.
fn moved(destination: &ImageLocation) -> Vec<&Reference> {
    match destination {
        ImageLocation::Registry(reference) => publish::tags(std::slice::from_ref(reference)),
        _ => Vec::new(),
    }
}

/// The document to copy: that of the source, or a new index of the images for `platforms`.
async fn choose(context: &Context, found: &Arc<Found>, platforms: &[Platform]) -> Result<Part, Error> {
    if !platforms.is_empty() {
        let offers = [Offer::of(context, found, found.top.clone()).await?];
        let children = combine::children(&offers, &Rules { append: false, platforms })?;
        let none = Annotations::default();
        let is_whole = offers[0].index.is_none() || combine::unchanged(&offers, &children, &none).is_some();
        if !is_whole {
            let (descriptor, bytes) = combine::document(&offers, &children, false, &none)?;
            return Part::new(found, descriptor, bytes);
        }
    }
    let Descriptor { media_type, digest, size, .. } = found.top.clone();
    Part::read(context, found, Descriptor::new(media_type, digest, size)).await
}

/// A signature of the whole index says nothing of an index of some of its platforms.
async fn tell_who_stays(context: &Context, found: &Found) -> Result<(), Error> {
    let count = found.referrers(context, &found.top.digest).await?.len();
    if count > 0 {
        let message = format!(
            "{count} {} left behind, about {}: the copy, of some platforms, is another index",
            if count == 1 { "referrer is" } else { "referrers are" },
            found.top.digest
        );
        context.events.send(Event::Warning { message });
    }
    Ok(())
}

fn check_digest(destination: &ImageLocation, copy: &Descriptor) -> Result<(), Error> {
    let wanted: Option<&Digest> = match destination {
        ImageLocation::Registry(reference) => reference.digest.as_ref(),
        ImageLocation::OciLayout { tag_or_digest: Some(TagOrDigest::Digest(digest)), .. } => Some(digest),
        _ => None,
    };
    match wanted {
        Some(wanted) if *wanted != copy.digest => Err(Error::Output {
            message: format!("{} cannot be had: the copy is {}", describe(destination), copy.digest),
            hint: Some("leave the digest out".to_owned()),
        }),
        _ => Ok(()),
    }
}

/// The image for a Docker archive, which holds one.
async fn one_platform(context: &Context, found: &Found, request: &CopyRequest) -> Result<Descriptor, Error> {
    let name = describe(&request.source);
    if let [platform] = &*request.platforms {
        return found.child(context, &name, platform).await;
    }
    let mut children = found.children(context).await?;
    if request.platforms.is_empty() {
        let offered = children.iter().map(|(platform, _)| platform);
        let only = (children.len() == 1).then_some(0);
        if let Some(index) = only.or_else(|| best_match(&Platform::host(), offered)) {
            return Ok(children.swap_remove(index).1);
        }
    }
    Err(Error::Output {
        message: "a Docker archive holds the image of one platform".to_owned(),
        hint: Some("name it with `--platform`, or write `oci-archive:FILE`".to_owned()),
    })
}

/// Names that a Docker archive has for its image.
fn tags(source: &ImageLocation) -> Vec<Reference> {
    match source {
        ImageLocation::Registry(reference) if reference.tag.is_some() => {
            vec![Reference { digest: None, ..reference.clone() }]
        }
        _ => Vec::new(),
    }
}

/// The entry of a layout's `index.json`: under the name that is wanted, or else that of the source.
fn entry(top: &Descriptor, request: &CopyRequest, found: &Found, wanted: Option<&TagOrDigest>) -> Descriptor {
    let mut entry = top.clone();
    let mut set = |key: &str, value: &str| entry.annotations.insert(key.to_owned(), value.to_owned());
    match (wanted, &request.source) {
        (Some(TagOrDigest::Tag(tag)), _) => {
            set(files::REF_NAME, tag);
        }
        (Some(TagOrDigest::Digest(_)), _) => {}
        (None, ImageLocation::Registry(reference)) => {
            if let Some(tag) = &reference.tag {
                set(files::REF_NAME, tag);
                set(files::IMAGE_NAME, &Reference { digest: None, ..reference.clone() }.to_string());
            }
        }
        (None, _) => {
            for key in [files::REF_NAME, files::IMAGE_NAME] {
                if let Some(name) = found.top.annotations.get(key) {
                    set(key, name);
                }
            }
        }
    }
    entry
}
