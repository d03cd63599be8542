//! The index of a cache: one entry for each platform, more while exporters race.

use archway_oci::{Descriptor, Index, Platform, json};
use jiff::Timestamp;

use crate::{
    CacheError, Packed,
    document::{ARTIFACT_TYPE, BUILDKIT_CONFIG},
};

/// Annotation of an entry's descriptor: when it was exported (RFC 3339).
pub const EXPORTED: &str = "org.opencontainers.image.created";
/// More entries are not read; those exported last are.
pub const MAX_ENTRIES: usize = 64;

/// What the index of a cache lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    entries: Vec<Descriptor>,
}

impl Listing {
    /// Reads an index.
    ///
    /// # Errors
    /// [`CacheError::NotACache`] if it is the index of something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        let index = Index::parse(bytes)?;
        let is_entry = |child: &Descriptor| child.artifact_type.as_deref() == Some(ARTIFACT_TYPE);
        let is_buildkit = |child: &Descriptor| child.media_type == BUILDKIT_CONFIG;
        if index.artifact_type.as_deref() == Some(ARTIFACT_TYPE) || index.manifests.iter().any(is_entry) {
            let entries = index.manifests.into_iter().filter(is_entry).collect();
            return Ok(Self { entries });
        }
        let what = match index.manifests.iter().any(is_buildkit) {
            true => "a cache of BuildKit",
            false => "an image",
        };
        Err(CacheError::NotACache { what })
    }

    /// The entries to read, at most [`MAX_ENTRIES`]: those for one of `platforms` first, then those
    /// exported last.
    pub fn to_read(&self, platforms: &[Platform]) -> Vec<Descriptor> {
        let mut entries = self.entries.clone();
        let is_wanted =
            |entry: &Descriptor| entry.platform.as_ref().is_some_and(|own| platforms.contains(own));
        entries.sort_by_key(|entry| (!is_wanted(entry), std::cmp::Reverse(exported(entry))));
        entries.truncate(MAX_ENTRIES);
        entries
    }

    /// The entries for a platform.
    pub fn of(&self, platform: &Platform) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().filter(move |entry| entry.platform.as_ref() == Some(platform))
    }

    /// Whether an entry is listed.
    pub fn has(&self, entry: &Descriptor) -> bool {
        self.entries.iter().any(|listed| is_same(listed, entry))
    }

    /// Whether an entry that is none of `own` was exported since then.
    pub fn is_written_since(&self, since: Timestamp, own: &[Descriptor]) -> bool {
        let others = self.entries.iter().filter(|entry| !own.iter().any(|one| is_same(one, entry)));
        others.filter_map(exported).any(|exported| exported >= since)
    }

    /// Lists `packed` in place of the entries that were merged into it.
    pub fn replace(&mut self, merged: &[Descriptor], packed: &Packed) {
        let is_merged = |entry: &Descriptor| merged.iter().any(|other| is_same(other, entry));
        self.entries.retain(|entry| !is_merged(entry) && !is_same(entry, &packed.descriptor));
        self.entries.push(packed.descriptor.clone());
        self.entries.sort_by_cached_key(|entry| {
            (entry.platform.as_ref().map(ToString::to_string), entry.digest.clone())
        });
    }

    /// Drops entries that nobody exported since then: of platforms that are not built any more.
    pub fn drop_before(&mut self, oldest: Timestamp) {
        self.entries.retain(|entry| exported(entry).is_none_or(|exported| exported >= oldest));
    }

    /// The index. Equal listings give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut index = Index::new(self.entries.clone());
        index.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        json::to_vec(&index)
    }
}

/// What several platforms share may be all that they have, in one manifest.
fn is_same(one: &Descriptor, other: &Descriptor) -> bool {
    one.digest == other.digest && one.platform == other.platform
}

fn exported(entry: &Descriptor) -> Option<Timestamp> {
    entry.annotations.get(EXPORTED)?.parse().ok()
}
