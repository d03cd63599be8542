//! Collections that nobody asks for, so that a store does not grow for ever.
//!
//! Whether one is due is decided by one look at the file system and one at what the last one noted, which takes microseconds.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::{
    Prune, Pruned,
    policy::{Disk, Rule},
};
use crate::{Store, error::Result, lock::Lock};

/// The least time between two collections.
const LEAST_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Time after which there is a collection whatever the limits say, because of the ages of things.
const USUAL_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The name of the note in the index.
const NOTE: &str = "collected";
/// Held by who collects.
const LOCK: &str = "automatic collection";

/// When there is a collection, and what it removes. The default is BuildKit's, but that it removes what nobody used
/// for long also while there is space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Remove what nobody used for this long.
    pub unused_for: Option<Duration>,
    /// What the build cache may have in any case.
    pub reserved_space: Space,
    /// What the build cache may have at most.
    pub max_used_space: Space,
    /// What is to be free.
    pub min_free_space: Space,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unused_for: Some(Duration::from_secs(60 * 24 * 3600)),
            reserved_space: Space::AtMost { percent: 10, bytes: 10_000_000_000 },
            max_used_space: Space::AtMost { percent: 80, bytes: 100_000_000_000 },
            min_free_space: Space::Percent(20),
        }
    }
}

/// An amount of disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// This many bytes.
    Bytes(u64),
    /// A part of the file system.
    Percent(u8),
    /// A part of the file system, but not more than some bytes.
    AtMost {
        /// The part.
        percent: u8,
        /// The most.
        bytes: u64,
    },
}

impl Space {
    /// In bytes.
    pub fn of(self, disk: Disk) -> u64 {
        let part = |percent: u8| disk.total / 100 * u64::from(percent);
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => part(percent),
            Self::AtMost { percent, bytes } => part(percent).min(bytes),
        }
    }
}

impl Policy {
    /// The rules on a file system: first what is old, then what is too much.
    pub fn rules(&self, disk: Disk) -> Vec<Rule> {
        let old = self.unused_for.map(|age| Rule { all: true, unused_for: Some(age), ..Rule::default() });
        let limits = Rule {
            all: true,
            unused_for: None,
            reserved_space: Some(self.reserved_space.of(disk)),
            max_used_space: Some(self.max_used_space.of(disk)),
            min_free_space: Some(self.min_free_space.of(disk)),
        };
        old.into_iter().chain([limits]).collect()
    }

    /// Whether a collection is due.
    fn is_due(&self, note: Note, now: Timestamp, disk: Disk) -> bool {
        let since = now.duration_since(note.time).unsigned_abs();
        if since < LEAST_INTERVAL {
            return false;
        }
        // At most: other things have grown on the disk, too.
        let used = note.cache + note.free.saturating_sub(disk.free);
        let has_reserve = used < self.reserved_space.of(disk);
        let is_full = used > self.max_used_space.of(disk) || disk.free < self.min_free_space.of(disk);
        since >= USUAL_INTERVAL || is_full && !has_reserve
    }
}

/// What a collection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    time: Timestamp,
    /// Bytes of the build cache.
    cache: u64,
    /// Bytes that were free.
    free: u64,
}

impl Note {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(str::parse::<i64>);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            time: Timestamp::from_second(next()?).ok()?,
            cache: u64::try_from(next()?).ok()?,
            free: u64::try_from(next()?).ok()?,
        })
    }

    fn find(store: &Store) -> Result<Option<Self>> {
        let text: Option<String> = store.inner.index.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
                .query_row([NOTE], |row| row.get(0))
                .optional()
        })?;
        Ok(text.as_deref().and_then(Self::parse))
    }

    fn write(self, store: &Store) -> Result<()> {
        let text = format!("{} {} {}", self.time.as_second(), self.cache, self.free);
        let index = &store.inner.index;
        index.write(|transaction| {
            transaction
                .execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [NOTE, &text])
                .map_err(|error| index.failed(error))
        })?;
        Ok(())
    }
}

/// When the last automatic collection was, if there was one.
pub(crate) fn last(store: &Store) -> Result<Option<Timestamp>> {
    Ok(Note::find(store)?.map(|note| note.time))
}

/// Collects if that is due; `None` if it is not, or if another process is at it.
pub(crate) fn collect(store: &Store, policy: &Policy) -> Result<Option<Pruned>> {
    let root = &store.inner.root;
    let disk = super::disk(root)?;
    let now = Timestamp::now();
    let Some(note) = Note::find(store)? else {
        // A new store: there is nothing to collect, and from now on time counts.
        Note { time: now, cache: 0, free: disk.free }.write(store)?;
        return Ok(None);
    };
    if !policy.is_due(note, now, disk) {
        return Ok(None);
    }
    let Some(_collecting) = Lock::try_exclusive(root.named_lock(LOCK))? else { return Ok(None) };
    // Somebody may have been faster.
    if Note::find(store)? != Some(note) {
        return Ok(None);
    }
    let pruned = super::prune(store, &Prune::by(&policy.rules(disk)))?;
    Note { time: now, cache: pruned.left, free: super::disk(root)?.free }.write(store)?;
    Ok(Some(pruned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn a_collection_is_due_when_limits_may_be_exceeded_or_a_day_is_over() {
        let policy = Policy::default();
        // A disk of 100 GB: 10 reserved, 80 at most, 20 to be free.
        let table = [
            ("nothing has changed", 60, (5, 60), 60, false),
            ("a day is over", 25 * 60, (5, 60), 60, true),
            ("the disk is full", 60, (15, 60), 15, true),
            ("it is full of other things, the cache is small", 60, (5, 16), 15, false),
            ("it was full before, and a moment ago", 5, (15, 15), 15, false),
            ("the cache may have grown over its limit", 60, (70, 50), 35, true),
            ("the cache may have grown, but not that much", 60, (70, 50), 45, false),
        ];
        let now = Timestamp::now();
        for (what, minutes, (cache, free_then), free, expected) in table {
            let note = Note {
                time: now.checked_sub(Duration::from_secs(minutes * 60)).unwrap(),
                cache: cache * GB,
                free: free_then * GB,
            };
            let disk = Disk { total: 100 * GB, free: free * GB };
            assert_eq!(policy.is_due(note, now, disk), expected, "{what}");
        }
    }

    #[test]
    fn the_default_is_bounded_on_large_disks() {
        let disk = |total| Disk { total, free: 0 };
        let limits = |total| {
            let rules = Policy::default().rules(disk(total));
            let Rule { reserved_space, max_used_space, min_free_space, .. } = rules[1];
            [reserved_space, max_used_space, min_free_space].map(|bytes| bytes.unwrap() / GB)
        };
        assert_eq!(limits(50 * GB), [5, 40, 10]);
        assert_eq!(limits(1000 * GB), [10, 100, 200]);
    }

    #[test]
    fn notes_survive_the_index() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let note = Note { time: Timestamp::from_second(7).unwrap(), cache: 8, free: 9 };
        note.write(&store).unwrap();
        assert_eq!(Note::find(&store).unwrap(), Some(note));
        assert_eq!(Note::parse("1 2"), None);
    }
}
