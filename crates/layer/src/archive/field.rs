//! The fields of a header block as others write them: POSIX ustar, GNU, and what came before.

use super::BLOCK;

/// One header block.
pub(super) struct RawHeader<'a>(pub(super) &'a [u8; BLOCK]);

impl<'a> RawHeader<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        text(&self.0[0..100])
    }

    pub(super) fn mode(&self) -> Option<i128> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i128> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i128> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<i128> {
        number(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Option<i128> {
        number(&self.0[136..148])
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(super) fn device(&self) -> Option<(i128, i128)> {
        Some((number(&self.0[329..337])?, number(&self.0[337..345])?))
    }

    /// The part of a long name that precedes the name and a slash; POSIX ustar only.
    pub(super) fn prefix(&self) -> &'a [u8] {
        if &self.0[257..263] == b"ustar\0" { text(&self.0[345..500]) } else { b"" }
    }

    /// GNU's old sparse format: four segments, whether more blocks follow, and the file's size.
    pub(super) fn gnu_sparse(&self) -> (&'a [u8], bool, Option<i128>) {
        (&self.0[386..482], self.0[482] != 0, number(&self.0[483..495]))
    }

    /// Whether the checksum is right. Some old writers summed signed bytes.
    pub(super) fn checksum_holds(&self) -> bool {
        let blanked = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
        let unsigned: i128 = self.0.iter().enumerate().map(blanked).map(i128::from).sum();
        let signed: i128 = self.0.iter().enumerate().map(blanked).map(|byte| i128::from(byte as i8)).sum();
        number(&self.0[148..156]).is_some_and(|sum| sum == unsigned || sum == signed)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits among spaces and NULs (blank is 0), or GNU's base 256, marked by the highest
/// bit, in two's complement. Fields of 12 bytes at most, so it fits.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The marking bit is not part of the number; the one below it is its sign.
        let start = if first & 0x40 != 0 { -1 } else { 0 };
        let high = i128::from(first & 0x3f) | (start << 6);
        return Some(field[1..].iter().fold(high, |sum, byte| (sum << 8) | i128::from(*byte)));
    }
    let digits = field.trim_ascii_start();
    let digits = digits.split(|byte| matches!(byte, 0 | b' ')).next()?;
    if digits.is_empty() {
        return Some(0);
    }
    i128::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok().filter(|value| *value >= 0)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"00000008", None),
            (b"-0000001", None),
            (b"+0000001", Some(1)),
            (b"0x1\0\0\0\0\0", None),
            (&[0x80, 0, 0, 0, 0, 0, 1, 0], Some(256)),
            (&[0xff; 12], Some(-1)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Some(-2)),
            (&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some((1 << 62) - 1)),
            (b"", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
