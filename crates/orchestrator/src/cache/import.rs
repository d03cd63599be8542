//! Reading caches before a build: documents only, all caches at the same time.
//!
//! A cache that is missing, unreachable or damaged makes a build slower and not wrong, so it is told of,
//! and the build goes on.

use std::{sync::Arc, time::Duration};

use archway_cache::{CacheError, Entry, Listing, document, index::MAX_ENTRIES};
use archway_engine::{LayerSource, RemoteResults, SourceError};
use archway_oci::{Descriptor, Index, Manifest, Platform, Reference, media_type};
use archway_report::{CacheDirection, Event};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use tokio::time::Instant;

use super::{
    Location,
    storage::{Storage, StorageError, Top},
};
use crate::Context;

/// Entries that are read at the same time.
const PARALLEL: usize = 8;

/// A cache that takes longer to read costs more than it can save.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the layers of one cache are.
struct Source {
    name: String,
    storage: Storage,
}

impl LayerSource for Source {
    fn name(&self) -> &str {
        &self.name
    }

    fn repository(&self) -> Option<&Reference> {
        self.storage.repository()
    }

    fn contains<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, SourceError>> {
        async { Ok(self.storage.contains(blob).await?) }.boxed()
    }

    fn fetch<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<(), SourceError>> {
        async { Ok(self.storage.fetch(blob).await?) }.boxed()
    }
}

/// What the caches at `locations` know; of two that know the same, the first counts.
pub(crate) async fn import(
    context: Context,
    locations: Vec<Location>,
    platforms: Vec<Platform>,
) -> Arc<RemoteResults> {
    let read = locations.iter().map(|location| told(&context, location, &platforms));
    let mut results = RemoteResults::default();
    for (source, entry) in join_all(read).await.into_iter().flatten() {
        let source: Arc<dyn LayerSource> = Arc::new(source);
        results.add(entry, &source);
    }
    Arc::new(results)
}

/// Reads a cache, and tells how that went.
async fn told(context: &Context, location: &Location, platforms: &[Platform]) -> Option<(Source, Entry)> {
    let (name, started) = (location.to_string(), Instant::now());
    let direction = CacheDirection::Import;
    context.events.send(Event::CacheStarted { direction, name: name.clone() });
    let result = tokio::time::timeout(LIMIT, async {
        let storage = Storage::at(context, location, &[])?;
        let entry = entry(&storage, platforms).await?;
        Ok::<_, StorageError>((storage, entry))
    });
    let result = result.await.unwrap_or(Err(StorageError::Slow { seconds: LIMIT.as_secs() }));
    let summary = match &result {
        Ok((_, entry)) => format!("{} results", entry.records.len()),
        Err(StorageError::Missing) => "nothing there yet".to_owned(),
        Err(_) => "not used".to_owned(),
    };
    let duration = started.elapsed();
    context.events.send(Event::CacheFinished { direction, name: name.clone(), summary, duration });
    match result {
        Ok((storage, entry)) => Some((Source { name, storage }, entry)),
        Err(StorageError::Missing) => None,
        Err(error) => {
            let message = format!("the build cache {name} is not used: {}", causes(&error));
            context.events.send(Event::Warning { message });
            None
        }
    }
}

/// An error and what it came from, on one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// All that a cache, or an image with records, knows.
async fn entry(storage: &Storage, platforms: &[Platform]) -> Result<Entry, StorageError> {
    let top = storage.top().await?.ok_or(StorageError::Missing)?;
    if media_type::is_manifest(&top.descriptor.media_type) {
        return of_manifest(storage, &Manifest::parse(&top.bytes)?).await;
    }
    match Listing::parse(&top.bytes) {
        Ok(listing) => entries(storage, listing.to_read(platforms)).await,
        Err(CacheError::NotACache { what: "an image" }) => inside_image(storage, &top, platforms).await,
        Err(error) => Err(error.into()),
    }
}

/// The records inside an image of several platforms.
async fn inside_image(storage: &Storage, top: &Top, platforms: &[Platform]) -> Result<Entry, StorageError> {
    let mut children = Index::parse(&top.bytes)?.manifests;
    children.retain(|child| {
        media_type::is_manifest(&child.media_type)
            && !child.platform.as_ref().is_some_and(Platform::is_unknown)
    });
    let is_wanted = |child: &Descriptor| child.platform.as_ref().is_some_and(|own| platforms.contains(own));
    children.sort_by_key(|child| !is_wanted(child));
    children.truncate(MAX_ENTRIES);
    entries(storage, children).await
}

/// Several manifests' records as one. One that is damaged does not spoil the others.
async fn entries(storage: &Storage, manifests: Vec<Descriptor>) -> Result<Entry, StorageError> {
    let read = manifests.iter().map(|descriptor| async {
        let bytes = storage.document(descriptor).await?;
        of_manifest(storage, &Manifest::parse(&bytes)?).await
    });
    let read: Vec<Result<Entry, StorageError>> =
        stream::iter(read.collect::<Vec<_>>()).buffered(PARALLEL).collect().await;
    let (mut all, mut first_error, mut is_any_good) = (Entry::default(), None, false);
    for entry in read {
        match entry {
            Ok(entry) => {
                is_any_good = true;
                all.merge(entry);
            }
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    match first_error {
        Some(error) if !is_any_good => Err(error),
        _ => Ok(all),
    }
}

async fn of_manifest(storage: &Storage, manifest: &Manifest) -> Result<Entry, StorageError> {
    if let Some(entry) = Entry::from_inline(manifest)? {
        return Ok(entry);
    }
    match document::check_entry(manifest) {
        Ok(()) => Ok(Entry::unpack(manifest, &storage.document(&manifest.config).await?)?),
        Err(CacheError::NotACache { what: "an image" }) => {
            Err(CacheError::NotACache { what: "an image without build cache (--cache-to type=inline)" }
                .into())
        }
        Err(error) => Err(error.into()),
    }
}
