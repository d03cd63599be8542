//! `Packages` as a hash table of Berkeley DB, as rpm has it up to RHEL 8: the key is a number, the value a header.
//!
//! `dbinc/db_page.h` of Berkeley DB describes the pages. Nothing is looked up, so neither the hash function nor the order
//! of buckets matters: all hash pages are read, one after the other.

use std::borrow::Cow;

use super::super::{Malformed, bytes::Bytes};

const HASH_MAGIC: usize = 0x0006_1561;
/// What each page begins with: its number, its neighbours, how many entries, how much of it is used, its type.
const PAGE_HEADER: usize = 26;

const HASH_META: u8 = 8;
const OVERFLOW: u8 = 7;
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;

/// An item that is in the page.
const ON_PAGE: u8 = 1;
/// An item that has overflow pages.
const OFF_PAGE: u8 = 3;

/// The headers, in the order of their pages. What is not a header is among them, too: the number of the last one.
pub(super) fn headers(database: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, Malformed> {
    read(database).ok_or(Malformed("rpm's Berkeley DB"))
}

fn read(database: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut file = File::open(database)?;
    let mut headers = Vec::new();
    for number in 1..=file.last {
        let page = file.page(number)?;
        if !matches!(page.u8(25)?, HASH | HASH_UNSORTED) {
            continue;
        }
        // Key, value, key, value.
        for entry in (1..page.u16(20)?).step_by(2) {
            headers.extend(file.item(page, entry)?);
        }
    }
    Some(headers)
}

struct File<'a> {
    database: &'a [u8],
    is_big_endian: bool,
    page_size: usize,
    /// Number of the last page.
    last: usize,
    /// Overflow pages that may still be read: each belongs to one item, so a file that needs more has a cycle.
    budget: usize,
}

impl<'a> File<'a> {
    fn open(database: &'a [u8]) -> Option<Self> {
        let orders = [Bytes::little_endian(database), Bytes::big_endian(database)];
        let at = orders.iter().position(|bytes| bytes.u32(12) == Some(HASH_MAGIC))?;
        let (bytes, is_big_endian) = (orders[at], at == 1);
        let (page_size, last) = (bytes.u32(20)?, bytes.u32(32)?);
        // An encrypted one, and one with checksums, has other page headers.
        let is_plain = bytes.u8(24)? == 0 && bytes.u8(26)? & 1 == 0;
        let is_valid = is_plain
            && bytes.u8(25)? == HASH_META
            && (512..=65536).contains(&page_size)
            && page_size.is_power_of_two()
            && last < database.len() / page_size;
        is_valid.then_some(Self { database, is_big_endian, page_size, last, budget: last })
    }

    fn page(&self, number: usize) -> Option<Bytes<'a>> {
        let start = number.checked_mul(self.page_size)?;
        let page = self.database.get(start..start.checked_add(self.page_size)?)?;
        Some(if self.is_big_endian { Bytes::big_endian(page) } else { Bytes::little_endian(page) })
    }

    /// The item at place `entry` of a hash page; `None` within: one of a kind that rpm has no use for.
    fn item(&mut self, page: Bytes<'a>, entry: usize) -> Option<Option<Cow<'a, [u8]>>> {
        let offset_of = |entry: usize| page.u16(PAGE_HEADER + 2 * entry);
        let offset = offset_of(entry)?;
        match page.u8(offset)? {
            // Items are written from the end of the page.
            ON_PAGE => {
                let end = offset_of(entry.checked_sub(1)?)?;
                Some(Some(page.slice(offset + 1, end.checked_sub(offset + 1)?)?.into()))
            }
            OFF_PAGE => {
                let (first, length) = (page.u32(offset + 4)?, page.u32(offset + 8)?);
                self.overflow(first, length).map(|bytes| Some(bytes.into()))
            }
            _ => Some(None),
        }
    }

    fn overflow(&mut self, first: usize, length: usize) -> Option<Vec<u8>> {
        let (mut bytes, mut next) = (Vec::new(), first);
        while bytes.len() < length {
            self.budget = self.budget.checked_sub(1)?;
            let page = self.page(next)?;
            if page.u8(25)? != OVERFLOW {
                return None;
            }
            bytes.extend_from_slice(page.slice(PAGE_HEADER, page.u16(22)?)?);
            next = page.u32(16)?;
        }
        (bytes.len() == length).then_some(bytes)
    }
}
