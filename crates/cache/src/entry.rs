//! What a cache knows for one platform.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use archway_oci::{Descriptor, Digest};
use archway_store::{CacheKey, SnapshotKey};

/// What a cache key leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The text of another key: the content of files that a step copies.
    Fact(CacheKey),
    /// A delta.
    Delta {
        /// When it was made, seconds since 1970. Of two results of one key, the later counts.
        created: i64,
        /// Its key.
        snapshot: SnapshotKey,
    },
}

/// A cache key's outcome, and when somebody last needed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it leads to.
    pub outcome: Outcome,
    /// When a build that exported it used it, seconds since 1970. 0 inside images, which say the same
    /// whenever they are built.
    pub used: i64,
}

/// A delta as a layer blob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

impl Form {
    /// Describes the blob.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size)
    }
}

/// The records and forms of one platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What is known, by cache key.
    pub records: BTreeMap<CacheKey, Record>,
    /// The blobs of deltas, by snapshot key and by how they were made (`gzip-4`).
    pub forms: BTreeMap<(SnapshotKey, String), Form>,
}

/// What an entry may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records that nobody used since then are dropped, seconds since 1970.
    pub used_since: i64,
    /// Records; those used last stay.
    pub records: usize,
    /// Layers; those of records used last stay.
    pub layers: usize,
}

/// Most records of an entry: with their forms they stay below the size that a document may have.
pub const MAX_RECORDS: usize = 6000;
/// Most layers of an entry. Manifests above 4 MiB are refused, and one blob takes some 200 bytes.
pub const MAX_LAYERS: usize = 3000;

impl Entry {
    /// Takes over everything of `other`. Of two outcomes of one key the later made stays; of equal ones
    /// the time of the last use.
    pub fn merge(&mut self, other: Self) {
        for (key, theirs) in other.records {
            match self.records.get_mut(&key) {
                None => drop(self.records.insert(key, theirs)),
                Some(ours) => {
                    ours.used = ours.used.max(theirs.used);
                    if theirs.outcome > ours.outcome {
                        ours.outcome = theirs.outcome;
                    }
                }
            }
        }
        for (name, theirs) in other.forms {
            let ours = self.forms.entry(name).or_insert_with(|| theirs.clone());
            if theirs > *ours {
                *ours = theirs;
            }
        }
    }

    /// Whether merging `other` would add nothing but later times of use, and what it holds was used since
    /// then (seconds since 1970).
    pub fn covers(&self, other: &Self, used_since: i64) -> bool {
        let mut both = self.clone();
        both.merge(other.clone());
        both.tidy();
        let is_same = |(key, record): (&CacheKey, &Record)| {
            self.records.get(key).is_some_and(|known| known.outcome == record.outcome)
        };
        let is_fresh = |key: &CacheKey| self.records.get(key).is_some_and(|known| known.used >= used_since);
        both.records.iter().all(is_same)
            && both.forms.keys().all(|name| self.forms.contains_key(name))
            && other.records.keys().filter(|key| both.records.contains_key(key)).all(is_fresh)
    }

    /// Drops what is too old or too much, and what then leads nowhere.
    pub fn limit(&mut self, limits: &Limits) {
        self.records.retain(|_, record| record.used >= limits.used_since);
        let mut order: Vec<(Reverse<i64>, CacheKey)> =
            self.records.iter().map(|(key, record)| (Reverse(record.used), *key)).collect();
        order.sort();
        let (mut kept, mut deltas) = (BTreeSet::new(), BTreeSet::new());
        let mut layers = 0;
        for (_, key) in order {
            if kept.len() == limits.records {
                break;
            }
            if let Outcome::Delta { snapshot, .. } = self.records[&key].outcome
                && !deltas.contains(&snapshot)
            {
                let own = self.forms_of(&snapshot).count();
                if layers + own > limits.layers {
                    continue;
                }
                layers += own;
                deltas.insert(snapshot);
            }
            kept.insert(key);
        }
        self.records.retain(|key, _| kept.contains(key));
        self.tidy();
    }

    /// Drops forms whose blob is none of `available`, and what then leads nowhere.
    pub fn keep_blobs(&mut self, available: impl Fn(&Digest) -> bool) {
        self.forms.retain(|_, form| available(&form.digest));
        self.tidy();
    }

    /// Drops records of deltas without a blob, and blobs of deltas without a record.
    pub fn tidy(&mut self) {
        let held: BTreeSet<SnapshotKey> = self.forms.keys().map(|(snapshot, _)| *snapshot).collect();
        let mut wanted = BTreeSet::new();
        self.records.retain(|_, record| match &record.outcome {
            Outcome::Fact(_) => true,
            Outcome::Delta { snapshot, .. } => {
                held.contains(snapshot) && {
                    wanted.insert(*snapshot);
                    true
                }
            }
        });
        self.forms.retain(|(snapshot, _), _| wanted.contains(snapshot));
    }

    /// The forms of a delta, by how they were made.
    pub fn forms_of(&self, snapshot: &SnapshotKey) -> impl Iterator<Item = (&str, &Form)> {
        let from = (*snapshot, String::new());
        let own = self.forms.range(from..).take_while({
            let snapshot = *snapshot;
            move |((of, _), _)| *of == snapshot
        });
        own.map(|((_, name), form)| (name.as_str(), form))
    }

    /// The blobs, each once, in the order of their digests.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let blobs: BTreeMap<&Digest, &Form> = self.forms.values().map(|form| (&form.digest, form)).collect();
        blobs.into_values().map(Form::descriptor).collect()
    }
}
