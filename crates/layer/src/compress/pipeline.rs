//! Tar bytes in, compressed members out, in order, with the digests of both.
//!
//! ```text
//! caller ── tar ──► Members ──┬─► workers: compress ─┐
//!                             │                      ▼ (in the order of the tar)
//!                             │                   writer: sha256 (digest) ──► sink
//!                             └─► hasher: sha256 (diffID)
//! ```
//! Memory is bounded by the queues: about `threads + 4` members, and as many compressed.

use std::{
    io::{self, Write},
    mem,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Scope, ScopedJoinHandle, scope},
};

use archway_oci::{Digest, Sha256Writer};

use super::{
    Compression,
    encode::Encoder,
    member::{self, Cutter},
};
use crate::archive::Sink;

/// More workers than this would hold memory (about 3 MB each) for little: at gzip level 4, four compress
/// as fast as SHA-256 and a disk allow.
const MOST_WORKERS: usize = 4;

/// What came out of a pipeline.
pub(crate) struct Finished {
    pub(crate) diff_id: Digest,
    pub(crate) uncompressed_size: u64,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A member on its way to a worker, and where its compressed form is awaited.
struct Job {
    content: Arc<Vec<u8>>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Cuts the tar it is given into members and hands them to the threads.
#[derive(Debug)]
pub struct Members {
    cutter: Cutter,
    current: Vec<u8>,
    to_hasher: SyncSender<Arc<Vec<u8>>>,
    to_workers: SyncSender<Job>,
    to_writer: SyncSender<Receiver<io::Result<Vec<u8>>>>,
}

/// Runs `produce` with a sink of tar bytes and writes the layer to `sink`.
///
/// An error of `sink` wins over what `produce` made of the broken pipe. The outer result is the
/// threads', the inner one is `produce`'s.
pub(crate) fn run<W, T, E>(
    compression: Compression,
    threads: NonZeroUsize,
    sink: W,
    produce: impl FnOnce(Members) -> Result<(T, Members), E>,
) -> io::Result<Result<(T, Finished), E>>
where
    W: Write + Send,
{
    let workers = threads.get().min(MOST_WORKERS);
    scope(|scope| {
        let (to_hasher, hashing) = sync_channel(1);
        let (to_workers, jobs) = sync_channel(1);
        let (to_writer, ordered) = sync_channel(workers);
        let hasher = scope.spawn(move || hash(hashing));
        start_workers(scope, workers, compression, jobs)?;
        let writer = scope.spawn(move || write(ordered, sink));

        let members =
            Members { cutter: Cutter::default(), current: Vec::new(), to_hasher, to_workers, to_writer };
        let produced = produce(members).map(|(value, members)| (value, members.finish()));
        let (digest, size) = join(writer)?;
        let (diff_id, uncompressed_size) = join(hasher);
        Ok(match produced {
            Ok((value, handed_over)) => {
                handed_over?;
                Ok((value, Finished { diff_id, uncompressed_size, digest, size }))
            }
            Err(error) => Err(error),
        })
    })
}

fn start_workers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    count: usize,
    compression: Compression,
    jobs: Receiver<Job>,
) -> io::Result<()> {
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..count {
        let jobs = Arc::clone(&jobs);
        let mut encoder = Encoder::new(compression)?;
        scope.spawn(move || {
            while let Some(job) = next(&jobs) {
                // Nobody waits for the result once the writer has failed.
                let _ = job.done.send(encoder.member(&job.content));
            }
        });
    }
    Ok(())
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn hash(members: Receiver<Arc<Vec<u8>>>) -> (Digest, u64) {
    let mut hasher = Sha256Writer::new(io::sink());
    for member in members {
        // Writing to `io::sink` cannot fail.
        let _ = hasher.write_all(&member);
    }
    let (digest, size, _) = hasher.finish();
    (digest, size)
}

fn write<W: Write>(ordered: Receiver<Receiver<io::Result<Vec<u8>>>>, sink: W) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256Writer::new(sink);
    for compressed in ordered {
        let compressed = compressed.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        hasher.write_all(&compressed)?;
    }
    let (digest, size, mut sink) = hasher.finish();
    sink.flush()?;
    Ok((digest, size))
}

/// A panic in one of our threads is a bug; it goes on in the caller's.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Members {
    fn hand_over(&mut self) -> io::Result<()> {
        let content = Arc::new(mem::take(&mut self.current));
        let (done, compressed) = sync_channel(1);
        self.to_writer.send(compressed).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.to_workers
            .send(Job { content: Arc::clone(&content), done })
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.to_hasher.send(content).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.current.is_empty() { Ok(()) } else { self.hand_over() }
    }
}

impl Sink for Members {
    fn begin_entry(&mut self, path: &[u8], length: u64) -> io::Result<()> {
        if self.cutter.begin_entry(path, length) { self.hand_over() } else { Ok(()) }
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.cutter.room(bytes.len()));
            if now.is_empty() {
                self.cutter.cut();
                self.hand_over()?;
            } else if self.current.is_empty() {
                self.current.reserve_exact(member::MOST);
            }
            self.current.extend_from_slice(now);
            self.cutter.advance(now.len());
            bytes = later;
        }
        Ok(())
    }
}
