//! Documents, with all they name, into repositories; then the tags.

use std::{cmp::Reverse, collections::BTreeMap, ops::AddAssign, sync::Mutex};

use archway_oci::{Descriptor, Digest, Reference, referrer::Referrer};
use archway_registry::Pushed;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{join_all, try_join_all},
    stream,
};
use serde::Serialize;

use super::{closure::Part, transfer};
use crate::{
    Context, Error,
    build::{Publications, Published},
    expectation::Verdict,
    lease::{self, Leases},
    origin::{Found, Origin},
    request::PublicationRules,
    tag_guard::TagGuard,
};

/// Blobs, or documents, that are copied at the same time.
const PARALLEL: usize = 8;

/// What tags are to point at, and all that belongs to it.
pub(super) struct Whole<'a> {
    /// Describes the document that the tags will point at.
    pub(super) top: &'a Descriptor,
    /// The document.
    pub(super) bytes: &'a [u8],
    /// Documents below it, without itself: what is named comes before what names it.
    pub(super) parts: &'a [Part],
    /// Blobs that it names itself.
    pub(super) blobs: &'a [(Descriptor, &'a Found)],
    /// What refers to it or its parts, each with the documents below.
    pub(super) referrers: &'a [Part],
}

/// How blobs came to where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Transfers {
    /// They were there.
    pub existed: usize,
    /// They were mounted from another repository.
    pub mounted: usize,
    /// Their bytes were sent.
    pub sent: usize,
    /// So many.
    pub bytes: u64,
}

impl Transfers {
    pub(super) fn of(pushed: Pushed, blob: &Descriptor) -> Self {
        match pushed {
            Pushed::Existed => Self { existed: 1, ..Self::default() },
            Pushed::Mounted => Self { mounted: 1, ..Self::default() },
            Pushed::Uploaded => Self { sent: 1, bytes: blob.size, ..Self::default() },
        }
    }
}

impl AddAssign for Transfers {
    fn add_assign(&mut self, other: Self) {
        self.existed += other.existed;
        self.mounted += other.mounted;
        self.sent += other.sent;
        self.bytes += other.bytes;
    }
}

/// Brings everything to each repository that `targets` name, and then makes the tags point at it, if they are
/// where they are expected to be. A target with a digest gets no tag.
pub(super) async fn publish(
    context: &Context,
    targets: &[Reference],
    rules: &PublicationRules,
    whole: &Whole<'_>,
) -> Result<(Vec<Published>, Transfers), Error> {
    let (registry, expected) = (&context.engine.registry, &rules.expected);
    let guard = TagGuard { registry, expected, new: &whole.top.digest };
    let tags = tags(targets);
    guard.look_if_expected(&tags).await?;
    let mut repositories: BTreeMap<String, &Reference> = BTreeMap::new();
    for target in targets {
        repositories.entry(target.repository_name()).or_insert(target);
    }
    let transfers = Mutex::new(Transfers::default());
    let leased = rules.lease_tags.then(Leased::start);
    let subject = Referrer::of(&whole.top.media_type, whole.bytes)?;
    let top = &Top { context, whole, subject };
    let filling = repositories.values().map(|repository| {
        let fill = Fill { context, repository, transfers: &transfers, leased: leased.as_ref() };
        async move {
            fill.parts(whole.parts, whole.blobs).await?;
            if whole.referrers.is_empty() {
                return Ok(());
            }
            // Not every registry takes what refers to something that is not there.
            top.push(repository).await?;
            fill.parts(whole.referrers, &[]).await
        }
    });
    let filling: Vec<_> = filling.collect();
    try_join_all(filling).await?;
    let by_digest = targets.iter().any(|target| target.digest.is_some()) || top.subject.is_some();
    if by_digest || repositories.len() > 1 {
        // What one registry refuses is to be known before a tag has moved in another.
        try_join_all(repositories.values().map(|repository| top.push(repository))).await?;
    }
    // Pushing took its time.
    let mut verdicts = guard.look_if_expected(&tags).await?.into_iter();
    let mut publications = Publications::new(&context.events);
    for target in targets {
        if target.digest.is_none() && verdicts.next() == Some(Verdict::Move) {
            push_manifest(context, "publish", target, whole.top, whole.bytes).await?;
        }
        publications.add(Published { target: target.familiar(), digest: Some(whole.top.digest.clone()) });
    }
    guard.look_after(&tags).await?;
    if let Some(leased) = leased {
        leased.release(context, &tags, whole).await;
    }
    Ok((publications.finish(), transfers.into_inner().expect("no holder panics")))
}

/// The targets that are tags; the others only say a repository.
pub(super) fn tags(targets: &[Reference]) -> Vec<&Reference> {
    targets.iter().filter(|target| target.digest.is_none()).collect()
}

/// Documents that have tags of their own until a tag leads to them.
struct Leased {
    leases: Leases,
    made: Mutex<Vec<Reference>>,
}

impl Leased {
    fn start() -> Self {
        Self { leases: Leases::start(), made: Mutex::default() }
    }

    /// The name under which a document is pushed.
    fn name(&self, repository: &Reference, document: &Digest) -> Reference {
        let lease = self.leases.of(repository, document);
        self.made.lock().expect("no holder panics").push(lease.clone());
        lease
    }

