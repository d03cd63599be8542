//! Decompressing and hashing on one thread while another writes files.

use std::{
    io::{self, Read, Write},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use archway_oci::{Digest, Sha256Writer};

/// Size of what is handed over at a time, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many chunks the decompressor may be ahead.
const AHEAD: usize = 4;

/// What the other thread has read so far.
pub(super) struct Chunks {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
}

/// Reads `reader` on another thread while `consume` runs on this one, and returns the digest and length
/// of all that was read: the whole stream, if `consume` read it to its end.
pub(super) fn pumped<R: Read + Send, T>(
    mut reader: R,
    consume: impl FnOnce(Chunks) -> T,
) -> (T, (Digest, u64)) {
    let (sender, chunks) = sync_channel(AHEAD);
    thread::scope(|scope| {
        let pump = scope.spawn(move || {
            let mut hasher = Sha256Writer::new(io::sink());
            loop {
                let chunk = next(&mut reader);
                // Writing to `io::sink` cannot fail.
                let _ = chunk.as_ref().map(|chunk| hasher.write_all(chunk));
                let last = chunk.as_ref().map_or(true, Vec::is_empty);
                // A consumer that gave up has its own error.
                if sender.send(chunk).is_err() || last {
                    break;
                }
            }
            let (digest, length, _) = hasher.finish();
            (digest, length)
        });
        let value = consume(Chunks { chunks, current: Vec::new(), at: 0 });
        let hashed = pump.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (value, hashed)
    })
}

/// The next chunk, full unless the stream ends; empty at its end.
fn next(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    reader.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            // The sender is gone: the end was seen before.
            let Ok(chunk) = self.chunks.recv() else { return Ok(0) };
            self.current = chunk?;
            self.at = 0;
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
