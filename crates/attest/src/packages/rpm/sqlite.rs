//! Just enough of SQLite's file format to read all rows of one table from bytes in memory.
//!
//! The database is a stranger's file inside an image: read here, in bounds and without a line of C.
//! <https://www.sqlite.org/fileformat2.html>

use super::super::{Malformed, bytes::Bytes};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// A B-tree of more levels is none that SQLite wrote.
const MAX_DEPTH: usize = 20;
const INNER_PAGE: u8 = 0x05;
const LEAF_PAGE: u8 = 0x0d;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// NULL, or a floating point number, which nobody asks for.
    Null,
    Integer(i64),
    /// Text or blob.
    Bytes(Vec<u8>),
}

impl Value {
    /// Text or blob.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The rows of table `name`, in the order of their row ids.
pub(super) fn table(database: &[u8], name: &str) -> Result<Vec<Vec<Value>>, Malformed> {
    read(database, name).ok_or(Malformed("the SQLite database"))
}

fn read(database: &[u8], name: &str) -> Option<Vec<Vec<Value>>> {
    let mut file = File::open(database)?;
    let schema = file.rows(1)?;
    // type, name, tbl_name, rootpage, sql
    let is_wanted = |row: &&Vec<Value>| {
        let is = |column: usize, text: &[u8]| row.get(column).and_then(Value::bytes) == Some(text);
        is(0, b"table") && is(1, name.as_bytes())
    };
    let Some(Value::Integer(root)) = schema.iter().find(is_wanted)?.get(3) else { return None };
    file.rows(usize::try_from(*root).ok()?)
}

struct File<'a> {
    bytes: Bytes<'a>,
    page_size: usize,
    /// What is left of a page without the bytes that extensions reserve.
    usable: usize,
    /// Pages that may still be read: each page belongs to one place, so a file that needs more has a cycle.
    budget: usize,
}

impl<'a> File<'a> {
    fn open(database: &'a [u8]) -> Option<Self> {
        let bytes = Bytes::big_endian(database);
        let page_size = match bytes.u16(16)? {
            1 => 65536,
            size => size,
        };
        let usable = page_size.checked_sub(usize::from(bytes.u8(20)?))?;
        let is_valid = bytes.slice(0, MAGIC.len())? == MAGIC && page_size.is_power_of_two() && usable >= 480;
        is_valid.then(|| Self { bytes, page_size, usable, budget: database.len() / page_size + 1 })
    }

    /// Page `number`, counted from 1.
    fn page(&mut self, number: usize) -> Option<Bytes<'a>> {
        self.budget = self.budget.checked_sub(1)?;
        let offset = number.checked_sub(1)?.checked_mul(self.page_size)?;
        self.bytes.slice(offset, self.page_size).map(Bytes::big_endian)
    }

    /// All rows of the table B-tree at `root`.
    fn rows(&mut self, root: usize) -> Option<Vec<Vec<Value>>> {
        self.budget = self.budget.max(1);
        let mut rows = Vec::new();
        self.walk(root, 0, &mut rows)?;
        Some(rows)
    }

    fn walk(&mut self, number: usize, depth: usize, rows: &mut Vec<Vec<Value>>) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let page = self.page(number)?;
        // The first page begins with the header of the file.
        let start = if number == 1 { 100 } else { 0 };
        let cells = page.u16(start + 3)?;
        let pointer = |header: usize, cell: usize| page.u16(start + header + 2 * cell);
        match page.u8(start)? {
            INNER_PAGE => {
                for cell in 0..cells {
                    self.walk(page.u32(pointer(12, cell)?)?, depth + 1, rows)?;
                }
                self.walk(page.u32(start + 8)?, depth + 1, rows)
            }
            LEAF_PAGE => {
                for cell in 0..cells {
                    let payload = self.payload(page, pointer(8, cell)?)?;
                    rows.push(record(&payload)?);
                }
                Some(())
            }
            _ => None,
        }
    }

    /// The payload of a leaf's cell, with what does not fit into the page.
    fn payload(&mut self, page: Bytes<'a>, offset: usize) -> Option<Vec<u8>> {
        let (size, length) = varint(page.from(offset)?)?;
        let (_row_id, id_length) = varint(page.from(offset + length)?)?;
        let size = usize::try_from(size).ok()?;
        let start = offset + length + id_length;
        let most = self.usable - 35;
        if size <= most {
            return page.slice(start, size).map(<[u8]>::to_vec);
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = least + (size - least) % (self.usable - 4);
        let local = if local <= most { local } else { least };
        let mut payload = page.slice(start, local)?.to_vec();
        let mut next = page.u32(start + local)?;
        while payload.len() < size {
            let overflow = self.page(next)?;
            let length = (size - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(overflow.slice(4, length)?);
            next = overflow.u32(0)?;
        }
        Some(payload)
    }
}

/// The values of a record.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let (header_size, mut at) = varint(payload)?;
    let header = payload.get(..usize::try_from(header_size).ok()?)?;
    let bytes = Bytes::big_endian(payload);
    let mut body = header.len();
    let mut values = Vec::new();
    while at < header.len() {
        let (kind, length) = varint(&header[at..])?;
        at += length;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let content = bytes.slice(body, size)?;
        body += size;
        values.push(match kind {
            0 | 7 => Value::Null,
            8 | 9 => Value::Integer((kind - 8) as i64),
            1..=6 => Value::Integer(integer(content)),
            _ => Value::Bytes(content.to_vec()),
        });
    }
    Some(values)
}

/// A big-endian number of up to eight bytes, in two's complement.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

/// A number of one to nine bytes, and how many.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number: u64 = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_and_integers() {
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80]), None);
        assert_eq!(integer(&[0xff, 0xfe]), -2);
        assert_eq!(integer(&[0x01, 0x00]), 256);
    }
}
