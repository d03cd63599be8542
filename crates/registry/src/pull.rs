//! Pulling: manifests, the choice of a platform, blobs.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use archway_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference,
    digest::Hasher,
    json::{DocumentError, MAX_DOCUMENT},
    media_type,
    platform::best_match,
};
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use reqwest::{Method, Response, StatusCode, header::CONTENT_TYPE};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    Client, Error,
    auth::Scope,
    client::path,
    transport::{Request, innermost, protocol},
};

/// Indexes may be nested this deep.
const MAX_DEPTH: usize = 4;
/// Header in which a registry states the digest of a manifest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or index, its digest checked.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Describes the bytes.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

/// The image of one platform, found below a reference.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the reference points at: an index, or the manifest itself.
    pub top: Descriptor,
    /// Describes the manifest.
    pub manifest_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

impl Client {
    /// The manifest or index that a reference points at: by digest if it has one, else by tag.
    pub async fn manifest(&self, reference: &Reference) -> Result<Fetched, Error> {
        let name = reference_name(reference);
        let response =
            self.transport.send(&self.manifest_request(Method::GET, reference, &name), &[]).await?;
        let media_type = content_type(&response);
        let bytes = read_bounded(response, reference, MAX_DOCUMENT).await?;
        if let Some(expected) = &reference.digest {
            verify(reference, expected, &bytes)?;
        }
        let digest = reference.digest.clone().unwrap_or_else(|| Digest::sha256(&bytes));
        let media_type = media_type.unwrap_or_else(|| stated_media_type(&bytes));
        Ok(Fetched { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes })
    }

    /// Describes what a reference points at without fetching it; `None` if there is nothing.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        let name = reference_name(reference);
        let request = self.manifest_request(Method::HEAD, reference, &name);
        let response = self.transport.send(&request, &[StatusCode::NOT_FOUND]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let digest =
            response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
        match (digest, response.content_length(), content_type(&response)) {
            (Some(digest), Some(size), Some(media_type)) => {
                Ok(Some(Descriptor::new(media_type, digest, size)))
            }
            // Not every registry answers HEAD in full.
            _ => Ok(Some(self.manifest(reference).await?.descriptor)),
        }
    }

    /// The image for `platform` below a reference, following indexes.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, Error> {
        let top = self.manifest(reference).await?;
        let mut current = top.clone();
        let mut depth = 0;
        while media_type::is_index(&current.descriptor.media_type) {
            depth += 1;
            if depth > MAX_DEPTH {
                return Err(protocol(&reference.registry, "indexes are nested too deeply"));
            }
            let index = Index::parse(&current.bytes).map_err(document(reference))?;
            let child = choose(reference, platform, index)?;
            current = self.manifest(&reference.with_digest(child.digest)).await?;
        }
        let manifest = Manifest::parse(&current.bytes).map_err(document(reference))?;
        let config = self.blob(reference, &manifest.config).await?;
        let config = ImageConfig::parse(&config).map_err(document(reference))?;
        let offered = config.platform.clone().normalized();
        // An image without an index is for the platform of its config, whatever was asked for.
        if depth == 0 && !platform.satisfied_by(&offered) {
            return Err(no_such_platform(reference, platform, vec![offered]));
        }
        let manifest_descriptor = current.descriptor;
        Ok(Resolved { top: top.descriptor, manifest_descriptor, manifest, config })
    }

    /// A small blob, such as a config, in memory; at most 4 MiB.
    pub async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > MAX_DOCUMENT {
            let what = format!("{}@{}", reference.repository_name(), descriptor.digest);
            return Err(Error::SizeMismatch { what, expected: MAX_DOCUMENT, actual: descriptor.size });
        }
        let response =
            self.transport.send(&blob_request(Method::GET, reference, &descriptor.digest), &[]).await?;
        let bytes = read_bounded(response, reference, descriptor.size).await?;
        verify(reference, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// Whether the repository has a blob.
    pub async fn blob_exists(&self, reference: &Reference, digest: &Digest) -> Result<bool, Error> {
        let request = blob_request(Method::HEAD, reference, digest);
        let response = self.transport.send(&request, &[StatusCode::NOT_FOUND]).await?;
        Ok(response.status() != StatusCode::NOT_FOUND)
    }

    /// Reads a blob. A connection that breaks is resumed where it broke; the end of the stream is
    /// reached only if size and digest are right.
    pub async fn blob_reader(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, Error> {
        let download = Download {
            client: self.clone(),
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            hasher: Some(Hasher::for_digest(&descriptor.digest)),
            received: 0,
            body: None,
        };
        let mut download = download;
        download.open().await?;
        Ok(BlobReader { chunks: download.into_stream().boxed(), current: Bytes::new() })
    }

    fn manifest_request<'a>(&self, method: Method, reference: &'a Reference, name: &str) -> Request<'a> {
        let path = path(reference, "manifests", name);
        let request = Request::new(method, &reference.registry, path, Scope::pull(&reference.repository));
        media_type::MANIFESTS.iter().fold(request, |request, accepted| request.header("accept", accepted))
    }
}

fn reference_name(reference: &Reference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => archway_oci::reference::DEFAULT_TAG.to_owned(),
    }
}

