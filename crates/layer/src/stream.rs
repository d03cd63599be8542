//! Decompressing, hashing and making use of a layer, each on a thread of its own.
//!
//! ```text
//! reader ──► decompressor ──┬─► hasher: sha256 (diffID), if somebody wants to know it
//!                           └─► caller: reads entries, makes files of them
//! ```
//! Decompression takes longest, so it does nothing else. Memory is bounded by the queues.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read, Write},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use archway_oci::{Digest, Sha256Writer};

use crate::archive::{Limit, ReadError, TarReader};

/// Size of what is handed over at a time, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many chunks the decompressor may be ahead of each of its readers.
const AHEAD: usize = 4;

/// A piece of the stream.
struct Chunk {
    bytes: Box<[u8]>,
    filled: usize,
}

/// The stream, as the caller reads it.
pub(crate) struct Chunks {
    chunks: Receiver<io::Result<Arc<Chunk>>>,
    current: Option<Arc<Chunk>>,
    at: usize,
}

/// Reads `reader` on another thread while `consume` runs on this one.
pub(crate) fn pumped<R: Read + Send, T>(reader: R, consume: impl FnOnce(Chunks) -> T) -> T {
    let (to_caller, chunks) = sync_channel(AHEAD);
    thread::scope(|scope| {
        scope.spawn(move || pump(reader, &to_caller, None));
        consume(Chunks { chunks, current: None, at: 0 })
    })
}

/// As [`pumped`], and returns the digest and length of all that was read: the whole stream, if `consume`
/// read it to its end.
pub(crate) fn hashed<R: Read + Send, T>(reader: R, consume: impl FnOnce(Chunks) -> T) -> (T, (Digest, u64)) {
    let (to_caller, chunks) = sync_channel(AHEAD);
    let (to_hasher, hashed) = sync_channel::<Arc<Chunk>>(AHEAD);
    thread::scope(|scope| {
        scope.spawn(move || pump(reader, &to_caller, Some(&to_hasher)));
        let hasher = scope.spawn(move || {
            let mut hasher = Sha256Writer::new(io::sink());
            for chunk in hashed {
                // Writing to `io::sink` cannot fail.
                let _ = hasher.write_all(chunk.content());
            }
            let (digest, length, _) = hasher.finish();
            (digest, length)
        });
        let value = consume(Chunks { chunks, current: None, at: 0 });
        let hashed = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (value, hashed)
    })
}

/// Hands the stream out in chunks, until it ends or the caller wants no more: one that gave up has an
/// error of its own.
fn pump(
    mut reader: impl Read,
    to_caller: &SyncSender<io::Result<Arc<Chunk>>>,
    to_hasher: Option<&SyncSender<Arc<Chunk>>>,
) {
    let mut spare = Spare::default();
    loop {
        let mut chunk = spare.take();
        match chunk.fill(&mut reader) {
            Ok(()) if chunk.filled == 0 => return,
            Ok(()) => {
                let chunk = Arc::new(chunk);
                spare.lend(&chunk);
                let is_hashed = to_hasher.is_none_or(|hasher| hasher.send(Arc::clone(&chunk)).is_ok());
                if !is_hashed || to_caller.send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = to_caller.send(Err(error));
                return;
            }
        }
    }
}

/// Chunks that were handed out, oldest first. Their memory is used again once nobody reads them.
#[derive(Default)]
struct Spare(VecDeque<Arc<Chunk>>);

impl Spare {
    fn take(&mut self) -> Chunk {
        let read = self.0.front().is_some_and(|oldest| Arc::strong_count(oldest) == 1);
        let reused = if read { self.0.pop_front().and_then(Arc::into_inner) } else { None };
        reused.unwrap_or_else(|| Chunk { bytes: vec![0; CHUNK].into(), filled: 0 })
    }

    fn lend(&mut self, chunk: &Arc<Chunk>) {
        self.0.push_back(Arc::clone(chunk));
    }
}

impl Chunk {
    fn content(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Reads until the chunk is full or the stream ends.
    fn fill(&mut self, reader: &mut impl Read) -> io::Result<()> {
        self.filled = 0;
        while self.filled < self.bytes.len() {
            match reader.read(&mut self.bytes[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|current| self.at == current.filled) {
            (self.current, self.at) = (None, 0);
            // The sender is gone: the end was reached.
            self.current = self.chunks.recv().ok().transpose()?;
        }
        Ok(self.current.as_ref().map_or(&[], |current| &current.content()[self.at..]))
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = buffer.len().min(available.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Reads what follows the end of the archive.
pub(crate) fn drain<R: Read>(tar: TarReader<R>, total: Option<u64>) -> Result<(), ReadError> {
    let offset = tar.offset();
    let most = total.unwrap_or(u64::MAX);
    let mut rest = tar.into_inner();
    let stream = |source| ReadError::Stream { source };
    let read = io::copy(&mut (&mut rest).take(most), &mut io::sink()).map_err(stream)?;
    if read == most && rest.read(&mut [0]).map_err(stream)? > 0 {
        return Err(ReadError::Limit { offset: offset + read, limit: Limit::Total, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes in small pieces, then fails if it is told to.
    struct Pieces {
        left: usize,
        fails: bool,
    }

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 && self.fails {
                return Err(io::Error::other("torn"));
            }
            let count = buffer.len().min(self.left).min(1000);
            buffer[..count].fill(b'x');
            self.left -= count;
            Ok(count)
        }
    }

    #[test]
    fn all_of_a_long_stream_arrives_and_is_hashed() {
        let length = CHUNK * 3 * AHEAD + 17;
        let (read, (digest, hashed)) = hashed(Pieces { left: length, fails: false }, |mut chunks| {
            let mut bytes = Vec::new();
            chunks.read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!((read.len(), hashed), (length, length as u64));
        assert_eq!(digest, Digest::sha256(&read));
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it() {
        let read = pumped(Pieces { left: CHUNK, fails: true }, |mut chunks| {
            let mut bytes = Vec::new();
            let error = chunks.read_to_end(&mut bytes).unwrap_err();
            (bytes.len(), error.to_string())
        });
        assert_eq!(read, (CHUNK, "torn".to_owned()));
    }

    #[test]
    fn who_stops_reading_stops_the_threads() {
        let endless = || Pieces { left: usize::MAX, fails: false };
        let read = |mut chunks: Chunks| chunks.read(&mut [0; 10]).unwrap();
        assert_eq!(pumped(endless(), read), 10);
        assert_eq!(hashed(endless(), read).0, 10);
    }

    #[test]
    fn memory_is_used_again() {
        let mut spare = Spare::default();
        let chunk = Arc::new(spare.take());
        spare.lend(&chunk);
        let first = chunk.bytes.as_ptr();
        assert_ne!(spare.take().bytes.as_ptr(), first, "it is being read");
        drop(chunk);
        assert_eq!(spare.take().bytes.as_ptr(), first);
    }
}
