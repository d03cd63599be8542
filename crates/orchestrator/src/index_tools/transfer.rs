//! Blobs on their way, from wherever an image is.
//!
//! What a registry has and this machine does not is downloaded to a file that goes away afterwards: a copy
//! leaves nothing in the store. The upload follows that file, so that a blob is on both lines at the same time,
//! and each of them goes on by itself after a broken connection.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    sync::Arc,
};

use archway_oci::{Descriptor, Reference, digest::Hasher};
use archway_registry::{Growing, Pushed};
use archway_report::{Event, TransferKind};
use archway_store::PrehashedWriter;

use crate::{
    Context, Error,
    origin::{Found, Origin},
};

/// Bytes between two progress events of a download.
const PROGRESS_STEP: u64 = 1 << 20;

/// Makes sure that a repository has a blob: mounted where registry and repository allow it, else sent.
pub(super) async fn push(
    context: &Context,
    repository: &Reference,
    blob: &Descriptor,
    from: &Found,
) -> Result<Pushed, Error> {
    let client = &context.engine.registry;
    let failed = || Error::registry("push", repository.repository_name());
    if let Origin::Registry(home) = &from.origin
        && home.registry == repository.registry
    {
        if home.repository == repository.repository {
            return Ok(Pushed::Existed);
        }
        let from = std::slice::from_ref(&home.repository);
        // A registry that has the blob already says so, too.
        if client.mount_blob(repository, &blob.digest, from).await.map_err(failed())? {
            return Ok(Pushed::Mounted);
        }
    }
    if !client.must_push(repository, &blob.digest).await.map_err(failed())? {
        return Ok(Pushed::Existed);
    }
    let tell = progress(context, blob, TransferKind::Push);
    if let Some(file) = from.local_file(context, blob)? {
        return client.push_blob(repository, blob, &file, &[], tell).await.map_err(failed());
    }
    let spool = spool(context)?;
    let (growing, upload) = Growing::start(spool.reader()?, 0);
    let (filled, pushed) = tokio::join!(
        fill(context, from, blob, spool, growing),
        client.push_growing(repository, upload, tell)
    );
    filled?;
    let pushed = pushed.map_err(failed())?;
    pushed.ok_or_else(|| Error::BlobMissing { digest: blob.digest.clone() })
}

/// Brings a blob to where an upload follows it; without the whole of it, the upload is given up.
async fn fill(
    context: &Context,
    from: &Found,
    blob: &Descriptor,
    spool: PrehashedWriter,
    growing: Growing,
) -> Result<(), Error> {
    let growing = Arc::new(growing);
    let told = growing.clone();
    fetch(context, from, blob, spool, move |bytes| told.written(bytes)).await?;
    if let Some(growing) = Arc::into_inner(growing) {
        growing.complete(blob.clone());
    }
    Ok(())
}

/// A blob in a file of this machine, from its first byte. A file made for it goes with this.
pub(super) struct LocalBlob {
    file: File,
    _spool: Option<PrehashedWriter>,
}

impl LocalBlob {
    /// Brings it here, if it is not.
    pub(super) async fn fetch(context: &Context, from: &Found, blob: &Descriptor) -> Result<Self, Error> {
        if let Some(path) = from.local_file(context, blob)? {
            let file = File::open(&path).map_err(Error::read(&path))?;
            return Ok(Self { file, _spool: None });
        }
        let spool = fetch(context, from, blob, spool(context)?, |_| {}).await?;
        Ok(Self { file: spool.reader()?, _spool: Some(spool) })
    }
}

impl Read for LocalBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// A file for bytes that nobody needs later.
fn spool(context: &Context) -> Result<PrehashedWriter, Error> {
    Ok(context.store().blobs().prehashed_writer()?)
}

/// Writes a blob to `spool`; `written` is told how much is there. Size and digest are right, or it fails.
async fn fetch(
    context: &Context,
    from: &Found,
    blob: &Descriptor,
    mut spool: PrehashedWriter,
    written: impl Fn(u64) + Send,
) -> Result<PrehashedWriter, Error> {
    let tell = progress(context, blob, TransferKind::Pull);
    let root = context.store().root().to_owned();
    match &from.origin {
        Origin::Registry(reference) => {
            let failed = || Error::registry("read", reference);
            let mut reader = context.engine.registry.blob_reader(reference, blob).await.map_err(failed())?;
            let (mut received, mut told) = (0, 0);
            while let Some(chunk) = reader.chunk().await.map_err(failed())? {
                spool.write_all(&chunk).map_err(Error::write(&root))?;
                received += chunk.len() as u64;
                written(received);
                if received - told >= PROGRESS_STEP && received < blob.size {
                    told = received;
                    tell(received);
                }
            }
            tell(blob.size);
            Ok(spool)
        }
        Origin::Archive(archive) => {
            let (member, blob) = (archive.blob(&blob.digest)?, blob.clone());
            tokio::task::spawn_blocking(move || {
                let mut checked = Checked::new(member, &blob);
                io::copy(&mut checked, &mut spool).map_err(Error::write(&root))?;
                checked.finish().map(|()| spool)
            })
            .await
            .expect("reading an archive does not panic")
        }
        Origin::Store | Origin::Layout(_) => Err(Error::BlobMissing { digest: blob.digest.clone() }),
    }
}

/// Tells of the bytes of one blob.
fn progress(
    context: &Context,
    blob: &Descriptor,
    kind: TransferKind,
) -> impl Fn(u64) + Send + Sync + 'static {
    let name = format!("sha256:{}", blob.digest.short());
    let (events, total) = (context.events.clone(), blob.size);
    move |current| {
        let (name, done) = (name.clone(), current >= total);
        events.send(Event::Transfer { name, kind, current, total: Some(total), done });
    }
}

/// Reads a blob, and knows at its end whether it was the right one. Never reads more than it should have.
pub(super) struct Checked<'a, R> {
    inner: io::Take<R>,
    hasher: Hasher,
    read: u64,
    blob: &'a Descriptor,
}

impl<'a, R: Read> Checked<'a, R> {
    pub(super) fn new(inner: R, blob: &'a Descriptor) -> Self {
        Self { inner: inner.take(blob.size), hasher: Hasher::for_digest(&blob.digest), read: 0, blob }
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        let mut inner = self.inner.into_inner();
        // One more byte than it should have makes it another blob.
        let mut buffer = [0; 1];
        if let Ok(count) = inner.read(&mut buffer) {
            self.hasher.update(&buffer[..count]);
            self.read += count as u64;
        }
        let actual = self.hasher.finish();
        match actual == self.blob.digest && self.read == self.blob.size {
            true => Ok(()),
            false => Err(Error::Damaged { expected: self.blob.digest.clone(), actual }),
        }
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_pass() {
        let blob = Descriptor::of("text/plain", b"hello");
        for (bytes, right) in
            [(&b"hello"[..], true), (b"hallo", false), (b"hell", false), (b"hello!", false), (b"", false)]
        {
            let mut checked = Checked::new(bytes, &blob);
            io::copy(&mut checked, &mut io::sink()).unwrap();
            let checked = checked.finish();
            assert_eq!(checked.is_ok(), right, "{bytes:?}");
            assert!(right || matches!(checked, Err(Error::Damaged { .. })));
        }
    }
}
