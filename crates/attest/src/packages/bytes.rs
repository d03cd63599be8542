//! Numbers at places in untrusted bytes.

/// Reads fixed-size numbers in one byte order; `None` beyond the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Bytes<'a> {
    /// The most significant byte first.
    pub(super) fn big_endian(bytes: &'a [u8]) -> Self {
        Self { bytes, big_endian: true }
    }

    /// The least significant byte first.
    pub(super) fn little_endian(bytes: &'a [u8]) -> Self {
        Self { bytes, big_endian: false }
    }

    /// `length` bytes from `offset`.
    pub(super) fn slice(&self, offset: usize, length: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..offset.checked_add(length)?)
    }

    /// Everything from `offset`.
    pub(super) fn from(&self, offset: usize) -> Option<&'a [u8]> {
        self.bytes.get(offset..)
    }

    /// One byte.
    pub(super) fn u8(&self, offset: usize) -> Option<u8> {
        self.bytes.get(offset).copied()
    }

    /// Two bytes.
    pub(super) fn u16(&self, offset: usize) -> Option<usize> {
        self.number(offset, 2).and_then(|number| usize::try_from(number).ok())
    }

    /// Four bytes, as an offset or a count.
    pub(super) fn u32(&self, offset: usize) -> Option<usize> {
        self.number(offset, 4).and_then(|number| usize::try_from(number).ok())
    }

    /// Eight bytes, as an offset or a count.
    pub(super) fn u64(&self, offset: usize) -> Option<usize> {
        self.number(offset, 8).and_then(|number| usize::try_from(number).ok())
    }

    fn number(&self, offset: usize, length: usize) -> Option<u64> {
        let bytes = self.slice(offset, length)?;
        let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.big_endian {
            true => bytes.iter().fold(0, shift),
            false => bytes.iter().rev().fold(0, shift),
        })
    }
}
