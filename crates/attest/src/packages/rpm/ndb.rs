//! `Packages.db`, rpm's own database: a table of slots, each with the place of a header. Used by SUSE.
//!
//! `lib/backend/ndb/rpmpkg.c` of rpm is its description.

use super::super::{Malformed, bytes::Bytes};

const PAGE: usize = 4096;
const SLOT: usize = 16;
const BLOCK: usize = 16;

/// The headers, in the order of their slots.
pub(super) fn headers(database: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    read(database).ok_or(Malformed("rpm's Packages.db"))
}

fn read(database: &[u8]) -> Option<Vec<&[u8]>> {
    let bytes = Bytes::little_endian(database);
    if bytes.slice(0, 4)? != b"RpmP" || bytes.u32(4)? != 0 {
        return None;
    }
    // The header takes the place of two slots.
    let slots = bytes.slice(2 * SLOT, (bytes.u32(12)?.checked_mul(PAGE)?).checked_sub(2 * SLOT)?)?;
    let mut headers = Vec::new();
    for slot in slots.chunks_exact(SLOT) {
        let slot = Bytes::little_endian(slot);
        let (package, block) = (slot.u32(4)?, slot.u32(8)?);
        if slot.slice(0, 4)? != b"Slot" || package == 0 {
            continue;
        }
        let offset = block.checked_mul(BLOCK)?;
        if bytes.slice(offset, 4)? != b"BlbS" || bytes.u32(offset + 4)? != package {
            return None;
        }
        headers.push(bytes.slice(offset + 16, bytes.u32(offset + 12)?)?);
    }
    Some(headers)
}
