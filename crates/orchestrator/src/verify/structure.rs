//! The documents of an image: indexes, manifests and configs, and whether they agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use archway_audit::Severity::{Error as Wrong, Note, Warning};
use archway_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, layout::LayoutError, media_type,
    verify,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Finding, Problem};
use crate::{
    Context, Error,
    contents::Fault,
    origin::{Found, Origin},
};

/// Indexes may be nested this deep.
const MAX_DEPTH: usize = 4;
/// Manifests that are looked at.
const MAX_MANIFESTS: usize = 1000;
/// Documents that are fetched at the same time.
const PARALLEL: usize = 8;

/// Set by BuildKit on what belongs to an image and is none.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The manifest that it belongs to.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The image of one platform.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) descriptor: Descriptor,
    /// As the index says, or else the config.
    pub(super) platform: Platform,
    pub(super) manifest: Manifest,
    pub(super) config: ImageConfig,
}

/// What an image consists of, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Structure {
    pub(super) children: Vec<Child>,
    /// Blobs of attestations and artifacts, with their manifest.
    pub(super) attached: Vec<(Digest, Descriptor)>,
    pub(super) findings: Vec<Finding>,
}

/// A manifest that was read.
enum Part {
    Child(Box<Child>),
    Attached(Box<Manifest>),
    /// What is wrong with it has been said.
    Nothing,
}

impl Structure {
    /// Reads all documents.
    pub(super) async fn read(context: &Context, found: &Found) -> Result<Self, Error> {
        let documents = Documents { context, found };
        let (manifests, mut findings) = documents.manifests().await?;
        let reading = manifests.iter().map(|descriptor| documents.part(descriptor));
        let parts: Vec<(Part, Vec<Finding>)> =
            stream::iter(reading.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await?;
        let (mut children, mut attached) = (Vec::new(), Vec::new());
        for (descriptor, (part, found)) in manifests.iter().zip(parts) {
            findings.extend(found);
            match part {
                Part::Child(child) => children.push(*child),
                Part::Attached(manifest) => {
                    findings.extend(subject(descriptor, &manifests));
                    let blobs = manifest.layers.into_iter().chain([manifest.config]);
                    attached.extend(blobs.map(|blob| (descriptor.digest.clone(), blob)));
                }
                Part::Nothing => {}
            }
        }
        findings.extend(duplicates(&children));
        if manifests.is_empty() {
            findings.push(Finding::of_all(Wrong, Problem::Empty));
        }
        Ok(Self { children, attached, findings })
    }

    /// Leaves all children out but those at `places`, and what was found about the others.
    pub(super) fn keep(&mut self, places: &[usize]) {
        let children = std::mem::take(&mut self.children).into_iter().enumerate();
        let (kept, left): (Vec<_>, Vec<_>) = children.partition(|(place, _)| places.contains(place));
        self.children = kept.into_iter().map(|(_, child)| child).collect();
        let left: BTreeSet<Digest> = left.into_iter().map(|(_, child)| child.descriptor.digest).collect();
        self.findings.retain(|finding| finding.manifest.as_ref().is_none_or(|digest| !left.contains(digest)));
    }
}

/// An attestation has to be about an image that is there.
fn subject(attestation: &Descriptor, manifests: &[Descriptor]) -> Option<Finding> {
    let subject = attestation.annotations.get(REFERENCE_DIGEST)?;
    let is_listed = manifests.iter().any(|manifest| manifest.digest.as_str() == subject);
    let problem = Problem::AttestationSubject { subject: subject.clone() };
    (!is_listed).then(|| Finding::of_manifest(&attestation.digest, Wrong, problem))
}

/// Whoever picks a platform takes the first; others may take the last.
fn duplicates(children: &[Child]) -> Vec<Finding> {
    let mut first: BTreeMap<String, &Digest> = BTreeMap::new();
    let mut findings = Vec::new();
    for Child { platform, descriptor, .. } in children {
        match first.get(&platform.specifier()) {
            // The same image listed twice does no harm.
            Some(first) if **first == descriptor.digest => {}
            Some(first) => {
                let problem = Problem::DuplicatePlatform { first: (*first).clone() };
                let platform = Some(platform.clone());
                findings
                    .push(Finding { platform, ..Finding::of_manifest(&descriptor.digest, Warning, problem) });
            }
            None => drop(first.insert(platform.specifier(), &descriptor.digest)),
        }
    }
    findings
}

/// A document, or what is wrong with it.
type Document<T> = Result<Result<T, Problem>, Error>;

struct Documents<'a> {
    context: &'a Context,
    found: &'a Found,
}

