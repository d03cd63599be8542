//! Pushing: existence checks, mounts from other repositories, uploads in chunks, manifests.

use std::{path::Path, sync::Arc};

use archway_oci::{Descriptor, Digest, Reference};
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode, Url, header::RANGE};

use crate::{
    Client, Error,
    auth::Scope,
    client::path,
    transport::{Payload, Request, location, protocol},
};

/// Blobs up to this size go in one request after the upload was opened; larger ones in chunks of it,
/// so that a broken connection costs at most this much.
const CHUNK: u64 = 64 << 20;

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was mounted from another repository of the registry.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

impl Client {
    /// Makes sure that a repository has a blob. It is mounted from one of `mount_from` (repositories
    /// of the same registry) if one has it, else the file at `file` is uploaded. `sent` is told the
    /// number of bytes that went out; it may go back after a broken connection.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        file: &Path,
        mount_from: &[String],
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Pushed, Error> {
        if self.blob_exists(reference, &descriptor.digest).await? {
            return Ok(Pushed::Existed);
        }
        let upload = match self.start(reference, &descriptor.digest, mount_from).await? {
            Started::Mounted => return Ok(Pushed::Mounted),
            Started::Upload(url) => url,
        };
        let job = FileUpload { client: self, reference, descriptor, file, sent: Arc::new(sent) };
        job.run(upload).await?;
        Ok(Pushed::Uploaded)
    }

