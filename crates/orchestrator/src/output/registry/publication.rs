//! An index in registries: everything by digest, everywhere, before the first of its names moves.

use std::time::Duration;

use archway_attest::Attached;
use archway_engine::{BuiltImage, Layer};
use archway_oci::{Descriptor, Digest, Reference, referrer::Referrer};
use archway_report::Event;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{join_all, try_join_all},
    stream,
};

use super::LayerPushes;
use crate::{
    Context, Error,
    build::{Publications, Published},
    expectation::{self, Verdict},
    index::BuiltIndex,
    lease::{self, Leases},
    output::Target,
    request::PublicationRules,
    tag_guard::TagGuard,
};

/// Blobs, or manifests, that are pushed at the same time.
const PARALLEL: usize = 8;
/// Times that an image is pushed again when the registry misses a part of it.
const MISSING_CONTENT_RETRIES: usize = 4;
/// Wait before that.
const MISSING_CONTENT_DELAY: Duration = Duration::from_millis(250);

/// What is to be published in registries.
pub(crate) struct Publication<'a> {
    pub(crate) context: &'a Context,
    pub(crate) pushes: &'a LayerPushes,
    pub(crate) images: &'a [BuiltImage],
    pub(crate) index: &'a BuiltIndex,
    pub(crate) rules: &'a PublicationRules,
}

/// A name that is to point at the index.
struct Name {
    /// Without a digest.
    reference: Reference,
    /// Only the repository counts: no tag is made.
    by_digest: bool,
}