fn blob_request<'a>(method: Method, reference: &'a Reference, digest: &Digest) -> Request<'a> {
    let path = path(reference, "blobs", digest.as_str());
    Request::new(method, &reference.registry, path, Scope::pull(&reference.repository))
}

fn choose(reference: &Reference, platform: &Platform, index: Index) -> Result<Descriptor, Error> {
    let children = index.manifests.into_iter();
    let mut children: Vec<(Platform, Descriptor)> = children
        .filter_map(|child| Some((child.platform.clone().filter(|offered| !offered.is_unknown())?, child)))
        .collect();
    match best_match(platform, children.iter().map(|(offered, _)| offered)) {
        Some(best) => Ok(children.swap_remove(best).1),
        None => {
            let offered = children.into_iter().map(|(offered, _)| offered.normalized()).collect();
            Err(no_such_platform(reference, platform, offered))
        }
    }
}

fn no_such_platform(reference: &Reference, platform: &Platform, offered: Vec<Platform>) -> Error {
    Error::NoSuchPlatform { reference: reference.familiar(), platform: platform.clone(), offered }
}

fn content_type(response: &Response) -> Option<String> {
    let text = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = text.split(';').next()?.trim();
    (media_type::is_index(media_type) || media_type::is_manifest(media_type)).then(|| media_type.to_owned())
}

/// What a document says of itself, where the registry does not say.
fn stated_media_type(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stated {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Stated>(bytes) {
        Ok(Stated { media_type: Some(media_type), .. }) => media_type,
        Ok(Stated { manifests: Some(_), .. }) => media_type::OCI_INDEX.to_owned(),
        _ => media_type::OCI_MANIFEST.to_owned(),
    }
}

fn verify(reference: &Reference, expected: &Digest, bytes: &[u8]) -> Result<(), Error> {
    if expected.verifies(bytes) {
        return Ok(());
    }
    let what = format!("{}@{expected}", reference.repository_name());
    Err(Error::DigestMismatch { what, expected: expected.clone(), actual: Digest::sha256(bytes) })
}

fn document(reference: &Reference) -> impl Fn(DocumentError) -> Error {
    let what = reference.familiar();
    move |source| Error::Document { what: what.clone(), source }
}

async fn read_bounded(mut response: Response, reference: &Reference, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| Error::Unreachable {
            host: reference.registry.clone(),
            cause: innermost(&error),
        })?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            let what = reference.familiar();
            return Err(Error::SizeMismatch { what, expected: limit, actual: bytes.len() as u64 });
        }
    }
}

/// A download that goes on after a broken connection.
struct Download {
    client: Client,
    reference: Reference,
    descriptor: Descriptor,
    hasher: Option<Hasher>,
    received: u64,
    body: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
}

impl Download {
    /// Asks for what is missing.
    async fn open(&mut self) -> Result<(), Error> {
        let mut request = blob_request(Method::GET, &self.reference, &self.descriptor.digest);
        if self.received > 0 {
            request = request.header("range", &format!("bytes={}-", self.received));
        }
        let response = self.client.transport.send(&request, &[]).await?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let mut body = response.bytes_stream().boxed();
        if self.received > 0 && !partial {
            // The registry starts anew: what we have is skipped.
            body = skip(body, self.received).boxed();
        }
        self.body = Some(body);
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut delays = self.client.transport.delays();
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            let error = match body.next().await {
                Some(Ok(chunk)) => return self.take(chunk).map(Some),
                None if self.received == self.descriptor.size => {
                    self.body = None;
                    return self.finish().map(|()| None);
                }
                None => "the connection ended early".to_owned(),
                Some(Err(error)) => innermost(&error),
            };
            let broken = || Error::Unreachable { host: self.reference.registry.clone(), cause: error };
            let delay = delays.next().ok_or_else(broken)?;
            tokio::time::sleep(delay).await;
            self.open().await?;
        }
    }

    fn take(&mut self, chunk: Bytes) -> Result<Bytes, Error> {
        self.received += chunk.len() as u64;
        if self.received > self.descriptor.size {
            let (expected, actual) = (self.descriptor.size, self.received);
            return Err(Error::SizeMismatch { what: self.what(), expected, actual });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        Ok(chunk)
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let (expected, actual) = (self.descriptor.digest.clone(), hasher.finish());
        if actual == expected {
            Ok(())
        } else {
            Err(Error::DigestMismatch { what: self.what(), expected, actual })
        }
    }

    fn what(&self) -> String {
        format!("{}@{}", self.reference.repository_name(), self.descriptor.digest)
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> {
        stream::try_unfold(self, |mut download| async move {
            Ok(download.next().await?.map(|chunk| (chunk, download)))
        })
    }
}

fn skip(
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    count: u64,
) -> impl Stream<Item = reqwest::Result<Bytes>> {
    let mut left = count;
    body.try_filter_map(move |mut chunk| {
        let skipped = left.min(chunk.len() as u64);
        left -= skipped;
        chunk.advance(skipped as usize);
        std::future::ready(Ok((!chunk.is_empty()).then_some(chunk)))
    })
}

/// The bytes of a blob.
pub struct BlobReader {
    chunks: BoxStream<'static, Result<Bytes, Error>>,
    current: Bytes,
}

impl BlobReader {
    /// The next piece; `None` at the end, which is reached only if the digest is right.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.chunks.try_next().await
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match std::task::ready!(self.chunks.poll_next_unpin(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}