    /// Mounts a blob from the first of `mount_from` that has it; false if none does.
    pub async fn mount_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        mount_from: &[String],
    ) -> Result<bool, Error> {
        if mount_from.is_empty() {
            return Ok(false);
        }
        match self.start(reference, digest, mount_from).await? {
            Started::Mounted => Ok(true),
            Started::Upload(url) => {
                // Nothing will be sent: the registry need not keep the session.
                let scope = Scope::push(&reference.repository, &[]);
                let cancel = Request::to_url(Method::DELETE, &reference.registry, url, scope);
                let _ = self.transport.send(&cancel, &[StatusCode::NOT_FOUND]).await;
                Ok(false)
            }
        }
    }

    /// Begins an upload of unknown length and digest.
    pub async fn upload(&self, reference: &Reference) -> Result<Upload, Error> {
        let url = self.open_upload(reference).await?;
        Ok(Upload { client: self.clone(), reference: reference.clone(), url, written: 0 })
    }

    /// Stores a manifest or index under the reference's digest if it has one, else under its tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Error> {
        let digest = Digest::sha256(&bytes);
        let name = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => digest.to_string(),
        };
        let scope = Scope::push(&reference.repository, &[]);
        let path = path(reference, "manifests", &name);
        let request = Request::new(Method::PUT, &reference.registry, path, scope)
            .header("content-type", media_type)
            .body(Payload::Bytes(bytes));
        self.transport.send(&request, &[]).await?;
        Ok(digest)
    }

    /// Asks for a mount from each repository in turn, and for an upload if none has the blob.
    async fn start(
        &self,
        reference: &Reference,
        digest: &Digest,
        mount_from: &[String],
    ) -> Result<Started, Error> {
        for from in mount_from.iter().filter(|from| **from != reference.repository) {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("mount", digest.as_str())
                .append_pair("from", from)
                .finish();
            let path = format!("{}/blobs/uploads/?{query}", reference.repository);
            let scope = Scope::push(&reference.repository, std::slice::from_ref(from));
            let request = Request::new(Method::POST, &reference.registry, path, scope);
            match self.transport.send(&request, &[]).await {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(Started::Mounted),
                Ok(response) => return Ok(Started::Upload(upload_url(reference, &response)?)),
                // No right to read the other repository: then the bytes are sent.
                Err(Error::Unauthorized { .. } | Error::Denied { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Started::Upload(self.open_upload(reference).await?))
    }

    async fn open_upload(&self, reference: &Reference) -> Result<Url, Error> {
        let scope = Scope::push(&reference.repository, &[]);
        let path = format!("{}/blobs/uploads/", reference.repository);
        let request = Request::new(Method::POST, &reference.registry, path, scope);
        let response = self.transport.send(&request, &[]).await?;
        upload_url(reference, &response)
    }
}

enum Started {
    Mounted,
    Upload(Url),
}

/// Where the next piece of an upload goes.
fn upload_url(reference: &Reference, response: &Response) -> Result<Url, Error> {
    location(response, response.url())
        .ok_or_else(|| protocol(&reference.registry, "it opened an upload and did not say where"))
}

/// A file on its way to a repository.
struct FileUpload<'a> {
    client: &'a Client,
    reference: &'a Reference,
    descriptor: &'a Descriptor,
    file: &'a Path,
    sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl FileUpload<'_> {
    /// Starts anew a few times: not every registry can say where an upload broke.
    async fn run(&self, first: Url) -> Result<(), Error> {
        let mut delays = self.client.transport.delays();
        let mut url = Some(first);
        loop {
            let upload = match url.take() {
                Some(url) => url,
                None => self.client.open_upload(self.reference).await?,
            };
            match self.send_all(upload).await {
                Ok(()) => return Ok(()),
                // An upload session that the registry forgot is as temporary as a broken connection.
                Err(error) if error.is_temporary() || matches!(error, Error::NotFound { .. }) => {
                    let delay = delays.next().ok_or(error)?;
                    tokio::time::sleep(delay).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send_all(&self, mut url: Url) -> Result<(), Error> {
        let size = self.descriptor.size;
        let mut offset = 0;
        while size - offset > CHUNK {
            (url, offset) = self.send_chunk(url, offset).await?;
        }
        url.query_pairs_mut().append_pair("digest", self.descriptor.digest.as_str());
        let request = self.request(Method::PUT, url, offset, size - offset);
        let request = match offset {
            0 => request,
            _ => request.header("content-range", &format!("{offset}-{}", size - 1)),
        };
        self.client.transport.send(&request, &[]).await?;
        Ok(())
    }

    /// Sends a chunk; gives where the next one goes, and from which byte on the registry wants it.
    async fn send_chunk(&self, url: Url, offset: u64) -> Result<(Url, u64), Error> {
        let end = offset + CHUNK;
        let request = self
            .request(Method::PATCH, url.clone(), offset, CHUNK)
            .header("content-range", &format!("{offset}-{}", end - 1));
        let response = self.client.transport.send(&request, &[StatusCode::RANGE_NOT_SATISFIABLE]).await?;
        let next = location(&response, response.url()).unwrap_or(url);
        // After a repeated request the registry may be ahead of us, or behind.
        let received = received(&response).unwrap_or(end);
        if received > self.descriptor.size {
            return Err(protocol(&self.reference.registry, "it received more than was sent"));
        }
        Ok((next, received))
    }

    fn request(&self, method: Method, url: Url, offset: u64, length: u64) -> Request<'_> {
        let scope = Scope::push(&self.reference.repository, &[]);
        let body = Payload::File { path: self.file.to_owned(), offset, length, sent: self.sent.clone() };
        Request::to_url(method, &self.reference.registry, url, scope)
            .header("content-type", "application/octet-stream")
            .body(body)
    }
}

/// Bytes that a registry says it has: `Range: 0-<last>`.
fn received(response: &Response) -> Option<u64> {
    let text = response.headers().get(RANGE)?.to_str().ok()?;
    let last: u64 = text.trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
    Some(last + 1)
}

/// An upload of a blob that is still being made.
pub struct Upload {
    client: Client,
    reference: Reference,
    url: Url,
    written: u64,
}

impl Upload {
    /// Sends the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = self.written + bytes.len() as u64;
        let request = self
            .request(Method::PATCH, self.url.clone())
            .header("content-type", "application/octet-stream")
            .header("content-range", &format!("{}-{}", self.written, end - 1))
            .body(Payload::Bytes(bytes));
        let response = self.client.transport.send(&request, &[]).await?;
        self.url = location(&response, response.url()).unwrap_or_else(|| self.url.clone());
        self.written = end;
        Ok(())
    }

    /// Ends the upload; the registry checks the digest.
    pub async fn finish(mut self, digest: &Digest) -> Result<(), Error> {
        self.url.query_pairs_mut().append_pair("digest", digest.as_str());
        let request = self.request(Method::PUT, self.url.clone()).header("content-length", "0");
        self.client.transport.send(&request, &[]).await?;
        Ok(())
    }

    fn request(&self, method: Method, url: Url) -> Request<'_> {
        let scope = Scope::push(&self.reference.repository, &[]);
        Request::to_url(method, &self.reference.registry, url, scope)
    }
}
