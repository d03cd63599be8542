//! Manifests, with all they name, into repositories; then the tags.

use std::{collections::BTreeMap, sync::Arc};

use archway_oci::{Descriptor, Digest, Manifest, Reference, media_type};
use archway_report::{Event, TransferKind};
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};

use crate::{
    Context, Error,
    build::{Publications, Published},
    origin::{Found, Origin},
};

/// Blobs that are copied at the same time.
const PARALLEL: usize = 8;

/// A manifest that the index lists.
pub(super) struct Part {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
    pub(super) manifest: Manifest,
    pub(super) found: Arc<Found>,
}

/// Brings `parts` to every repository that `tags` name, and then makes the tags point at `top`.
pub(super) async fn publish(
    context: &Context,
    tags: &[Reference],
    parts: Vec<Part>,
    top: &Descriptor,
    bytes: &[u8],
) -> Result<Vec<Published>, Error> {
    let mut repositories: BTreeMap<String, &Reference> = BTreeMap::new();
    for tag in tags {
        repositories.entry(tag.repository_name()).or_insert(tag);
    }
    try_join_all(repositories.values().map(|repository| fill(context, repository, &parts))).await?;
    let bytes = bytes.to_vec();
    if repositories.len() > 1 {
        // What one registry refuses is to be known before a tag has moved in another.
        let pushes = repositories.values().map(|repository| {
            let target = by_digest(repository, top);
            push_manifest(context, "push", target, top, bytes.clone())
        });
        try_join_all(pushes).await?;
    }
    let mut publications = Publications::new(&context.events);
    for tag in tags {
        let target = Reference { digest: None, ..tag.clone() };
        push_manifest(context, "publish", target.clone(), top, bytes.clone()).await?;
        publications.add(Published { target: target.familiar(), digest: Some(top.digest.clone()) });
    }
    Ok(publications.finish())
}

/// Makes sure that a repository has all parts.
async fn fill(context: &Context, repository: &Reference, parts: &[Part]) -> Result<(), Error> {
    let known = try_join_all(parts.iter().map(|part| has(context, repository, part))).await?;
    let missing: Vec<&Part> =
        parts.iter().zip(known).filter(|(_, known)| !known).map(|(part, _)| part).collect();
    let mut blobs: BTreeMap<&Digest, (&Descriptor, &Found)> = BTreeMap::new();
    for part in &missing {
        for blob in
            part.manifest.layers.iter().filter(|layer| !is_foreign(layer)).chain([&part.manifest.config])
        {
            blobs.entry(&blob.digest).or_insert((blob, &part.found));
        }
    }
    let copies = blobs.into_values().map(|(blob, from)| copy_blob(context, repository, blob, from));
    stream::iter(copies.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    let manifests = missing.into_iter().map(|part| {
        let bytes = part.bytes.clone();
        push_manifest(context, "push", by_digest(repository, &part.descriptor), &part.descriptor, bytes)
    });
    try_join_all(manifests).await.map(drop)
}

/// Whether a repository has a part, and so all that belongs to it.
async fn has(context: &Context, repository: &Reference, part: &Part) -> Result<bool, Error> {
    if let Origin::Registry(home) = &part.found.origin
        && home.repository_name() == repository.repository_name()
    {
        return Ok(true);
    }
    let target = by_digest(repository, &part.descriptor);
    // A repository that cannot be read yet may not exist: pushing will tell.
    let there = context.engine.registry.head_manifest(&target).await.unwrap_or(None);
    Ok(there.is_some_and(|there| there.digest == part.descriptor.digest))
}

/// A blob is mounted where registry and repository allow it, else sent.
async fn copy_blob(
    context: &Context,
    repository: &Reference,
    blob: &Descriptor,
    from: &Found,
) -> Result<(), Error> {
    let client = &context.engine.registry;
    let failed = || Error::registry("push", repository.repository_name());
    if let Origin::Registry(home) = &from.origin
        && home.registry == repository.registry
    {
        let from = std::slice::from_ref(&home.repository);
        // A registry that has the blob already says so, too.
        if client.mount_blob(repository, &blob.digest, from).await.map_err(failed())? {
            return Ok(());
        }
    }
    if !client.must_push(repository, &blob.digest).await.map_err(failed())? {
        return Ok(());
    }
    let file = from.blob_file(context, blob).await?;
    let name = format!("sha256:{}", blob.digest.short());
    let (events, total) = (context.events.clone(), blob.size);
    let tell = move |current: u64| {
        let (name, kind, done) = (name.clone(), TransferKind::Push, current >= total);
        events.send(Event::Transfer { name, kind, current, total: Some(total), done });
    };
    client.push_blob(repository, blob, &file, &[], tell).await.map(drop).map_err(failed())
}

async fn push_manifest(
    context: &Context,
    action: &'static str,
    target: Reference,
    descriptor: &Descriptor,
    bytes: Vec<u8>,
) -> Result<(), Error> {
    let pushed = context.engine.registry.push_manifest(&target, &descriptor.media_type, bytes.into()).await;
    pushed.map(drop).map_err(Error::registry(action, &target))
}

fn by_digest(repository: &Reference, descriptor: &Descriptor) -> Reference {
    Reference { tag: None, ..repository.with_digest(descriptor.digest.clone()) }
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
