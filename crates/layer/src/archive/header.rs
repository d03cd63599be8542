//! The blocks in front of an entry's data: a PAX extended header where ustar cannot say it, then the
//! ustar header (POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header").

use std::collections::BTreeMap;

use super::{BLOCK, Entry, EntryKind, MAX_EXTENSION, WriteError, padding};
use crate::windows::{self, Layout};

const NAME: usize = 100;
const PREFIX: usize = 155;
/// Largest number in an 8-byte octal field: mode, uid, gid, device numbers.
const OCTAL_7: u64 = 0o7_777_777;
/// Largest number in a 12-byte octal field: size, mtime.
const OCTAL_11: u64 = 0o77_777_777_777;

/// PAX records by key, which is the order they are written in.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything that precedes the data of `entry`, a whole number of blocks.
pub(super) fn encode(entry: &Entry, mtime: i64, layout: Layout) -> Result<Vec<u8>, WriteError> {
    let mut name = entry.path.clone();
    if entry.kind == EntryKind::Directory {
        name.push(b'/');
    }
    let link: &[u8] = match &entry.kind {
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => target,
        _ => b"",
    };
    let mut records = records(entry, &name, link, mtime)?;
    let mut mode = entry.mode & 0o7777;
    if layout == Layout::Windows {
        records.extend(windows::records(entry, mtime));
        mode |= windows::type_bits(&entry.kind);
    }
    let mut blocks = Vec::with_capacity(BLOCK * if records.is_empty() { 1 } else { 3 });
    if !records.is_empty() {
        append_extension(&mut blocks, entry, &name, &records)?;
    }
    let (prefix, short) = split(&name).unwrap_or_else(|| (Vec::new(), ascii(&name, NAME)));
    blocks.extend_from_slice(&ustar(&Fields {
        name: &short,
        prefix: &prefix,
        link: &ascii(link, NAME),
        kind: type_flag(&entry.kind),
        mode: u64::from(mode),
        uid: or_zero(u64::from(entry.uid), OCTAL_7),
        gid: or_zero(u64::from(entry.gid), OCTAL_7),
        size: or_zero(entry.data_size(), OCTAL_11),
        mtime: u64::try_from(mtime).map_or(0, |mtime| or_zero(mtime, OCTAL_11)),
        device: device(entry)?,
    }));
    Ok(blocks)
}

/// The records for what does not fit the ustar header.
fn records(entry: &Entry, name: &[u8], link: &[u8], mtime: i64) -> Result<Records, WriteError> {
    let mut records = Records::new();
    let mut number = |key: &str, value: u64, most: u64| {
        if value > most {
            records.insert(key.into(), value.to_string().into_bytes());
        }
    };
    number("uid", entry.uid.into(), OCTAL_7);
    number("gid", entry.gid.into(), OCTAL_7);
    number("size", entry.data_size(), OCTAL_11);
    if u64::try_from(mtime).map_or(true, |mtime| mtime > OCTAL_11) {
        records.insert("mtime".into(), mtime.to_string().into_bytes());
    }
    if split(name).is_none() {
        records.insert("path".into(), name.to_vec());
    }
    if link.len() > NAME || !link.is_ascii() {
        records.insert("linkpath".into(), link.to_vec());
    }
    for (key, value) in &entry.xattrs {
        if key.is_empty() || key.contains(&b'=') || key.contains(&0) {
            return Err(WriteError::XattrName {
                path: lossy(&entry.path),
                name: String::from_utf8_lossy(key).into_owned(),
            });
        }
        records.insert([b"SCHILY.xattr.", key.as_slice()].concat(), value.clone());
    }
    Ok(records)
}

/// Appends the header and the body of a PAX extended header.
fn append_extension(
    blocks: &mut Vec<u8>,
    entry: &Entry,
    name: &[u8],
    records: &Records,
) -> Result<(), WriteError> {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    let size = body.len() as u64;
    if size > MAX_EXTENSION {
        return Err(WriteError::ExtensionTooLarge { path: lossy(&entry.path), size });
    }
    let name = [b"PaxHeaders.0/", name].concat();
    blocks.extend_from_slice(&ustar(&Fields {
        name: &ascii(name.strip_suffix(b"/").unwrap_or(&name), NAME),
        kind: b'x',
        mode: 0o644,
        size,
        ..Fields::default()
    }));
    blocks.extend_from_slice(&body);
    blocks.resize(blocks.len() + padding(size), 0);
    Ok(())
}

