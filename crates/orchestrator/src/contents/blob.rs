//! The bytes of a blob, wherever it is: streamed once, size and digest checked.

use std::{
    io::{self, Read},
    sync::Arc,
    thread,
};

use archway_layer::contents::ContentsError;
use archway_oci::{Descriptor, Digest, Reference, digest::Hasher};
use archway_report::{Event, TransferKind};
use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::{
    Context, Error,
    origin::{Found, Origin},
};

/// Pieces of a blob that wait to be read.
const AHEAD: usize = 16;
/// Size of the pieces of a file, in bytes.
const CHUNK: usize = 64 * 1024;
/// Bytes between two progress events of a download.
const PROGRESS_STEP: u64 = 1 << 20;

/// Why the bytes of a blob are not those of its descriptor, or not those of a layer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not where it should be.
    #[error("blob {digest} is missing")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// It is longer or shorter.
    #[error("blob {digest} has {actual} bytes, and not {expected}")]
    Size {
        /// Its digest.
        digest: Digest,
        /// In the descriptor.
        expected: u64,
        /// Found; one more than expected stands for any larger number.
        actual: u64,
    },
    /// It has other content.
    #[error("blob {expected} has other content: its digest is {actual}")]
    Digest {
        /// In the descriptor.
        expected: Digest,
        /// That of the bytes.
        actual: Digest,
    },
    /// The blob is what its descriptor says, and no layer.
    #[error("blob {digest} cannot be unpacked")]
    Unreadable {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: ContentsError,
    },
}

/// Checks that a blob is what its descriptor says.
pub async fn check_blob(
    context: &Context,
    found: &Arc<Found>,
    blob: &Descriptor,
) -> Result<Result<(), Fault>, Error> {
    // Whoever does not read it has it checked none the less.
    stream(context, Arc::clone(found), blob, |_: &mut (dyn Read + Send)| ()).await
}

/// Lets `consume` read a blob on a thread of its own, and checks size and digest of all of it, also if
/// `consume` stops early: what is wrong with the blob counts before what is wrong with its content.
pub(super) async fn stream<T: Send + 'static>(
    context: &Context,
    found: Arc<Found>,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut (dyn Read + Send)) -> T + Send + 'static,
) -> Result<Result<T, Fault>, Error> {
    match &found.origin {
        Origin::Registry(reference) => from_registry(context, reference, descriptor, consume).await,
        _ => {
            let descriptor = descriptor.clone();
            let file = found.open_blob(context, &descriptor.digest)?;
            let reading = tokio::task::spawn_blocking(move || match file {
                Some(file) => from_file(file, &descriptor, consume),
                None => Ok(Err(Fault::Missing { digest: descriptor.digest })),
            });
            reading.await.expect("reading a layer does not panic")
        }
    }
}

async fn from_registry<T: Send + 'static>(
    context: &Context,
    reference: &Reference,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut (dyn Read + Send)) -> T + Send + 'static,
) -> Result<Result<T, Fault>, Error> {
    let client = &context.engine.registry;
    // A blob that is too short would look like a connection that breaks again and again.
    let stated = match client.blob_size(reference, &descriptor.digest).await {
        Ok(size) => size,
        Err(error) => return fault(error, reference, descriptor).map(Err),
    };
    if let Some(actual) = stated.filter(|actual| *actual != descriptor.size) {
        let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
        return Ok(Err(Fault::Size { digest, expected, actual }));
    }
    let (to_reader, chunks) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || consume(&mut Chunks { chunks, current: Bytes::new() }));
    let download = async {
        let mut blob = client.blob_reader(reference, descriptor).await?;
        let (mut received, mut told, mut wants_more) = (0, 0, true);
        while let Some(chunk) = blob.chunk().await? {
            received += chunk.len() as u64;
            if received - told >= PROGRESS_STEP {
                told = received;
                context.events.send(progress(descriptor, received, false));
            }
            wants_more = wants_more && to_reader.send(Ok(chunk)).await.is_ok();
        }
        context.events.send(progress(descriptor, received, true));
        Ok(())
    };
    let downloaded = download.await;
    if downloaded.is_err() {
        let broken = io::Error::new(io::ErrorKind::BrokenPipe, "the download failed");
        let _ = to_reader.send(Err(broken)).await;
    }
    drop(to_reader);
    let consumed = reading.await.expect("reading a layer does not panic");
    match downloaded {
        Ok(()) => Ok(Ok(consumed)),
        Err(error) => fault(error, reference, descriptor).map(Err),
    }
}

fn progress(descriptor: &Descriptor, current: u64, done: bool) -> Event {
    let name = format!("sha256:{}", descriptor.digest.short());
    Event::Transfer { name, kind: TransferKind::Pull, current, total: Some(descriptor.size), done }
}

/// What a registry's answer says about a blob; an error if it says nothing about it.
pub(crate) fn fault(
    error: archway_registry::Error,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Fault, Error> {
    use archway_registry::Error as Registry;

    let digest = descriptor.digest.clone();
    match error {
        Registry::NotFound { .. } => Ok(Fault::Missing { digest }),
        Registry::SizeMismatch { expected, actual, .. } => Ok(Fault::Size { digest, expected, actual }),
        Registry::DigestMismatch { expected, actual, .. } => Ok(Fault::Digest { expected, actual }),
        other => Err(Error::registry("read", reference)(other)),
    }
}

/// A blob in pieces, as a thread reads it.
struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current[..count]);
        self.current.advance(count);
        Ok(count)
    }
}

/// The file is read and hashed on a thread of its own, ahead of `consume`, which mostly has more to do.
fn from_file<T>(
    file: impl Read + Send,
    descriptor: &Descriptor,
    consume: impl FnOnce(&mut (dyn Read + Send)) -> T,
) -> Result<Result<T, Fault>, Error> {
    let (digest, expected) = (&descriptor.digest, descriptor.size);
    // One byte more tells of too many.
    let file = file.take(expected.saturating_add(1));
    let (to_reader, chunks) = mpsc::channel(AHEAD);
    let (consumed, read) = thread::scope(|scope| {
        let reading = scope.spawn(move || hash_ahead(file, Hasher::for_digest(digest), &to_reader));
        let consumed = consume(&mut Chunks { chunks, current: Bytes::new() });
        (consumed, reading.join().expect("reading a file does not panic"))
    });
    let (actual, size) = read.map_err(|source| Error::BlobRead { digest: digest.clone(), source })?;
    if size != expected {
        return Ok(Err(Fault::Size { digest: digest.clone(), expected, actual: size }));
    }
    match actual == *digest {
        true => Ok(Ok(consumed)),
        false => Ok(Err(Fault::Digest { expected: digest.clone(), actual })),
    }
}

/// Reads a file to its end, also if nobody wants to have the rest, for its digest and size.
fn hash_ahead(
    mut file: impl Read,
    mut hasher: Hasher,
    to_reader: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<(Digest, u64)> {
    let (mut size, mut wants_more) = (0, true);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if let Err(error) = file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            // Who reads must not take this for the end. What it makes of it is of no interest.
            let _ = to_reader.blocking_send(Err(error.kind().into()));
            return Err(error);
        }
        if chunk.is_empty() {
            return Ok((hasher.finish(), size));
        }
        hasher.update(&chunk);
        size += chunk.len() as u64;
        wants_more = wants_more && to_reader.blocking_send(Ok(chunk.into())).is_ok();
    }
}
