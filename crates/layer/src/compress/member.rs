//! Where a layer's tar is cut into members.
//!
//! A cut depends on nothing but the entries around it, so that after a changed file the cuts soon
//! fall where they fell before and the members there keep their bytes:
//!
//! 1. An entry that would make the member exceed [`MOST`] begins a new one.
//! 2. An entry larger than [`MOST`] (with its headers and padding) has its members to itself: it is cut
//!    every [`MOST`] bytes from its own beginning, and the next entry begins a new member.
//! 3. Otherwise an entry begins a new member when the current one holds at least [`LEAST`] and the
//!    CRC-32 of the entry's path is a multiple of [`SPACING`].
//! 4. The end-of-archive blocks belong to the last member, or begin one where rule 2 or [`MOST`] says so.

/// A member has at most this much tar, in bytes.
pub const MOST: usize = 1 << 20;

/// A member has at least this much tar before a path may end it, in bytes.
pub const LEAST: usize = 512 << 10;

/// On average, one path in this many ends a member that is large enough.
pub const SPACING: u32 = 8;

/// Follows a tar stream and says where it is cut.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    held: usize,
    /// Whether the entry now being written is larger than a member.
    oversized: bool,
}

impl Cutter {
    /// Whether a new member begins with the entry `path` of `length` bytes.
    pub(super) fn begin_entry(&mut self, path: &[u8], length: u64) -> bool {
        let fits = (self.held as u64).saturating_add(length) <= MOST as u64;
        let landmark = self.held >= LEAST && libdeflater::crc32(path).is_multiple_of(SPACING);
        let cut = self.held > 0 && (!fits || landmark || self.oversized);
        self.oversized = length > MOST as u64;
        if cut {
            self.held = 0;
        }
        cut
    }

    /// How many of the next `length` bytes go to the current member. Zero: a new one begins here, as
    /// [`Cutter::cut`] is to be told.
    pub(super) fn room(&self, length: usize) -> usize {
        (MOST - self.held).min(length)
    }

    /// Counts bytes that went to the current member.
    pub(super) fn advance(&mut self, length: usize) {
        self.held += length;
    }

    /// A new member begins.
    pub(super) fn cut(&mut self) {
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the members that entries of these paths and lengths make.
    fn members(entries: &[(String, usize)]) -> Vec<usize> {
        let mut cutter = Cutter::default();
        let mut lengths = vec![0];
        for (path, length) in entries {
            if cutter.begin_entry(path.as_bytes(), *length as u64) {
                lengths.push(0);
            }
            let mut left = *length;
            while left > 0 {
                let count = cutter.room(left);
                if count == 0 {
                    cutter.cut();
                    lengths.push(0);
                }
                cutter.advance(count);
                left -= count;
                if let Some(last) = lengths.last_mut() {
                    *last += count;
                }
            }
        }
        lengths
    }

    fn small(range: std::ops::Range<usize>) -> Vec<(String, usize)> {
        range.map(|n| (format!("dir/file-{n}"), 8 << 10)).collect()
    }

    #[test]
    fn a_large_file_has_members_of_its_own() {
        let entries =
            [("a".into(), 1000), ("b".into(), 2 * MOST + 5), ("c".into(), 1000), ("d".into(), MOST)];
        assert_eq!(members(&entries), [1000, MOST, MOST, 5, 1000, MOST]);
    }

    #[test]
    fn members_stay_within_their_bounds() {
        let lengths = members(&small(0..2000));
        assert!(lengths.len() > 10);
        assert!(lengths.iter().all(|length| *length <= MOST));
        assert!(lengths[..lengths.len() - 1].iter().all(|length| *length >= LEAST));
    }

    #[test]
    fn cuts_meet_again_after_a_change() {
        let before = small(0..4000);
        let mut after = before.clone();
        after.insert(10, ("dir/added".into(), 100 << 10));
        let (before, after) = (members(&before), members(&after));
        let shared = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        assert!(shared * 2 > before.len(), "{shared} of {} members are the same", before.len());
    }
}
