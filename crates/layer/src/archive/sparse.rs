//! Sparse files as GNU tar writes them: old GNU headers (type `S`) and PAX format 1.0. We never write
//! them; `ADD` meets them in archives of others.

use super::{field::number, pax};

/// A stretch of data within a file; what is between stretches is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Most segments of one file: what fits [`super::MAX_EXTENSION`] in the old format, roughly.
pub(super) const MAX_SEGMENTS: usize = 1 << 16;

/// Appends the segments of one old GNU table, 24 bytes each; the first blank one ends it.
pub(super) fn gnu_table(table: &[u8], segments: &mut Vec<Segment>) -> Option<()> {
    for slot in table.chunks_exact(24) {
        if slot[0] == 0 {
            break;
        }
        let offset = u64::try_from(number(&slot[..12])?).ok()?;
        let length = u64::try_from(number(&slot[12..])?).ok()?;
        segments.push(Segment { offset, length });
    }
    (segments.len() <= MAX_SEGMENTS).then_some(())
}

/// The map of PAX format 1.0: decimal lines, first the number of segments, then an offset and a length
/// each, padded to whole blocks. Fed block by block.
#[derive(Debug, Default)]
pub(super) struct PaxMap {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl PaxMap {
    /// Takes the next block of the map.
    pub(super) fn push(&mut self, block: &[u8]) -> Option<()> {
        for byte in block {
            if self.is_complete() {
                break;
            }
            if *byte != b'\n' {
                self.digits.push(*byte);
                continue;
            }
            self.numbers.push(pax::decimal(&self.digits).filter(|_| !self.digits.is_empty())?);
            self.digits.clear();
        }
        let count = self.numbers.first().copied().unwrap_or(0);
        // 20 digits hold any `u64`: more cannot be a number.
        (count <= MAX_SEGMENTS as u64 && self.digits.len() <= 20).then_some(())
    }

    /// Whether the announced number of segments was seen.
    pub(super) fn is_complete(&self) -> bool {
        self.numbers.first().is_some_and(|count| (self.numbers.len() as u64 - 1) / 2 >= *count)
    }

    pub(super) fn segments(&self) -> Vec<Segment> {
        let pairs = self.numbers.get(1..).unwrap_or_default().chunks_exact(2);
        pairs.map(|pair| Segment { offset: pair[0], length: pair[1] }).collect()
    }
}

/// Whether segments are in order, apart, inside a file of `size`, and hold exactly `stored` bytes.
pub(super) fn is_sound(segments: &[Segment], size: u64, stored: u64) -> bool {
    let mut end = 0;
    let mut held: u64 = 0;
    for segment in segments {
        let Some(next) = segment.offset.checked_add(segment.length) else { return false };
        if segment.offset < end || next > size {
            return false;
        }
        end = next;
        // Cannot overflow: the segments are apart and inside a `u64`.
        held += segment.length;
    }
    held == stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_may_end_in_a_later_block() {
        let mut map = PaxMap::default();
        assert_eq!(map.push(b"2\n0\n5"), Some(()));
        assert!(!map.is_complete());
        assert_eq!(map.push(b"12\n4096\n1\n\0\0\0"), Some(()));
        assert!(map.is_complete());
        let expected = [Segment { offset: 0, length: 512 }, Segment { offset: 4096, length: 1 }];
        assert_eq!(map.segments(), expected);
    }

    #[test]
    fn hostile_maps_are_refused() {
        for block in
            [&b"x\n"[..], b"\n", b"70000\n", b"1\n-1\n", b"123456789012345678901", b"99999999999999999999\n"]
        {
            assert_eq!(PaxMap::default().push(block), None, "{}", String::from_utf8_lossy(block));
        }
    }

    #[test]
    fn segments_must_be_ordered_inside_and_complete() {
        let segments = |pairs: &[(u64, u64)]| -> Vec<Segment> {
            pairs.iter().map(|(offset, length)| Segment { offset: *offset, length: *length }).collect()
        };
        for (pairs, size, stored, sound) in [
            (&[][..], 10, 0, true),
            (&[(0, 5), (5, 5)], 10, 10, true),
            (&[(0, 5), (4, 5)], 10, 10, false),
            (&[(0, 11)], 10, 11, false),
            (&[(u64::MAX, 1)], u64::MAX, 1, false),
            (&[(0, 5)], 10, 6, false),
        ] {
            assert_eq!(is_sound(&segments(pairs), size, stored), sound, "{pairs:?}");
        }
    }
}