impl Publication<'_> {
    /// Everything that is missing, then the children, then the index, in all repositories; then the tags.
    pub(crate) async fn publish(
        &self,
        targets: &[&Target],
        publications: &mut Publications<'_>,
    ) -> Result<(), Error> {
        let names = names(targets);
        let before = self.look(&names).await?;
        let incomplete: Vec<&Reference> =
            self.repositories().filter(|repository| is_incomplete(repository, &names, &before)).collect();
        let leases = self.rules.lease_tags.then(Leases::start);
        // The first repository of a registry has the blobs before the others mount them.
        let (first, others): (Vec<&Reference>, Vec<&Reference>) =
            incomplete.iter().partition(|repository| self.pushes.0.first_of_registry(repository).is_none());
        for repositories in [first, others] {
            let pushes = repositories.iter().map(|to| self.push_until_known(to, leases.as_ref()));
            try_join_all(pushes).await?;
        }
        let now = match self.rules.expected.is_empty() {
            true => before,
            // Pushing took its time.
            false => self.look(&names).await?,
        };
        self.move_tags(&names, &now, publications).await?;
        let tags: Vec<&Reference> =
            names.iter().filter(|name| !name.by_digest).map(|name| &name.reference).collect();
        self.guard().look_after(&tags).await?;
        if let Some(leases) = &leases {
            self.release(&names, &incomplete, leases).await;
        }
        Ok(())
    }

    fn repositories(&self) -> impl Iterator<Item = &Reference> {
        self.pushes.0.repositories.iter()
    }

    /// What the index lists.
    fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let attestations = self.index.attestations.iter().map(|attached| &attached.descriptor);
        self.images.iter().map(|image| &image.descriptor).chain(attestations)
    }

    fn digest(&self) -> &Digest {
        &self.index.descriptor.digest
    }

    /// What is to be done with each name. One that points at something unexpected ends the publication.
    async fn look(&self, names: &[Name]) -> Result<Vec<Verdict>, Error> {
        try_join_all(names.iter().map(|name| async move {
            let tag = &name.reference;
            if name.by_digest {
                let by_digest = tag.with_digest(self.digest().clone());
                // A repository that cannot be read yet may not exist: pushing will tell.
                let there = self.pushes.0.client.head_manifest(&by_digest).await.unwrap_or(None);
                return Ok(if there.is_some() { Verdict::IsThere } else { Verdict::Move });
            }
            self.guard().look(tag).await
        }))
        .await
    }

    fn guard(&self) -> TagGuard<'_> {
        TagGuard { registry: &self.pushes.0.client, expected: &self.rules.expected, new: self.digest() }
    }

    /// The moment of publication: the tags point at the complete index. All move at the same time, so that
    /// they differ as short as can be.
    async fn move_tags(
        &self,
        names: &[Name],
        verdicts: &[Verdict],
        publications: &mut Publications<'_>,
    ) -> Result<(), Error> {
        let moves = names.iter().zip(verdicts).map(|(name, verdict)| async move {
            match (verdict, name.by_digest) {
                (Verdict::Move, false) => self.move_tag(&name.reference).await,
                _ => Ok(()),
            }
        });
        let mut result = Ok(());
        for (name, moved) in names.iter().zip(join_all(moves).await) {
            if moved.is_ok() {
                let target = match name.by_digest {
                    true => name.reference.repository_name(),
                    false => name.reference.familiar(),
                };
                publications.add(Published { target, digest: Some(self.digest().clone()) });
            }
            result = result.and(moved);
        }
        result
    }

    /// Another build of the same content may also be under way at this moment.
    async fn move_tag(&self, tag: &Reference) -> Result<(), Error> {
        for _ in 0..MISSING_CONTENT_RETRIES {
            match self.put_index("publish", tag).await {
                Err(Error::Registry { source, .. }) if source.is_missing_content() => {
                    tokio::time::sleep(MISSING_CONTENT_DELAY).await;
                    let repository = Reference { tag: None, digest: None, ..tag.clone() };
                    self.pushes.forget(&repository);
                    self.push_until_known(&repository, None).await?;
                }
                result => return result,
            }
        }
        self.put_index("publish", tag).await
    }

    /// Pushes, and pushes again what the registry does not know although it was pushed: another build
    /// of the same content, or a garbage collection, may be under way there.
    async fn push_until_known(&self, repository: &Reference, leases: Option<&Leases>) -> Result<(), Error> {
        for _ in 0..MISSING_CONTENT_RETRIES {
            match self.push(repository, leases).await {
                Err(Error::Registry { source, .. }) if source.is_missing_content() => {
                    tokio::time::sleep(MISSING_CONTENT_DELAY).await;
                    self.pushes.forget(repository);
                }
                result => return result,
            }
        }
        self.push(repository, leases).await
    }

    /// Blobs, children and index of one repository, all by digest, or by lease: no tag moves.
    async fn push(&self, repository: &Reference, leases: Option<&Leases>) -> Result<(), Error> {
        // Whatever is no layer is in the store.
        let stored = |descriptor: &Descriptor| Layer {
            descriptor: descriptor.clone(),
            diff_id: descriptor.digest.clone(),
            origin: None,
        };
        let of_images = self
            .images
            .iter()
            .flat_map(|image| image.layers.iter().cloned().chain([stored(&image.config_descriptor)]));
        let of_attestations = self.index.attestations.iter().flat_map(|attached| &attached.blobs);
        let blobs = of_images.chain(of_attestations.map(|blob| stored(&blob.descriptor)));
        let blobs = blobs.map(|layer| self.pushes.push_layer(self.context, repository, layer));
        stream::iter(blobs.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        let name = |digest: &Digest| match leases {
            Some(leases) => leases.of(repository, digest),
            None => by_digest(repository, digest),
        };
        let images = self.images.iter().map(|image| async {
            let digest = &image.descriptor.digest;
            let bytes = self.context.store().blobs().read(digest, archway_oci::json::MAX_DOCUMENT)?;
            let bytes = bytes.ok_or_else(|| Error::BlobMissing { digest: digest.clone() })?;
            self.put("push", &name(digest), &image.descriptor, bytes).await
        });
        stream::iter(images.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        // They refer to the images.
        let attestations = self.index.attestations.iter().map(|attached| async {
            let descriptor = &attached.descriptor;
            if leases.is_some() {
                self.put("push", &name(&descriptor.digest), descriptor, attached.bytes.clone()).await?;
            }
            self.refer(repository, attached).await
        });
        stream::iter(attestations.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        self.put_index("push", &by_digest(repository, self.digest())).await
    }

    /// Stores attestations by digest, so that they are also found from their image. A registry that keeps no lists
    /// of referrers has them under a tag that is made of the image's digest.
    async fn refer(&self, repository: &Reference, attached: &Attached) -> Result<(), Error> {
        let referrer = Referrer::of(&attached.descriptor.media_type, &attached.bytes)?;
        let referrer = referrer.expect("attestations are about an image");
        let client = &self.pushes.0.client;
        let pushed = client.push_referrer(repository, &referrer, attached.bytes.clone().into()).await;
        pushed.map_err(Error::registry("push", &by_digest(repository, &attached.descriptor.digest)))
    }

    async fn put_index(&self, action: &'static str, name: &Reference) -> Result<(), Error> {
        self.put(action, name, &self.index.descriptor, self.index.bytes.clone()).await
    }

    /// Stores a manifest or an index under a name.
    async fn put(
        &self,
        action: &'static str,
        name: &Reference,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
    ) -> Result<(), Error> {
        let pushed = self.pushes.0.client.push_manifest(name, &descriptor.media_type, bytes.into()).await;
        pushed.map(drop).map_err(Error::registry(action, name))
    }

    /// Removes the leases where a tag names the index now. Without a tag the children still need theirs.
    async fn release(&self, names: &[Name], pushed_to: &[&Reference], own: &Leases) {
        let has_tag = |repository: &&Reference| {
            names.iter().any(|name| !name.by_digest && is_in(&name.reference, repository))
        };
        let releases = self.repositories().filter(has_tag).map(|repository| {
            let children = self.children().filter(|_| pushed_to.contains(&repository));
            let own = children.map(|child| own.of(repository, &child.digest)).collect();
            lease::release(self.context, repository, own, &[])
        });
        join_all(releases).await;
    }
}

/// Says at the start of a build what is going to stop its publication at the end, unless it comes to the very
/// image that is there.
pub(crate) async fn foresee(context: &Context, targets: &[Target], rules: &PublicationRules) {
    if rules.expected.is_empty() {
        return;
    }
    let names = names(&targets.iter().collect::<Vec<_>>());
    let looks = names.iter().filter(|name| !name.by_digest).map(|Name { reference: tag, .. }| async move {
        let expected = rules.expected.of(tag)?;
        let found = context.engine.registry.head_manifest(tag).await.ok()?.map(|found| found.digest);
        expectation::check(&tag.familiar(), Some(expected), found.as_ref()).err()
    });
    for conflict in join_all(looks).await.into_iter().flatten() {
        let message = format!("{conflict}: unless the build comes to the same, nothing will be published");
        context.events.send(Event::Warning { message });
    }
}

/// The names of all targets, in order.
fn names(targets: &[&Target]) -> Vec<Name> {
    let mut names = Vec::new();
    for target in targets {
        let Target::Registry { references, by_digest } = target else { continue };
        names.extend(references.iter().map(|name| Name {
            reference: Reference { digest: None, ..name.clone() },
            by_digest: *by_digest,
        }));
    }
    names
}

/// Whether a repository lacks something. A registry takes an index only with everything below it: a name
/// that points at this very index leaves nothing to do.
fn is_incomplete(repository: &Reference, names: &[Name], verdicts: &[Verdict]) -> bool {
    let mut own = names.iter().zip(verdicts).filter(|(name, _)| is_in(&name.reference, repository));
    own.any(|(_, verdict)| *verdict != Verdict::IsThere)
}

fn is_in(name: &Reference, repository: &Reference) -> bool {
    name.repository_name() == repository.repository_name()
}

fn by_digest(repository: &Reference, digest: &Digest) -> Reference {
    Reference { tag: None, ..repository.with_digest(digest.clone()) }
}
