//! All that an image consists of: the documents below its topmost one, what they name, and what refers to them.
//!
//! Documents are taken as they are, nested indexes too, so that digests stay. What they say is hostile until
//! read: how many there are, and how deep, is bounded; cycles cannot be made of digests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use archway_oci::{Descriptor, Digest, Index, Manifest, media_type, referrer::Referrer};
use archway_report::Event;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Context, Error, origin::Found};

/// Documents that are read at the same time.
pub(super) const PARALLEL: usize = 16;
/// Indexes in indexes, and referrers of referrers, may be nested this deep.
pub(crate) const MAX_DEPTH: usize = 8;
/// More documents of one image are refused.
pub(crate) const MAX_DOCUMENTS: usize = 10_000;
/// Bytes of all documents together; more are refused.
const MAX_BYTES: u64 = 256 << 20;

/// An image is larger than any that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Nesting.
    #[error("its documents are nested more than {MAX_DEPTH} deep")]
    Depth,
    /// Count.
    #[error("it has more than {MAX_DOCUMENTS} manifests and indexes")]
    Documents,
    /// Size.
    #[error("its manifests and indexes have more than {MAX_BYTES} bytes")]
    Bytes,
}

/// A manifest or index.
#[derive(Clone)]
pub(super) struct Part {
    /// Describes it, as what names it does.
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
    /// Manifests and indexes that it names.
    pub(super) children: Vec<Descriptor>,
    /// Blobs that it names and that belong to it.
    pub(super) blobs: Vec<Descriptor>,
    /// What it is about, if it is about another document.
    pub(super) referrer: Option<Referrer>,
    /// Where it and all it names is.
    pub(super) found: Arc<Found>,
}

impl Part {
    pub(super) fn new(found: &Arc<Found>, descriptor: Descriptor, bytes: Vec<u8>) -> Result<Self, Error> {
        let (children, blobs) = if media_type::is_index(&descriptor.media_type) {
            // An index may list anything. Old build caches list layers.
            let is_document = |named: &Descriptor| {
                media_type::is_index(&named.media_type) || media_type::is_manifest(&named.media_type)
            };
            Index::parse(&bytes)?.manifests.into_iter().partition(is_document)
        } else {
            let Manifest { config, mut layers, .. } = Manifest::parse(&bytes)?;
            layers.retain(|layer| !is_foreign(layer));
            layers.push(config);
            (Vec::new(), layers)
        };
        let referrer = Referrer::of(&descriptor.media_type, &bytes)?;
        Ok(Self { descriptor, bytes, children, blobs, referrer, found: found.clone() })
    }

    pub(super) async fn read(
        context: &Context,
        found: &Arc<Found>,
        descriptor: Descriptor,
    ) -> Result<Self, Error> {
        let bytes = found.document(context, &descriptor).await?;
        Self::new(found, descriptor, bytes)
    }
}

/// The documents below and including `top`, each once. What is named comes before what names it.
pub(super) async fn below(context: &Context, top: Part) -> Result<Vec<Part>, Error> {
    let (found, root) = (top.found.clone(), top.descriptor.digest.clone());
    let mut parts: BTreeMap<Digest, Part> = BTreeMap::new();
    let mut bytes = 0;
    let mut level = vec![top];
    for _ in 0..MAX_DEPTH {
        let mut named: BTreeMap<Digest, Descriptor> = BTreeMap::new();
        for part in level {
            for child in &part.children {
                named.entry(child.digest.clone()).or_insert_with(|| child.clone());
            }
            parts.insert(part.descriptor.digest.clone(), part);
        }
        named.retain(|digest, _| !parts.contains_key(digest));
        if named.is_empty() {
            return Ok(in_order(parts, &root));
        }
        if parts.len() + named.len() > MAX_DOCUMENTS {
            return Err(TooMuch::Documents.into());
        }
        let reading = named.into_values().map(|child| Part::read(context, &found, child));
        let mut reading = stream::iter(reading.collect::<Vec<_>>()).buffered(PARALLEL);
        level = Vec::new();
        while let Some(part) = reading.try_next().await? {
            bytes += part.bytes.len() as u64;
            if bytes > MAX_BYTES {
                return Err(TooMuch::Bytes.into());
            }
            level.push(part);
        }
    }
    Err(TooMuch::Depth.into())
}

/// Children first; siblings as their index lists them.
fn in_order(mut parts: BTreeMap<Digest, Part>, root: &Digest) -> Vec<Part> {
    fn visit(digest: &Digest, parts: &mut BTreeMap<Digest, Part>, ordered: &mut Vec<Part>) {
        let Some(part) = parts.remove(digest) else { return };
        for child in &part.children {
            visit(&child.digest, parts, ordered);
        }
        ordered.push(part);
    }
    let mut ordered = Vec::with_capacity(parts.len());
    visit(root, &mut parts, &mut ordered);
    ordered
}

