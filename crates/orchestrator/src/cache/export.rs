//! Writing a cache after a build.
//!
//! Blobs come first, then the manifests of the entries, then the index: what names something is written
//! after it. The entry of a platform is merged with those that are there, so nothing that somebody else
//! exported is lost; how a race for the index ends is [`Storage::replace`]'s to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use archway_cache::{
    CacheError, Entry, Limits, Listing, Packed,
    entry::{MAX_LAYERS, MAX_RECORDS},
};
use archway_engine::{Built, ExportSettings, Layer, LayerSettings};
use archway_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use archway_report::{CacheDirection, Event};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    CacheTo,
    import::causes,
    storage::{Replaced, Storage, StorageError, Top},
};
use crate::{Context, Error};

/// Blobs that are written at the same time.
const PARALLEL: usize = 8;
/// How often the index is tried to be replaced.
const ROUNDS: u32 = 40;
/// Wait before the next try; it grows with each, and by chance, so that exporters get out of step.
const RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_millis(500);
/// How often an entry has to be seen in the index if others write there, too.
const MOST_LOOKS: u32 = 3;
/// Somebody who wrote within this time, in seconds, may be about to again.
const BUSY: i64 = 30;
/// A result that was used within this time is not said to be used again: an unchanged build writes nothing.
const USE_RESOLUTION: i64 = 24 * 3600;

/// Writes the results of a build to a cache. An error is a note if that was asked for.
pub(crate) async fn export(
    context: &Context,
    to: &CacheTo,
    layers: LayerSettings,
    platforms: &[Built],
    pushed_to: &[Reference],
) -> Result<(), Error> {
    let (name, started) = (to.location.to_string(), Instant::now());
    let direction = CacheDirection::Export;
    context.events.send(Event::CacheStarted { direction, name: name.clone() });
    let result = match Export::new(context, to, pushed_to) {
        Ok(export) => export.run(layers, platforms).await,
        Err(error) => Err(error),
    };
    let summary = match &result {
        Ok(written) => written.to_string(),
        Err(_) => "failed".to_owned(),
    };
    let duration = started.elapsed();
    context.events.send(Event::CacheFinished { direction, name: name.clone(), summary, duration });
    match result {
        Ok(_) => Ok(()),
        Err(error) if to.ignore_error => {
            let message = format!("the build cache {name} was not written: {}", causes(&error));
            context.events.send(Event::Warning { message });
            Ok(())
        }
        Err(source) => Err(Error::CacheExport { name, source: Box::new(source) }),
    }
}

/// What an export came to.
enum Outcome {
    /// All was there.
    Nothing,
    /// So many results and layers of this build, of so many bytes.
    Results { records: usize, layers: usize, bytes: u64 },
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing new"),
            Self::Results { records, layers, bytes } => {
                let (unit, name) = if *bytes < 1_000_000 { (1e3, "kB") } else { (1e6, "MB") };
                let size = *bytes as f64 / unit;
                write!(f, "{records} results, {layers} layers of {size:.1} {name}")
            }
        }
    }
}

/// Entries that were written to an index that others may have replaced since.
struct Written {
    entries: Vec<Descriptor>,
    /// When to look whether they did.
    delay: Duration,
}

struct Export<'a> {
    to: &'a CacheTo,
    storage: Storage,
    now: i64,
}

/// The entries of this build, by platform.
type Own = BTreeMap<String, (Platform, Entry)>;

impl<'a> Export<'a> {
    fn new(context: &Context, to: &'a CacheTo, pushed_to: &[Reference]) -> Result<Self, StorageError> {
        let storage = Storage::at(context, &to.location, pushed_to)?;
        Ok(Self { to, storage, now: Timestamp::now().as_second() })
    }

