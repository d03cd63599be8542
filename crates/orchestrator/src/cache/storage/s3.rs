//! A cache in a bucket of an S3-compatible object store.
//!
//! ```text
//! PREFIX/manifests/NAME             the index; replaced only by whoever saw what it was (If-Match)
//! PREFIX/blobs/sha256/HEX           everything else
//! ```
//!
//! The client is our own: four requests on single objects need no more than `reqwest` and a signature.
//! `object_store` would bring thirty crates, a second version of some, and HTTP/2 for every other client
//! of this program.

mod client;
mod sign;

use std::io::Write as _;

use archway_engine::Layer;
use archway_oci::{
    Descriptor, Digest, Index,
    json::{DocumentError, MAX_DOCUMENT},
    media_type,
};
use archway_report::{Event, TransferKind};
use reqwest::{Response, header::ETAG};

pub use self::client::BucketError;
use self::client::{BucketClient, Condition, Content};
use super::{Replaced, StorageError, Top};
use crate::{Context, Error, cache::Bucket};

/// Bytes between two progress events.
const PROGRESS_STEP: u64 = 1 << 20;

pub(crate) struct S3Storage {
    context: Context,
    client: BucketClient,
    /// What the names of blobs begin with.
    blobs: String,
    /// The name of the index.
    index: String,
}

impl S3Storage {
    pub(super) fn new(context: &Context, bucket: &Bucket) -> Result<Self, StorageError> {
        Ok(Self {
            context: context.clone(),
            client: BucketClient::new(bucket)?,
            blobs: format!("{}{}", bucket.prefix, bucket.blobs_prefix),
            index: format!("{}{}{}", bucket.prefix, bucket.manifests_prefix, bucket.name),
        })
    }

    pub(super) async fn top(&self) -> Result<Option<Top>, StorageError> {
        let found = match self.client.get(&self.index).await {
            Err(BucketError::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let version = found.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let bytes = self.read(found, MAX_DOCUMENT).await?;
        // The object has a name, and no media type that could be trusted.
        let is_index = Index::parse(&bytes).is_ok();
        let kind = if is_index { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
        Ok(Some(Top { descriptor: Descriptor::of(kind, &bytes), bytes, version }))
    }

    pub(super) async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StorageError> {
        let found = self.client.get(&self.blob(&descriptor.digest)).await?;
        let bytes = self.read(found, descriptor.size.min(MAX_DOCUMENT)).await?;
        match descriptor.digest.verifies(&bytes) {
            true => Ok(bytes),
            false => Err(StorageError::Damaged { digest: descriptor.digest.clone() }),
        }
    }

    pub(super) async fn contains(&self, blob: &Descriptor) -> Result<bool, StorageError> {
        Ok(self.client.size(&self.blob(&blob.digest)).await? == Some(blob.size))
    }

    pub(super) async fn fetch(&self, blob: &Descriptor) -> Result<(), StorageError> {
        let store = self.context.store();
        if store.blobs().contains(&blob.digest)? {
            return Ok(());
        }
        let key = self.blob(&blob.digest);
        let mut response = self.client.get(&key).await?;
        let mut writer = store.blobs().writer()?;
        let mut told = 0;
        while let Some(chunk) = self.chunk(&mut response).await? {
            let path = || store.root().display().to_string();
            writer.write_all(chunk.as_ref()).map_err(|source| StorageError::File {
                action: "write",
                path: path(),
                source,
            })?;
            if writer.written() > blob.size {
                return Err(StorageError::Damaged { digest: blob.digest.clone() });
            }
            if writer.written() - told >= PROGRESS_STEP {
                told = writer.written();
                self.tell(blob, TransferKind::Pull, told, false);
            }
        }
        writer.commit(Some(&blob.digest))?;
        self.tell(blob, TransferKind::Pull, blob.size, true);
        Ok(())
    }

    pub(super) async fn put_layer(&self, layer: Layer) -> Result<(), StorageError> {
        let blob = &layer.descriptor;
        if self.contains(blob).await? {
            return Ok(());
        }
        let failed = |error: Error| StorageError::Layer(Box::new(error));
        let fetched = self.context.engine.fetch_blob(&self.context.events, &layer).await;
        fetched.map_err(|error| failed(error.into()))?;
        let path = self.context.store().blobs().path(&blob.digest)?;
        let path = path.ok_or_else(|| failed(Error::BlobMissing { digest: blob.digest.clone() }))?;
        let content = Content::File { path: &path, size: blob.size, sha256: blob.digest.hex() };
        self.client.put(&self.blob(&blob.digest), &content).await?;
        self.tell(blob, TransferKind::Push, blob.size, true);
        Ok(())
    }

    pub(super) async fn put_document(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        Ok(self.client.put(&self.blob(&descriptor.digest), &Content::Bytes(bytes)).await?)
    }

    pub(super) async fn replace(&self, old: Option<&Top>, index: &[u8]) -> Result<Replaced, StorageError> {
        let condition = match old {
            None => Condition::Missing,
            // Without a tag nothing can be compared, and what was read is as good as unknown.
            Some(old) => Condition::Is(old.version.as_deref().unwrap_or("\"\"")),
        };
        match self.client.put_if(&self.index, &condition, index).await? {
            true => Ok(Replaced::Surely),
            false => Ok(Replaced::No),
        }
    }

    fn blob(&self, digest: &Digest) -> String {
        format!("{}{}/{}", self.blobs, digest.algorithm(), digest.hex())
    }

    /// All of an object of at most `limit` bytes.
    async fn read(&self, mut response: Response, limit: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            bytes.extend_from_slice(chunk.as_ref());
            let size = bytes.len() as u64;
            if size > limit {
                return Err(DocumentError::TooLarge { document: "build cache", size }.into());
            }
        }
        Ok(bytes)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<impl AsRef<[u8]> + use<>>, StorageError> {
        let host = response.url().host_str().unwrap_or_default().to_owned();
        let chunk = response.chunk().await;
        Ok(chunk.map_err(|source| BucketError::Unreachable { host, source: source.without_url() })?)
    }

    fn tell(&self, blob: &Descriptor, kind: TransferKind, current: u64, done: bool) {
        let name = format!("sha256:{}", blob.digest.short());
        self.context.events.send(Event::Transfer { name, kind, current, total: Some(blob.size), done });
    }
}
