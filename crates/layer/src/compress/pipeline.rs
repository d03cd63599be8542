//! Tar bytes in, compressed members out, in order, with the digests of both.
//!
//! ```text
//! caller ── tar ──► Members ──┬─► workers: compress ─┐
//!                             │                      ▼ (in the order of the tar)
//!                             │                   caller: sha256 (digest) ──► sink
//!                             └─► hasher: sha256 (diffID)
//! ```
//! The caller writes what is ready while it reads on. Memory is bounded by the places that the workers
//! have for members. A layer of a single member, as most are, is made without any thread.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use archway_oci::{Digest, Sha256Writer};

use super::{
    Compression, KnownMembers, Member, Workers,
    encode::Encoder,
    member::{self, Cutter},
    workers::Pending,
};
use crate::archive::Sink;

/// Members that wait to be hashed.
const HASHER_QUEUE: usize = 2;

/// How members are made.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    pub(crate) compression: Compression,
    pub(crate) workers: Workers,
    /// Where to look for members first; they are described only if this is there.
    pub(crate) known: Option<Arc<dyn KnownMembers>>,
}

/// What came out of a pipeline.
pub(crate) struct Finished {
    pub(crate) diff_id: Digest,
    pub(crate) uncompressed_size: u64,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The members, if they are to be known again and there are several.
    pub(crate) members: Vec<Member>,
}

/// What is known of the tar.
struct Uncompressed {
    diff_id: Digest,
    size: u64,
    members: Vec<Member>,
}

/// Cuts the tar it is given into members, has them compressed, and writes them.
pub struct Members<'a> {
    making: Making,
    cutter: Cutter,
    current: Vec<u8>,
    /// Since the second member.
    hasher: Option<Hasher>,
    /// Members on their way, in order.
    pending: VecDeque<Pending>,
    described: Vec<Member>,
    blob: &'a mut dyn Write,
}

/// Runs `produce` with a sink of tar bytes and writes the layer to `sink`.
///
/// The outer result is that of `sink`: its error wins over what `produce` makes of it. The inner one
/// is `produce`'s.
pub(crate) fn run<W, T, E>(
    making: Making,
    sink: W,
    produce: impl for<'a> FnOnce(Members<'a>) -> Result<(T, Members<'a>), E>,
) -> io::Result<Result<(T, Finished), E>>
where
    W: Write,
{
    let mut blob = Blob { writer: Sha256Writer::new(sink), failure: None };
    let produced = produce(Members::new(making, &mut blob)).map(|(value, tar)| (value, tar.finish()));
    if let Some(failure) = blob.failure.take() {
        return Err(failure);
    }
    Ok(match produced {
        Ok((value, uncompressed)) => {
            let Uncompressed { diff_id, size: uncompressed_size, members } = uncompressed?;
            let (digest, size, mut sink) = blob.writer.finish();
            sink.flush()?;
            Ok((value, Finished { diff_id, uncompressed_size, digest, size, members }))
        }
        Err(error) => Err(error),
    })
}

/// The compressed layer. Keeps the sink's own error, which callers on the way to it would wrap.
struct Blob<W> {
    writer: Sha256Writer<W>,
    failure: Option<io::Error>,
}

impl<W: Write> Write for Blob<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<'a> Members<'a> {
    fn new(making: Making, blob: &'a mut dyn Write) -> Self {
        Self {
            making,
            cutter: Cutter::default(),
            current: Vec::new(),
            hasher: None,
            pending: VecDeque::new(),
            described: Vec::new(),
            blob,
        }
    }

    /// Sends the current member on its way.
    fn hand_over(&mut self) -> io::Result<()> {
        let place = loop {
            match self.making.workers.try_place() {
                Some(place) => break place,
                // Only the members of others are on their way.
                None if self.pending.is_empty() => break self.making.workers.place(),
                None => self.write_oldest()?,
            }
        };
        let content = Arc::new(mem::take(&mut self.current));
        let Making { compression, workers, known } = &self.making;
        let pending = workers.compress(place, Arc::clone(&content), *compression, known.clone())?;
        self.pending.push_back(pending);
        let hasher = match &mut self.hasher {
            Some(hasher) => hasher,
            none => none.insert(Hasher::start()?),
        };
        hasher.add(content)
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.pending.pop_front() else { return Ok(()) };
        let compressed = oldest.wait()?;
        self.described.extend(compressed.member);
        self.blob.write_all(&compressed.bytes)
    }

    fn finish(mut self) -> io::Result<Uncompressed> {
        if self.hasher.is_none() {
            return self.finish_single();
        }
        if !self.current.is_empty() {
            self.hand_over()?;
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        let hasher = self.hasher.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (diff_id, size) = hasher.finish();
        Ok(Uncompressed { diff_id, size, members: self.described })
    }

    /// The whole tar is one member.
    fn finish_single(self) -> io::Result<Uncompressed> {
        let compressed = Encoder::new(self.making.compression)?.member(&self.current)?;
        self.blob.write_all(&compressed)?;
        let (diff_id, size) = (Digest::sha256(&self.current), self.current.len() as u64);
        Ok(Uncompressed { diff_id, size, members: Vec::new() })
    }
}

impl Sink for Members<'_> {
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

/// A thread that makes the diffID: SHA-256 goes on from member to member.
struct Hasher {
    members: SyncSender<Arc<Vec<u8>>>,
    thread: JoinHandle<(Digest, u64)>,
}

impl Hasher {
    fn start() -> io::Result<Self> {
        let (members, queue) = sync_channel(HASHER_QUEUE);
        let thread = thread::Builder::new().name("diff-id".to_owned()).spawn(move || hash(queue))?;
        Ok(Self { members, thread })
    }

    fn add(&self, member: Arc<Vec<u8>>) -> io::Result<()> {
        self.members.send(member).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// A panic in the thread is a bug; it goes on in the caller's.
    fn finish(self) -> (Digest, u64) {
        drop(self.members);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
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
