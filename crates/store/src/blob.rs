//! Blobs: files named after their SHA-256 digest.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use archway_oci::{Digest, Sha256Writer};

use crate::{
    Store,
    error::{At, Result, StoreError},
    garbage::Trash,
    root,
    session::Session,
};
pub use growing::{GrowingBlob, GrowingReader};

mod growing;

/// The blobs of a store.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'a> {
    store: &'a Store,
}

impl<'a> Blobs<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Whether the blob is there.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        Ok(self.size(digest)?.is_some())
    }

    /// Size of the blob in bytes, if it is there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.protected(digest)?;
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Where the blob is, if it is there.
    pub fn path(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        Ok(if self.contains(digest)? { Some(self.location(digest)) } else { None })
    }

    /// Opens the blob for reading, if it is there.
    pub fn open(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.protected(digest)?;
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Reads a whole blob of at most `limit` bytes, if it is there. Meant for manifests and configs.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(digest)? else { return Ok(None) };
        let path = self.location(digest);
        let mut bytes = Vec::new();
        io::copy(&mut io::Read::take(&file, limit.saturating_add(1)), &mut bytes).at(&path)?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::io(&path, io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Some(bytes))
    }

    /// Adds `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        if self.size(&digest)? != Some(bytes.len() as u64) {
            let mut writer = self.prehashed_writer()?;
            writer.write_all(bytes).map_err(|error| unwrap_io(&writer.file.path, error))?;
            writer.commit(&digest)?;
        }
        Ok(digest)
    }

    /// A writer for a blob that is hashed as it is written.
    pub fn writer(&self) -> Result<BlobWriter> {
        Ok(BlobWriter { inner: Sha256Writer::new(Unfinished::create(self.store)?) })
    }

    /// A writer for a blob whose bytes the caller hashes itself.
    pub fn prehashed_writer(&self) -> Result<PrehashedWriter> {
        Ok(PrehashedWriter { file: Unfinished::create(self.store)? })
    }

    /// A writer for a blob that is read while it is written, and whose bytes the caller hashes itself.
    pub fn growing_writer(&self) -> Result<GrowingBlob> {
        Ok(GrowingBlob::new(Unfinished::create(self.store)?))
    }

    /// Removes the blob, whoever uses it; meant for one that turned out to be damaged.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.location(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(&path, error)),
            _ => Ok(()),
        }
    }

    /// Reads the whole blob; false if its bytes do not have this digest, or if it is not there.
    pub fn verify(&self, digest: &Digest) -> Result<bool> {
        let Some(mut file) = self.open(digest)? else { return Ok(false) };
        let mut hasher = Sha256Writer::new(io::sink());
        io::copy(&mut file, &mut hasher).at(&self.location(digest))?;
        Ok(hasher.finish().0 == *digest)
    }

    /// All blobs, in no order.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let names = root::names(&self.store.inner.root.blobs())?;
        Ok(names.iter().filter_map(|name| format!("sha256:{}", name.to_str()?).parse().ok()).collect())
    }

    /// Where the blob is, or would be. It may be removed as long as nobody holds it.
    pub(crate) fn location(&self, digest: &Digest) -> PathBuf {
        // Only SHA-256 blobs can be made; looking for another finds nothing.
        self.store.inner.root.path().join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    fn protected(&self, digest: &Digest) -> Result<PathBuf> {
        self.store.protect(&object(digest))?;
        Ok(self.location(digest))
    }
}

/// Takes away the tables about blobs that are not needed: `tables/<kind>/<hex>`.
pub(crate) fn sweep_tables(tables: &Path, is_needed: impl Fn(&str) -> bool, trash: &mut Trash) -> Result<()> {
    for kind in root::names(tables)? {
        let directory = tables.join(kind);
        for name in root::names(&directory)? {
            let digest: Option<Digest> = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            if !digest.is_some_and(|digest| is_needed(&object(&digest))) {
                trash.take(&directory.join(name))?;
            }
        }
    }
    Ok(())
}

/// How leases name a blob.
pub(crate) fn object(digest: &Digest) -> String {
    format!("blob {digest}")
}

/// Writes a blob and hashes it. Dropped without [`BlobWriter::commit`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    inner: Sha256Writer<Unfinished>,
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.inner.written()
    }

    /// Puts the blob in place. Fails with [`StoreError::DigestMismatch`] if it is not the `expected`
    /// one.
    pub fn commit(self, expected: Option<&Digest>) -> Result<Digest> {
        let (digest, _, file) = self.inner.finish();
        match expected {
            Some(expected) if expected.algorithm() != digest.algorithm() => {
                Err(StoreError::UnsupportedDigest(expected.clone()))
            }
            Some(expected) if *expected != digest => {
                Err(StoreError::DigestMismatch { expected: expected.clone(), actual: digest })
            }
            _ => {
                file.commit(&digest)?;
                Ok(digest)
            }
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a blob whose bytes are hashed elsewhere. Dropped without [`PrehashedWriter::commit`], it
/// leaves nothing.
#[derive(Debug)]
pub struct PrehashedWriter {
    file: Unfinished,
}

impl PrehashedWriter {
    /// What is written, for reading. It goes on when more is written, and stays when the blob is in place.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.file.path).at(&self.file.path)
    }

    /// Puts the blob in place. The caller vouches that `digest` is that of the bytes written.
    pub fn commit(self, digest: &Digest) -> Result<()> {
        if digest.algorithm() != "sha256" {
            return Err(StoreError::UnsupportedDigest(digest.clone()));
        }
        self.file.commit(digest)
    }
}

impl Write for PrehashedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file in the session's directory, removed when dropped.
#[derive(Debug)]
struct Unfinished {
    store: Store,
    /// Keeps the directory.
    _session: Arc<Session>,
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(store: &Store) -> Result<Self> {
        let session = store.session()?;
        let path = session.fresh_path();
        let file = File::create_new(&path).at(&path)?;
        Ok(Self { store: store.clone(), _session: session, path, file })
    }

    /// Replaces a blob of that name: it has the same bytes, or is damaged.
    fn commit(self, digest: &Digest) -> Result<()> {
        let blobs = self.store.blobs();
        let target = blobs.protected(digest)?;
        fs::rename(&self.path, &target).at(&target)?;
        self.store.committed();
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a commit there is nothing; what stays otherwise goes with the session.
        let _ = fs::remove_file(&self.path);
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The kind stays for callers that see only an `io::Error`; the path comes with it.
        self.file
            .write(bytes)
            .map_err(|error| io::Error::new(error.kind(), StoreError::io(&self.path, error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The store error inside an error of one of our writers.
fn unwrap_io(path: &Path, error: io::Error) -> StoreError {
    error.downcast::<StoreError>().unwrap_or_else(|error| StoreError::io(path, error))
}