/// `length key=value\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The ustar prefix and name fields for `name`, or `None` if it needs a PAX record.
///
/// Only ASCII goes into ustar fields, as in Go's `archive/tar`: what another byte means there is not
/// defined.
fn split(name: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= NAME {
        return Some((Vec::new(), name.to_vec()));
    }
    let stem = name.strip_suffix(b"/").unwrap_or(name);
    let slash = stem[..stem.len().min(PREFIX + 1)].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (rest.len() <= NAME).then(|| (prefix.to_vec(), rest.to_vec()))
}

/// A stand-in for readers that do not know PAX: ASCII, at most `length` bytes.
fn ascii(text: &[u8], length: usize) -> Vec<u8> {
    text.iter().take(length).map(|byte| if byte.is_ascii() { *byte } else { b'_' }).collect()
}

/// A number that has a PAX record is zero in the header.
fn or_zero(value: u64, most: u64) -> u64 {
    if value > most { 0 } else { value }
}

fn type_flag(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::File { .. } => b'0',
        EntryKind::Hardlink { .. } => b'1',
        EntryKind::Symlink { .. } => b'2',
        EntryKind::CharDevice { .. } => b'3',
        EntryKind::BlockDevice { .. } => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

/// Device numbers, which PAX has no record for.
fn device(entry: &Entry) -> Result<(u64, u64), WriteError> {
    let (major, minor) = match entry.kind {
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    let (wide_major, wide_minor) = (u64::from(major), u64::from(minor));
    if wide_major > OCTAL_7 || wide_minor > OCTAL_7 {
        return Err(WriteError::DeviceNumber { path: lossy(&entry.path), major, minor });
    }
    Ok((wide_major, wide_minor))
}

/// The varying fields of a ustar header; user and group names are always empty.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    link: &'a [u8],
    kind: u8,
    mode: u64,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    device: (u64, u64),
}

fn ustar(fields: &Fields<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, fields.name);
    put(100, format!("{:07o}", fields.mode).as_bytes());
    put(108, format!("{:07o}", fields.uid).as_bytes());
    put(116, format!("{:07o}", fields.gid).as_bytes());
    put(124, format!("{:011o}", fields.size).as_bytes());
    put(136, format!("{:011o}", fields.mtime).as_bytes());
    // The checksum is computed with its own field blank.
    put(148, b"        ");
    put(156, &[fields.kind]);
    put(157, fields.link);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", fields.device.0).as_bytes());
    put(337, format!("{:07o}", fields.device.1).as_bytes());
    put(345, fields.prefix);
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record(b"k", b"v"), b"6 k=v\n");
        for length in 0..1200 {
            let made = record(b"key", &vec![b'v'; length]);
            let stated = made.split(|byte| *byte == b' ').next().unwrap_or_default();
            assert_eq!(stated, made.len().to_string().as_bytes(), "value of {length} bytes");
        }
    }

    #[test]
    fn long_names_use_the_prefix_where_they_can() {
        let dir = "d".repeat(90);
        for (name, fits) in [
            ("a".repeat(100), true),
            ("a".repeat(101), false),
            (format!("{dir}/{dir}"), true),
            (format!("{dir}/{dir}/"), true),
            (format!("{dir}/{dir}/{dir}"), false),
            (format!("{}/{}", "p".repeat(155), "n".repeat(100)), true),
            (format!("{}/{}", "p".repeat(156), "n".repeat(100)), false),
            (format!("{}/", "n".repeat(100)), false),
            ("é".into(), false),
        ] {
            let halves = split(name.as_bytes());
            assert_eq!(halves.is_some(), fits, "{name}");
            if let Some((prefix, rest)) = halves {
                let joined = if prefix.is_empty() { rest } else { [prefix, rest].join(&b'/') };
                assert_eq!(joined, name.as_bytes());
            }
        }
    }

    #[test]
    fn an_ordinary_file_is_one_block_that_the_tar_crate_reads() {
        let mut entry = Entry::file("etc/passwd", 7, 0o4755);
        (entry.uid, entry.gid) = (1000, 0o7_777_777);
        let blocks = encode(&entry, 1_700_000_000, Layout::Unix).expect("encodes");
        assert_eq!(blocks.len(), BLOCK);
        let header = ::tar::Header::from_byte_slice(&blocks);
        assert_eq!(header.path_bytes().as_ref(), b"etc/passwd");
        assert_eq!(header.mode().ok(), Some(0o4755));
        assert_eq!(header.uid().ok(), Some(1000));
        assert_eq!(header.gid().ok(), Some(0o7_777_777));
        assert_eq!(header.mtime().ok(), Some(1_700_000_000));
        assert_eq!(header.size().ok(), Some(7));
        assert_eq!(header.username_bytes(), Some(&b""[..]));
    }
}