    async fn run(&self, layers: LayerSettings, platforms: &[Built]) -> Result<Outcome, StorageError> {
        // In a directory nobody else removes blobs from now on.
        let _turn = self.storage.turn().await?;
        let compression = self.to.compression.unwrap_or(layers.compression);
        let settings = ExportSettings {
            layers: LayerSettings { compression, ..layers },
            force: self.to.force_compression,
        };
        let mut own = Own::new();
        let mut blobs: BTreeMap<Digest, Layer> = BTreeMap::new();
        // Other builders export their caches themselves.
        let with_results = platforms.iter().filter_map(|built| Some((built, built.results.as_ref()?)));
        for (built, results) in with_results {
            let portable = results.portable(self.to.scope, &settings, self.now).await;
            let portable = portable.map_err(|error| StorageError::Layer(Box::new(error.into())))?;
            let layers = portable.layers.into_iter();
            blobs.extend(layers.map(|layer| (layer.descriptor.digest.clone(), layer)));
            let (_, entry) = own
                .entry(built.platform.to_string())
                .or_insert_with(|| (built.platform.clone(), Entry::default()));
            entry.merge(portable.entry);
        }
        let written = Outcome::Results {
            records: own.values().flat_map(|(_, entry)| entry.records.keys()).collect::<BTreeSet<_>>().len(),
            layers: blobs.len(),
            bytes: blobs.values().map(|layer| layer.descriptor.size).sum(),
        };
        if let Some(top) = self.storage.top().await?
            && self.is_known(&self.listing(Some(&top))?, &own).await?
        {
            return Ok(Outcome::Nothing);
        }
        stream::iter(blobs.into_values().map(|layer| self.storage.put_layer(layer)).collect::<Vec<_>>())
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        self.publish(&own).await?;
        Ok(written)
    }

    /// Replaces the index until the entries of this build, or others that hold them, are in it.
    async fn publish(&self, own: &Own) -> Result<(), StorageError> {
        let mut written: Option<Written> = None;
        // Whether another exporter has written meanwhile, and how often ours was seen to be there.
        let (mut is_contended, mut looks) = (false, 0);
        // A registry has what its manifests name, unless it was damaged.
        let mut check_blobs = self.storage.repository().is_none();
        for round in 0..ROUNDS {
            let top = self.storage.top().await?;
            let mut listing = self.listing(top.as_ref())?;
            if let Some(written) = &written
                && (written.entries.iter().all(|entry| listing.has(entry))
                    || self.is_known(&listing, own).await?)
            {
                // Where others write too, one of them may still be about to.
                looks += 1;
                if looks == MOST_LOOKS || !(is_contended || self.is_busy(&listing, &written.entries)) {
                    return Ok(());
                }
                tokio::time::sleep(written.delay + by_chance(written.delay)).await;
                continue;
            }
            (is_contended, looks) = (is_contended || round > 0, 0);
            let (mut packed, mut merged) = (Vec::new(), Vec::new());
            for (platform, entry) in own.values() {
                let (one, of) = self.merged(&listing, platform, entry, check_blobs).await?;
                listing.replace(&of, &one);
                merged.extend(of);
                packed.push(one);
            }
            let oldest = self.now - i64::try_from(self.to.max_age.as_secs()).unwrap_or(i64::MAX);
            if let Ok(oldest) = Timestamp::from_second(oldest) {
                listing.drop_before(oldest);
            }
            match self.put_entries(&packed).await {
                Err(StorageError::Registry(error)) if error.is_missing_content() && !check_blobs => {
                    check_blobs = true;
                    continue;
                }
                put => put?,
            }
            match self.storage.replace(top.as_ref(), &listing.to_bytes()).await? {
                Replaced::Surely => {
                    return self.remove_replaced(top.as_ref(), &merged).await;
                }
                Replaced::Perhaps(delay) => {
                    let entries = packed.into_iter().map(|one| one.descriptor).collect();
                    written = Some(Written { entries, delay });
                    tokio::time::sleep(delay + by_chance(delay)).await;
                }
                Replaced::No => {
                    let delay = (RETRY * (round + 1)).min(LONGEST_RETRY);
                    tokio::time::sleep(by_chance(delay)).await;
                }
            }
        }
        Err(StorageError::Contended { rounds: ROUNDS })
    }

    async fn put_entries(&self, packed: &[Packed]) -> Result<(), StorageError> {
        for one in packed {
            self.storage.put_document(&one.config_descriptor, &one.config).await?;
            self.storage.put_document(&one.descriptor, &one.manifest).await?;
        }
        Ok(())
    }

    /// Whether others wrote to the index just now.
    fn is_busy(&self, listing: &Listing, own: &[Descriptor]) -> bool {
        let since = Timestamp::from_second(self.now - BUSY);
        since.is_ok_and(|since| listing.is_written_since(since, own))
    }