/// What refers to `parts`, and what refers to that, each with the documents below it.
pub(super) async fn referrers(context: &Context, parts: &[Part]) -> Result<Vec<Part>, Error> {
    let mut known: BTreeSet<Digest> = parts.iter().map(|part| part.descriptor.digest.clone()).collect();
    let mut referrers: Vec<Part> = Vec::new();
    let mut subjects: Vec<(Arc<Found>, Digest)> =
        parts.iter().map(|part| (part.found.clone(), part.descriptor.digest.clone())).collect();
    for _ in 0..MAX_DEPTH {
        let listing = subjects.into_iter().map(|(found, subject)| async move {
            let listed = found.referrers(context, &subject).await?;
            Ok::<_, Error>((found, subject, listed))
        });
        let lists: Vec<_> =
            stream::iter(listing.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await?;
        let mut reading = Vec::new();
        for (found, subject, listed) in lists {
            for descriptor in listed.into_iter().filter(|one| known.insert(one.digest.clone())) {
                reading.push(referrer(context, found.clone(), subject.clone(), descriptor));
            }
        }
        if known.len() > MAX_DOCUMENTS {
            return Err(TooMuch::Documents.into());
        }
        let read: Vec<Vec<Part>> = stream::iter(reading).buffered(PARALLEL).try_collect().await?;
        let read: Vec<Part> = read.into_iter().flatten().collect();
        if read.is_empty() {
            return Ok(referrers);
        }
        subjects = read.iter().map(|part| (part.found.clone(), part.descriptor.digest.clone())).collect();
        known.extend(read.iter().map(|part| part.descriptor.digest.clone()));
        referrers.extend(read);
    }
    Err(TooMuch::Depth.into())
}

/// A referrer as a list names it, with the documents below; nothing if the list is wrong.
async fn referrer(
    context: &Context,
    found: Arc<Found>,
    subject: Digest,
    descriptor: Descriptor,
) -> Result<Vec<Part>, Error> {
    let digest = descriptor.digest.clone();
    let ignored = |why: &str| {
        let message = format!("{digest}, which is listed as about {subject}, {why}: it is left out");
        context.events.send(Event::Warning { message });
        Ok(Vec::new())
    };
    let is_document =
        media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type);
    if !is_document {
        return ignored(&format!("has the media type {}", descriptor.media_type));
    }
    let part = match Part::read(context, &found, descriptor).await {
        Ok(part) => part,
        Err(error) if error.is_missing() => return ignored("is not there"),
        Err(error) => return Err(error),
    };
    match &part.referrer {
        Some(referrer) if referrer.subject.digest == subject => below(context, part).await,
        _ => ignored("is about something else"),
    }
}

/// Layers that must not be redistributed, and that clients get elsewhere.
fn is_foreign(layer: &Descriptor) -> bool {
    matches!(
        layer.media_type.as_str(),
        media_type::OCI_FOREIGN_LAYER
            | media_type::OCI_FOREIGN_LAYER_GZIP
            | media_type::OCI_FOREIGN_LAYER_ZSTD
            | media_type::DOCKER_FOREIGN_LAYER
    )
}

#[cfg(test)]
mod tests {
    use archway_oci::json;

    use super::*;
    use crate::origin::Origin;

    fn part(media_type: &str, document: &impl serde::Serialize) -> Part {
        let bytes = json::to_vec(document);
        let found = Found { origin: Origin::Store, top: Descriptor::of(media_type, &bytes) };
        Part::new(&Arc::new(found), Descriptor::of(media_type, &bytes), bytes).unwrap()
    }

    #[test]
    fn layers_that_must_not_be_redistributed_stay_where_they_are() {
        let (config, layer, foreign) = (
            Descriptor::of(media_type::OCI_CONFIG, b"config"),
            Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer"),
            Descriptor::of(media_type::OCI_FOREIGN_LAYER_GZIP, b"windows"),
        );
        let manifest = Manifest::new(config.clone(), vec![foreign, layer.clone()]);
        let part = part(media_type::OCI_MANIFEST, &manifest);
        assert_eq!(part.blobs, [layer, config]);
        assert!(part.children.is_empty() && part.referrer.is_none());
    }

    #[test]
    fn an_index_may_list_blobs() {
        let (manifest, layer) = (
            Descriptor::of(media_type::DOCKER_MANIFEST, b"manifest"),
            Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer"),
        );
        let part = part(media_type::OCI_INDEX, &Index::new(vec![layer.clone(), manifest.clone()]));
        assert_eq!((part.children, part.blobs), (vec![manifest], vec![layer]));
    }

    #[test]
    fn what_is_named_comes_before_what_names_it_and_once() {
        let manifest = |name: &str| {
            let config = Descriptor::of(media_type::OCI_CONFIG, name.as_bytes());
            part(media_type::OCI_MANIFEST, &Manifest::new(config, Vec::new()))
        };
        let index = |parts: &[&Part]| {
            let listed = parts.iter().map(|part| part.descriptor.clone()).collect();
            part(media_type::OCI_INDEX, &Index::new(listed))
        };
        let (one, two) = (manifest("1"), manifest("2"));
        let nested = index(&[&two, &one]);
        let top = index(&[&one, &nested]);
        let digests = |parts: &[&Part]| -> Vec<Digest> {
            parts.iter().map(|part| part.descriptor.digest.clone()).collect()
        };
        let all = [&top, &nested, &one, &two].map(|part| (part.descriptor.digest.clone(), part.clone()));
        let ordered = in_order(all.into(), &top.descriptor.digest);
        assert_eq!(digests(&ordered.iter().collect::<Vec<_>>()), digests(&[&one, &two, &nested, &top]));
    }
}