impl Documents<'_> {
    /// Descriptors of all manifests below the topmost document, itself if it is one.
    async fn manifests(&self) -> Result<(Vec<Descriptor>, Vec<Finding>), Error> {
        let (mut manifests, mut findings, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut pending = vec![(self.found.top.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if manifests.len() + seen.len() >= MAX_MANIFESTS {
                findings.push(Finding::of_all(Wrong, Problem::TooMany { most: MAX_MANIFESTS }));
                break;
            }
            if !media_type::is_index(&descriptor.media_type) {
                manifests.push(descriptor);
                continue;
            }
            // An index that is listed twice says nothing new.
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if depth == MAX_DEPTH {
                let problem = Problem::TooDeep { most: MAX_DEPTH };
                findings.push(Finding::of_manifest(&descriptor.digest, Wrong, problem));
                continue;
            }
            let index = match self.read(&descriptor).await? {
                Ok(bytes) => Index::parse(&bytes).map_err(Problem::Document),
                Err(problem) => Err(problem),
            };
            match index {
                Ok(index) => {
                    pending.extend(index.manifests.into_iter().rev().map(|child| (child, depth + 1)))
                }
                Err(problem) => findings.push(Finding::of_manifest(&descriptor.digest, Wrong, problem)),
            }
        }
        Ok((manifests, findings))
    }

    /// Reads a manifest and what it needs to be judged.
    async fn part(&self, descriptor: &Descriptor) -> Result<(Part, Vec<Finding>), Error> {
        let manifest = match self.manifest(descriptor).await? {
            Ok(manifest) => manifest,
            Err(problem) => return Ok((Part::Nothing, vec![wrong(descriptor, problem)])),
        };
        let is_image = !descriptor.annotations.contains_key(REFERENCE_TYPE)
            && !descriptor.platform.as_ref().is_some_and(Platform::is_unknown)
            && manifest.artifact_type.is_none();
        if !is_image {
            return Ok((Part::Attached(Box::new(manifest)), Vec::new()));
        }
        let config = match self.read(&manifest.config).await? {
            Ok(bytes) => ImageConfig::parse(&bytes).map_err(Problem::Document),
            Err(problem) => Err(problem),
        };
        let config = match config {
            Ok(config) => config,
            Err(problem) => return Ok((Part::Nothing, vec![wrong(descriptor, problem)])),
        };
        let platform = descriptor.platform.clone().unwrap_or_else(|| config.platform.clone()).normalized();
        let findings = verify::child(&platform, descriptor, &manifest, &config);
        let findings = findings.into_iter().map(|finding| Finding {
            platform: Some(platform.clone()),
            ..Finding::of_manifest(&descriptor.digest, severity(&finding), Problem::Image(finding))
        });
        let findings = findings.collect();
        let child = Child { descriptor: descriptor.clone(), platform, manifest, config };
        Ok((Part::Child(Box::new(child)), findings))
    }

    async fn manifest(&self, descriptor: &Descriptor) -> Document<Manifest> {
        Ok(match self.read(descriptor).await? {
            Ok(bytes) => Manifest::parse(&bytes).map_err(Problem::Document),
            Err(problem) => Err(problem),
        })
    }

    /// A document from where it is, and not from the store.
    async fn read(&self, descriptor: &Descriptor) -> Document<Vec<u8>> {
        let bytes = match &self.found.origin {
            Origin::Registry(reference) => self.read_in_registry(reference, descriptor).await?,
            _ => self.read_file(descriptor).await?,
        };
        Ok(bytes.and_then(|bytes| match bytes.len() as u64 {
            actual if actual == descriptor.size => Ok(bytes),
            actual => {
                let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
                Err(Problem::Blob(Arc::new(Fault::Size { digest, expected, actual })))
            }
        }))
    }

    async fn read_in_registry(&self, reference: &Reference, descriptor: &Descriptor) -> Document<Vec<u8>> {
        let (client, media_type) = (&self.context.engine.registry, &descriptor.media_type);
        let is_manifest = media_type::is_index(media_type) || media_type::is_manifest(media_type);
        let read = match is_manifest {
            true => client.manifest(&reference.with_digest(descriptor.digest.clone())).await.map(|fetched| {
                match fetched.descriptor.media_type {
                    served if served == *media_type => Ok(fetched.bytes),
                    served => Err(Problem::ServedMediaType { expected: media_type.clone(), served }),
                }
            }),
            false => client.blob(reference, descriptor).await.map(Ok),
        };
        match read {
            Ok(document) => Ok(document),
            Err(error) => crate::contents::fault(error, reference, descriptor)
                .map(|fault| Err(Problem::Blob(Arc::new(fault)))),
        }
    }

    async fn read_file(&self, descriptor: &Descriptor) -> Document<Vec<u8>> {
        let digest = descriptor.digest.clone();
        let fault = match self.found.document(self.context, descriptor).await {
            Ok(bytes) => return Ok(Ok(bytes)),
            Err(
                Error::BlobMissing { .. }
                | Error::ArchiveIncomplete { .. }
                | Error::Layout(LayoutError::NoSuchBlob { .. }),
            ) => Fault::Missing { digest },
            Err(Error::Layout(LayoutError::SizeMismatch { expected, actual, .. })) => {
                Fault::Size { digest, expected, actual }
            }
            Err(Error::Layout(LayoutError::DigestMismatch { expected, actual })) => {
                Fault::Digest { expected, actual }
            }
            Err(error) => return Err(error),
        };
        Ok(Err(Problem::Blob(Arc::new(fault))))
    }
}

fn wrong(descriptor: &Descriptor, problem: Problem) -> Finding {
    let platform = descriptor.platform.clone().filter(|platform| !platform.is_unknown());
    Finding { platform, ..Finding::of_manifest(&descriptor.digest, Wrong, problem) }
}

/// The history is for people, and many tools leave parts of it out.
fn severity(finding: &verify::Finding) -> archway_audit::Severity {
    if matches!(finding, verify::Finding::History { .. }) { Note } else { Wrong }
}