    /// What the index lists now. Something else under that name is not replaced, unless it is a cache
    /// that BuildKit made.
    fn listing(&self, top: Option<&Top>) -> Result<Listing, StorageError> {
        let Some(top) = top else { return Ok(Listing::default()) };
        let found = match media_type::is_manifest(&top.descriptor.media_type) {
            true => Err(archway_cache::document::check_entry(&Manifest::parse(&top.bytes)?)
                .err()
                .unwrap_or(CacheError::NotACache { what: "a single entry" })),
            false => Listing::parse(&top.bytes),
        };
        match found {
            Ok(listing) => Ok(listing),
            Err(CacheError::NotACache { what: "a cache of BuildKit" | "a single entry" }) => {
                Ok(Listing::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether everything is there already, and said to be in use.
    async fn is_known(&self, listing: &Listing, own: &Own) -> Result<bool, StorageError> {
        for (platform, entry) in own.values() {
            let mut known = Entry::default();
            for descriptor in listing.of(platform) {
                let Some(there) = self.read(descriptor).await? else { return Ok(false) };
                known.merge(there);
            }
            if !known.covers(entry, self.now - USE_RESOLUTION) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The entry of a platform, with all that is there, and what it takes the place of.
    async fn merged(
        &self,
        listing: &Listing,
        platform: &Platform,
        own: &Entry,
        check_blobs: bool,
    ) -> Result<(Packed, Vec<Descriptor>), StorageError> {
        let (mut entry, mut of) = (own.clone(), Vec::new());
        for descriptor in listing.of(platform) {
            if let Some(there) = self.read(descriptor).await? {
                entry.merge(there);
            }
            of.push(descriptor.clone());
        }
        entry.limit(&Limits {
            used_since: self.now - i64::try_from(self.to.max_age.as_secs()).unwrap_or(self.now),
            records: MAX_RECORDS,
            layers: MAX_LAYERS,
        });
        if check_blobs {
            let gone = self.gone(&entry, own).await?;
            entry.keep_blobs(|digest| !gone.contains(digest));
        }
        let exported = Timestamp::from_second(self.now).expect("the present is in range");
        Ok((entry.pack(platform, exported), of))
    }

    /// The blobs of `entry` that are not there any more; those of this build were just written.
    async fn gone(&self, entry: &Entry, own: &Entry) -> Result<BTreeSet<Digest>, StorageError> {
        let own: BTreeSet<Digest> = own.blobs().into_iter().map(|blob| blob.digest).collect();
        let others = entry.blobs().into_iter().filter(|blob| !own.contains(&blob.digest));
        let missing = others.map(|blob| async move {
            let is_there = self.storage.contains(&blob).await?;
            Ok::<_, StorageError>((!is_there).then_some(blob.digest))
        });
        let missing = stream::iter(missing.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        missing.try_filter_map(|digest| async move { Ok(digest) }).try_collect().await
    }

    /// An entry that is there; `None` if it is damaged: it is of no use to anybody.
    async fn read(&self, descriptor: &Descriptor) -> Result<Option<Entry>, StorageError> {
        let read = async {
            let manifest = Manifest::parse(&self.storage.document(descriptor).await?)?;
            let config = self.storage.document(&manifest.config).await?;
            Ok::<_, StorageError>(Entry::unpack(&manifest, &config)?)
        };
        match read.await {
            Ok(entry) => Ok(Some(entry)),
            // An entry that cannot be read now would be lost if it were taken for damaged.
            Err(StorageError::Registry(error)) if error.is_temporary() => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    async fn remove_replaced(&self, top: Option<&Top>, merged: &[Descriptor]) -> Result<(), StorageError> {
        let mut old: Vec<Digest> = top.map(|top| top.descriptor.digest.clone()).into_iter().collect();
        for descriptor in merged {
            old.push(descriptor.digest.clone());
            if let Ok(bytes) = self.storage.document(descriptor).await
                && let Ok(manifest) = Manifest::parse(&bytes)
            {
                old.push(manifest.config.digest);
                old.extend(manifest.layers.into_iter().map(|layer| layer.digest));
            }
        }
        self.storage.remove_unneeded(&old).await
    }
}

/// Between nothing and `most`: the clock's last digits are chance enough to get two processes out of step.
fn by_chance(most: Duration) -> Duration {
    let digits = u32::try_from(Timestamp::now().subsec_nanosecond()).unwrap_or(0) / 64;
    most * (digits % 1000) / 1000
}
