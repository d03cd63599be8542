//! The bytes of one file, as far as somebody wants them.

use std::{
    io::{self, BufRead},
    sync::Arc,
};

use super::{Budget, ContentsError, HEAD, Keep, Meta, Selector};
use crate::archive::{Entry, ReadError, TarReader};

/// Bytes that are kept for the next file; what a larger one took is given back.
const MOST_BUFFER: usize = 32 << 20;

/// What each selector keeps of the file `entry`, whose data is what `data` reads next. It is read into
/// `buffer`, which is best that of the file before: new memory for each costs more than to copy the files.
pub(super) fn contents<R: BufRead>(
    entry: &Entry,
    size: u64,
    data: &mut TarReader<R>,
    selectors: &[&dyn Selector],
    budget: &Budget,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Option<Arc<[u8]>>>, ContentsError> {
    buffer.clear();
    buffer.shrink_to(MOST_BUFFER);
    let mut beginning = Beginning { data, size, bytes: buffer, segment: 0 };
    beginning.extend_to(HEAD as u64)?;
    let keeps: Vec<Keep> =
        selectors.iter().map(|selector| selector.keep(&meta(entry, size, beginning.bytes))).collect();
    beginning.extend_to(keeps.iter().map(|keep| wanted(*keep, size)).max().unwrap_or(0))?;
    let file = meta(entry, size, beginning.bytes);
    let mut kept = Vec::with_capacity(selectors.len());
    for (selector, keep) in selectors.iter().zip(keeps) {
        let bytes = match keep {
            Keep::Nothing => None,
            Keep::Whole { limit } if size > limit => None,
            keep => selector.distil(&file, &beginning.bytes[..wanted(keep, size) as usize]),
        };
        budget.take(bytes.as_deref().map_or(0, <[u8]>::len))?;
        kept.push(bytes);
    }
    Ok(kept)
}

fn meta<'a>(entry: &'a Entry, size: u64, bytes: &'a [u8]) -> Meta<'a> {
    let head = &bytes[..bytes.len().min(HEAD)];
    Meta { path: &entry.path, size, mode: entry.mode, uid: entry.uid, gid: entry.gid, head }
}

/// How many bytes of a file of `size` are to be read.
pub(super) fn wanted(keep: Keep, size: u64) -> u64 {
    match keep {
        Keep::Nothing => 0,
        Keep::Head(count) => size.min(count as u64),
        Keep::Whole { limit } if size > limit => 0,
        Keep::Whole { .. } => size,
    }
}

/// A file, read from its beginning as far as it was asked for. Holes are zeros.
struct Beginning<'a, R> {
    data: &'a mut TarReader<R>,
    size: u64,
    bytes: &'a mut Vec<u8>,
    /// The segment of a sparse file that is read.
    segment: usize,
}

impl<R: BufRead> Beginning<'_, R> {
    fn extend_to(&mut self, wanted: u64) -> Result<(), ReadError> {
        let wanted = wanted.min(self.size);
        loop {
            let at = self.bytes.len() as u64;
            if at >= wanted {
                return Ok(());
            }
            match self.data.segments().get(self.segment).copied() {
                None => self.bytes.resize(wanted as usize, 0),
                Some(next) if at < next.offset => self.bytes.resize(next.offset.min(wanted) as usize, 0),
                Some(done) if at >= done.offset + done.length => self.segment += 1,
                Some(current) => self.read(wanted.min(current.offset + current.length) - at)?,
            }
        }
    }

    /// Appends at least one and at most `most` bytes of data.
    fn read(&mut self, most: u64) -> Result<(), ReadError> {
        let offset = self.data.offset();
        let available = match self.data.fill_buf() {
            Ok([]) => return Err(ReadError::Truncated { offset }),
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::Truncated { offset });
            }
            Err(source) => return Err(ReadError::Stream { source }),
        };
        let count = available.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.bytes.extend_from_slice(&available[..count]);
        self.data.consume(count);
        Ok(())
    }
}
