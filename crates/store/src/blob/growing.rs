//! A blob that is read while it is written: a layer is unpacked while it is still being downloaded.
//!
//! Readers follow the file, so a slow one neither delays the writer nor takes memory. They see the end
//! only after the blob was put in place: what reads to the end has read a blob whose digest is right.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use archway_oci::Digest;

use super::Unfinished;
use crate::error::{At, Result, StoreError};

/// Writes a blob whose bytes are hashed elsewhere, and lets others read what is there so far. Dropped
/// without [`GrowingBlob::commit`], it leaves nothing, and its readers fail.
#[derive(Debug)]
pub struct GrowingBlob {
    file: Unfinished,
    ending: Ending,
}

/// Reads a [`GrowingBlob`] from its beginning; blocks where nothing more is there yet.
#[derive(Debug)]
pub struct GrowingReader {
    file: File,
    at: u64,
    growth: Arc<Growth>,
}

/// How far a blob has grown, as its readers know it.
#[derive(Debug, Default)]
struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes in the file.
    written: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    Abandoned,
}

/// Tells the readers that nothing more comes, also when the writer is dropped.
#[derive(Debug)]
struct Ending(Arc<Growth>);

impl GrowingBlob {
    pub(super) fn new(file: Unfinished) -> Self {
        Self { file, ending: Ending(Arc::default()) }
    }

    /// A reader, from the first byte.
    pub fn reader(&self) -> Result<GrowingReader> {
        let file = File::open(&self.file.path).at(&self.file.path)?;
        Ok(GrowingReader { file, at: 0, growth: Arc::clone(&self.ending.0) })
    }

    /// Puts the blob in place, and lets its readers see the end. The caller vouches that `digest` is
    /// that of the bytes written.
    pub fn commit(self, digest: &Digest) -> Result<()> {
        if digest.algorithm() != "sha256" {
            return Err(StoreError::UnsupportedDigest(digest.clone()));
        }
        self.file.commit(digest)?;
        self.ending.0.end(End::Complete);
        Ok(())
    }
}

impl Write for GrowingBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.ending.0.state().written += count as u64;
        self.ending.0.changed.notify_all();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Growth {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// How many bytes there are, once these are more than `read` or all.
    fn beyond(&self, read: u64) -> io::Result<u64> {
        let waits = |state: &mut State| state.written <= read && state.end.is_none();
        let state = self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
        match state.end {
            Some(End::Abandoned) => Err(io::Error::other("the blob was never completed")),
            _ => Ok(state.written),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(End::Abandoned);
    }
}

impl Read for GrowingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.growth.beyond(self.at)? - self.at;
        let most = usize::try_from(available).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Store;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn a_reader_follows_the_writer_to_the_end() {
        let (_directory, store) = store();
        let content = b"piece ".repeat(10_000);
        let digest = Digest::sha256(&content);
        let mut blob = store.blobs().growing_writer().unwrap();
        let mut early = blob.reader().unwrap();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            early.read_to_end(&mut read).map(|_| read)
        });
        for piece in content.chunks(777) {
            blob.write_all(piece).unwrap();
        }
        let mut late = blob.reader().unwrap();
        blob.commit(&digest).unwrap();
        assert!(reading.join().unwrap().unwrap() == content);
        let mut read = Vec::new();
        late.read_to_end(&mut read).unwrap();
        assert!(read == content, "a reader outlives the writer");
        assert!(store.blobs().verify(&digest).unwrap());
    }

    #[test]
    fn what_is_there_is_read_before_the_rest_is_written() {
        let (_directory, store) = store();
        let mut blob = store.blobs().growing_writer().unwrap();
        let mut reader = blob.reader().unwrap();
        blob.write_all(b"first").unwrap();
        let mut buffer = [0; 64];
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        blob.write_all(b"and").unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 3);
    }

    #[test]
    fn no_reader_reaches_the_end_of_what_was_given_up() {
        let (_directory, store) = store();
        let mut blob = store.blobs().growing_writer().unwrap();
        let mut reader = blob.reader().unwrap();
        blob.write_all(b"half").unwrap();
        drop(blob);
        assert!(reader.read(&mut [0; 64]).is_err());
        assert!(store.blobs().list().unwrap().is_empty());
    }

    #[test]
    fn a_digest_of_another_kind_is_refused() {
        let (_directory, store) = store();
        let blob = store.blobs().growing_writer().unwrap();
        let mut reader = blob.reader().unwrap();
        let sha512: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        assert!(matches!(blob.commit(&sha512), Err(StoreError::UnsupportedDigest(_))));
        assert!(reader.read(&mut [0; 1]).is_err());
    }
}