    /// Removes the leases in the repositories of `tags`, also those that builds left which pushed what is named now by
    /// digest. Where there is no tag they stay.
    async fn release(self, context: &Context, tags: &[&Reference], whole: &Whole<'_>) {
        let named: Vec<&Digest> = whole.parts.iter().map(|part| &part.descriptor.digest).collect();
        let made = self.made.into_inner().expect("no holder panics");
        let repositories: BTreeMap<String, &Reference> =
            tags.iter().map(|tag| (tag.repository_name(), *tag)).collect();
        let releases = repositories.into_iter().map(|(name, repository)| {
            let own = made.iter().filter(|lease| lease.repository_name() == name).cloned().collect();
            lease::release(context, repository, own, &named)
        });
        join_all(releases).await;
    }
}

/// The topmost document, on its way to repositories.
struct Top<'a> {
    context: &'a Context,
    whole: &'a Whole<'a>,
    /// What it is about, if it is about something.
    subject: Option<Referrer>,
}

impl Top<'_> {
    /// By its digest.
    async fn push(&self, repository: &Reference) -> Result<(), Error> {
        let target = by_digest(repository, self.whole.top);
        push_document(self.context, &target, self.whole.top, self.whole.bytes, self.subject.as_ref()).await
    }
}

/// A repository that gets what it lacks.
struct Fill<'a> {
    context: &'a Context,
    repository: &'a Reference,
    transfers: &'a Mutex<Transfers>,
    leased: Option<&'a Leased>,
}

impl Fill<'_> {
    /// Makes sure that the repository has `parts` with all they name, and `blobs`.
    async fn parts(&self, parts: &[Part], blobs: &[(Descriptor, &Found)]) -> Result<(), Error> {
        let looking: Vec<_> = parts.iter().map(|part| self.has(part)).collect();
        let known: Vec<bool> = stream::iter(looking).buffered(PARALLEL).try_collect().await?;
        let is_missing = |(part, known): (_, bool)| (!known).then_some(part);
        let missing: Vec<&Part> = parts.iter().zip(known).filter_map(is_missing).collect();
        let mut wanted: BTreeMap<&Digest, (&Descriptor, &Found)> = BTreeMap::new();
        for (blob, found) in blobs {
            wanted.entry(&blob.digest).or_insert((blob, *found));
        }
        for part in &missing {
            for blob in &part.blobs {
                wanted.entry(&blob.digest).or_insert((blob, &*part.found));
            }
        }
        let mut wanted: Vec<_> = wanted.into_values().collect();
        wanted.sort_by_key(|(blob, _)| Reverse(blob.size));
        let copies = wanted.into_iter().map(|(blob, from)| self.blob(blob, from));
        stream::iter(copies.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        let (indexes, manifests): (Vec<&Part>, Vec<&Part>) =
            missing.into_iter().partition(|part| !part.children.is_empty());
        let pushes: Vec<_> = manifests.into_iter().map(|part| self.document(part)).collect();
        stream::iter(pushes).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        for index in indexes {
            self.document(index).await?;
        }
        Ok(())
    }

    /// Whether the repository has a part, and so all that belongs to it.
    async fn has(&self, part: &Part) -> Result<bool, Error> {
        if let Origin::Registry(home) = &part.found.origin
            && home.repository_name() == self.repository.repository_name()
        {
            return Ok(true);
        }
        if part.referrer.is_some() {
            // It may be there and not be listed.
            return Ok(false);
        }
        let target = by_digest(self.repository, &part.descriptor);
        // A repository that cannot be read yet may not exist: pushing will tell.
        let there = self.context.engine.registry.head_manifest(&target).await.unwrap_or(None);
        Ok(there.is_some_and(|there| there.digest == part.descriptor.digest))
    }

    async fn blob(&self, blob: &Descriptor, from: &Found) -> Result<(), Error> {
        let pushed = transfer::push(self.context, self.repository, blob, from).await?;
        *self.transfers.lock().expect("no holder panics") += Transfers::of(pushed, blob);
        Ok(())
    }

    async fn document(&self, part: &Part) -> Result<(), Error> {
        let target = match self.leased.filter(|_| part.referrer.is_none()) {
            Some(leased) => leased.name(self.repository, &part.descriptor.digest),
            None => by_digest(self.repository, &part.descriptor),
        };
        push_document(self.context, &target, &part.descriptor, &part.bytes, part.referrer.as_ref()).await
    }
}

/// Pushes a document by its digest, or under a lease; one that refers to another so that it is found from there.
async fn push_document(
    context: &Context,
    target: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
    referrer: Option<&Referrer>,
) -> Result<(), Error> {
    match referrer {
        None => push_manifest(context, "push", target, descriptor, bytes).await,
        Some(referrer) => {
            let pushed = context.engine.registry.push_referrer(target, referrer, bytes.to_vec().into()).await;
            pushed.map_err(Error::registry("push", target))
        }
    }
}

/// Pushes a document by its digest, or under a tag.
pub(super) async fn push_manifest(
    context: &Context,
    action: &'static str,
    target: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<(), Error> {
    let (media_type, bytes) = (&descriptor.media_type, bytes.to_vec());
    let pushed = context.engine.registry.push_manifest(target, media_type, bytes.into()).await;
    pushed.map(drop).map_err(Error::registry(action, target))
}

fn by_digest(repository: &Reference, descriptor: &Descriptor) -> Reference {
    Reference { tag: None, ..repository.with_digest(descriptor.digest.clone()) }
}
