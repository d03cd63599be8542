//! Tar archives: what an entry is, how we write one, and how we read one that nobody vouches for.

mod entry;
mod field;
mod header;
mod pax;
mod read;
mod sparse;
mod write;

pub use entry::{Entry, EntryKind, Timestamp};
pub use read::{Fault, Limit, Limits, ReadError, TarReader};
pub use sparse::Segment;
pub use write::{Sink, TarWriter, WriteError};

/// Tar's unit: headers are one block, data is padded to whole blocks.
pub const BLOCK: usize = 512;

/// Largest PAX extended header, and largest GNU long name, that is written or read: 1 MiB, as in Go's
/// `archive/tar`, which every registry client reads layers with.
pub const MAX_EXTENSION: u64 = 1 << 20;

/// Bytes of zeros that follow `size` bytes of data.
fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}
