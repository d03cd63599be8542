//! PAX extended headers as read (POSIX.1-2017 `pax`, "pax Extended Header").
//!
//! Parsed by the stated lengths, never by looking for newlines: the value of an extended attribute is
//! arbitrary bytes.

use std::collections::BTreeMap;

use super::Timestamp;

/// The records of one header that we understand; others say nothing about a file system.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.*` by the rest of the key.
    pub(super) sparse: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The body is not `length key=value\n …`, or a value is not what its key wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Extension {
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, Malformed> {
        let mut extension = Self::default();
        while !body.is_empty() {
            let (key, value, rest) = record(body).ok_or(Malformed)?;
            extension.set(key, value).ok_or(Malformed)?;
            body = rest;
        }
        Ok(extension)
    }

    /// An empty value takes an earlier record back.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        fn given<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
            if value.is_empty() { Some(None) } else { parse(value).map(Some) }
        }
        match key {
            b"path" => self.path = given(value, text)?,
            b"linkpath" => self.linkpath = given(value, text)?,
            b"size" => self.size = given(value, decimal)?,
            b"uid" => self.uid = given(value, decimal)?,
            b"gid" => self.gid = given(value, decimal)?,
            b"mtime" => self.mtime = given(value, timestamp)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Some(())
    }
}

/// Splits the first record off: key, value, rest.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(body.get(..space)?)?).ok()?;
    let record = body.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    if equals == 0 { None } else { Some((&record[..equals], &record[equals + 1..], &body[length..])) }
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

/// Digits only: `str::parse` would also take a sign.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Decimal seconds with an optional sign and fraction; digits after the ninth are dropped.
fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let (negative, magnitude) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut halves = magnitude.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(halves.next().filter(|whole| !whole.is_empty())?)?).ok()?;
    let fraction = halves.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0));
    let nanoseconds = digits.take(9).fold(0, |sum, digit| sum * 10 + digit);
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp::from_seconds(-seconds),
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_by_their_length() {
        let body = b"12 uid=1000\n27 SCHILY.xattr.user.a=\n=\x00\n12 path=a\nb\n15 comment=hi!\n";
        let extension = Extension::parse(body).expect("well formed");
        assert_eq!(extension.uid, Some(1000));
        assert_eq!(extension.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(extension.xattrs.get(&b"user.a"[..]).map(Vec::as_slice), Some(&b"\n=\0"[..]));
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in [
            &b"x"[..],
            b"5 a=b\n",
            b"7 a=b\n",
            b"6 a=bc",
            b"6  =b\n\n",
            b"5 =b\n",
            b"5 ab\n",
            b"0 a=b\n",
            b"-6 a=b\n",
            b"+6 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"10 path=\0a\n",
            b"10 size=-1\n",
            b"10 mtime=.\n",
            b"27 size=99999999999999999999\n",
        ] {
            assert!(Extension::parse(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn times_may_have_a_sign_and_a_fraction() {
        for (value, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("12.5", 12, 500_000_000),
            ("1.0123456789", 1, 12_345_678),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
            ("7.", 7, 0),
        ] {
            assert_eq!(timestamp(value.as_bytes()), Some(Timestamp { seconds, nanoseconds }), "{value}");
        }
        assert_eq!(timestamp(b"1e3"), None);
        assert_eq!(timestamp(b"99999999999999999999"), None);
    }
}
