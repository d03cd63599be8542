//! Which items go: pure decisions.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Item, inventory::Entry, measure::FileId};

/// A rule of a collection. Without limits it removes all that it is about; with limits the least recently used first, until
/// they hold. Never what a running process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Also what is internal, and what the build cache knows of files that images have.
    pub all: bool,
    /// Only what nobody used for this long.
    pub unused_for: Option<Duration>,
    /// Bytes that the build cache may have in any case.
    pub reserved_space: Option<u64>,
    /// Bytes that the build cache may have at most.
    pub max_used_space: Option<u64>,
    /// Bytes of the disk that are to be free.
    pub min_free_space: Option<u64>,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disk {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes that can be written.
    pub free: u64,
}

impl Rule {
    /// All that images and running processes do not need.
    pub const EVERYTHING: Self = Self {
        all: true,
        unused_for: None,
        reserved_space: None,
        max_used_space: None,
        min_free_space: None,
    };

    /// Bytes that the build cache, which has `used`, may keep; `None` if the rule has no limit. As in BuildKit.
    fn keep(&self, used: u64, free: u64) -> Option<u64> {
        if self.reserved_space.is_none() && self.max_used_space.is_none() && self.min_free_space.is_none() {
            return None;
        }
        let missing = self.min_free_space.map(|wanted| wanted.saturating_sub(free));
        let by_free = missing.map(|missing| used.saturating_sub(missing));
        let keep = match (self.max_used_space, by_free) {
            (Some(most), Some(by_free)) => most.min(by_free),
            (Some(most), None) => most,
            (None, Some(by_free)) => by_free,
            (None, None) => 0,
        };
        Some(keep.max(self.reserved_space.unwrap_or(0)))
    }

    fn applies_to(&self, item: &Item, now: Timestamp) -> bool {
        let is_old = self.unused_for.is_none_or(|age| is_unused_for(item, age, now));
        is_old && !item.in_use && (self.all || !item.shared && !item.kind.is_internal())
    }

    /// The time before which records without files are dropped; they take next to no space.
    pub(super) fn oldest_fact(&self, now: Timestamp) -> Option<Timestamp> {
        match self.unused_for {
            Some(age) => now.checked_sub(age).ok(),
            None => (self.all && self.keep(0, 0).is_none()).then_some(Timestamp::MAX),
        }
    }
}

/// Whether nobody used `item` for `age`.
pub fn is_unused_for(item: &Item, age: Duration, now: Timestamp) -> bool {
    let unused = now.duration_since(item.last_used);
    !unused.is_negative() && unused.unsigned_abs() >= age
}

/// What is left of the entries while rules are applied.
pub(super) struct Ledger<'a> {
    entries: &'a [Entry],
    removed: Vec<usize>,
    is_removed: Vec<bool>,
    /// How many of the entries that stay have a file.
    owners: HashMap<FileId, u32>,
    total: u64,
    freed: u64,
    disk: Disk,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(entries: &'a [Entry], disk: Disk) -> Self {
        let mut owners: HashMap<FileId, u32> = HashMap::new();
        let mut total = 0;
        let mut counted = HashSet::new();
        for entry in entries {
            for (file, bytes) in &entry.footprint.linked {
                *owners.entry(*file).or_default() += 1;
                if !entry.item.shared && counted.insert(*file) {
                    total += bytes;
                }
            }
            if !entry.item.shared {
                total += entry.footprint.own;
            }
        }
        Self {
            entries,
            removed: Vec::new(),
            is_removed: vec![false; entries.len()],
            owners,
            total,
            freed: 0,
            disk,
        }
    }

    /// Bytes of the entries that stay and that images do not need.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of the entries that go.
    pub(super) fn freed(&self) -> u64 {
        self.freed
    }

    /// The entries that go, by number, in the order of removal.
    pub(super) fn removed(&self) -> &[usize] {
        &self.removed
    }

    /// Applies a rule to the entries that `filter` lets through.
    pub(super) fn apply(&mut self, rule: &Rule, filter: &dyn Fn(&Item) -> bool, now: Timestamp) {
        let keep = rule.keep(self.total, self.disk.free + self.freed);
        for index in order(self.entries) {
            if keep.is_some_and(|keep| self.total <= keep) {
                break;
            }
            let entry = &self.entries[index];
            if self.is_removed[index] || !rule.applies_to(&entry.item, now) || !filter(&entry.item) {
                continue;
            }
            // A limit is no reason to forget what frees nothing.
            if keep.is_some() && self.frees(index) == 0 {
                continue;
            }
            self.remove(index);
        }
    }

    /// Bytes that are free without the entry.
    fn frees(&self, index: usize) -> u64 {
        let entry = &self.entries[index];
        if entry.item.shared {
            return 0;
        }
        let last = entry.footprint.linked.iter().filter(|(file, _)| self.owners.get(file) == Some(&1));
        entry.footprint.own + last.map(|(_, bytes)| bytes).sum::<u64>()
    }

    fn remove(&mut self, index: usize) {
        let bytes = self.frees(index);
        self.total -= bytes;
        self.freed += bytes;
        self.is_removed[index] = true;
        self.removed.push(index);
        let entry = &self.entries[index];
        if !entry.item.shared {
            for (file, _) in &entry.footprint.linked {
                self.owners.entry(*file).and_modify(|owners| *owners -= 1);
            }
        }
    }
}

/// The entries by number, least recently used first. What was made on something goes before it: without it
/// it could not be found any more.
pub(super) fn order(entries: &[Entry]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_cached_key(|index| {
        let Entry { item, depth, .. } = &entries[*index];
        (item.last_used, Reverse(*depth), item.kind, item.id.clone())
    });
    order
}
