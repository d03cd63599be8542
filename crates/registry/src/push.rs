//! Pushing: existence checks, mounts from other repositories, manifests.

use std::{path::Path, sync::Arc};

use archway_oci::{Descriptor, Digest, Reference};
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode, Url};

use crate::{
    Client, Error,
    auth::Scope,
    client::path,
    exchange::protocol,
    pull::{content_digest, described},
    request::{BlobFile, Payload, Request},
    transport::location,
    upload::{FileUpload, Session},
};

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
        if !self.must_push(reference, &descriptor.digest).await? {
            return Ok(Pushed::Existed);
        }
        let file = BlobFile::open(file.to_owned()).await?;
        check_size(reference, descriptor, &file)?;
        let session = match self.start(reference, &descriptor.digest, mount_from).await? {
            Started::Mounted => return Ok(Pushed::Mounted),
            Started::Upload(url) => Session { url, offset: 0 },
        };
        let upload = FileUpload { client: self, reference, file, sent: Arc::new(sent) };
        upload.run(descriptor, session).await?;
        Ok(Pushed::Uploaded)
    }

    /// Mounts a blob from the first of `mount_from` that has it; false if none does.
    pub async fn mount_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        mount_from: &[String],
    ) -> Result<bool, Error> {
        for from in mount_from.iter().filter(|from| **from != reference.repository) {
            match self.try_mount(reference, digest, from).await? {
                Some(Started::Mounted) => return Ok(true),
                Some(Started::Upload(url)) => self.abandon(reference, url).await,
                None => {}
            }
        }
        Ok(false)
    }

    /// Stores a manifest or index under the reference's digest if it has one, else under its tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Error> {
        let digest = Digest::sha256(&bytes);
        self.put_manifest(reference, media_type, bytes).await?;
        Ok(digest)
    }

    /// The same, with the answer, which does not say that something else was stored.
    pub(crate) async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Response, Error> {
        let digest = reference.digest.clone().unwrap_or_else(|| Digest::sha256(&bytes));
        let name = match (&reference.digest, &reference.tag) {
            (None, Some(tag)) => tag,
            _ => digest.as_str(),
        };
        let scope = Scope::push(&reference.repository, &[]);
        let path = path(reference, "manifests", name);
        let request = Request::new(Method::PUT, &reference.registry, path, scope)
            .header("content-type", media_type)
            .body(Payload::Bytes(bytes));
        let response = self.transport.send(&request, &[]).await?;
        check_stored(reference, &digest, &response)?;
        Ok(response)
    }

    /// Asks for a mount from each repository in turn. The registry opens an upload where the last one
    /// does not have the blob.
    async fn start(
        &self,
        reference: &Reference,
        digest: &Digest,
        mount_from: &[String],
    ) -> Result<Started, Error> {
        let mut opened = None;
        for from in mount_from.iter().filter(|from| **from != reference.repository) {
            let started = self.try_mount(reference, digest, from).await?;
            if let (Some(unused), Some(_)) = (&opened, &started) {
                self.abandon(reference, Url::clone(unused)).await;
            }
            match started {
                Some(Started::Mounted) => return Ok(Started::Mounted),
                Some(Started::Upload(url)) => opened = Some(url),
                None => {}
            }
        }
        match opened {
            Some(url) => Ok(Started::Upload(url)),
            None => Ok(Started::Upload(self.open_upload(reference).await?)),
        }
    }

    /// Asks for a mount from one repository; `None` if the registry refuses it altogether.
    async fn try_mount(
        &self,
        reference: &Reference,
        digest: &Digest,
        from: &String,
    ) -> Result<Option<Started>, Error> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("mount", digest.as_str())
            .append_pair("from", from)
            .finish();
        let path = format!("{}/blobs/uploads/?{query}", reference.repository);
        let scope = Scope::push(&reference.repository, std::slice::from_ref(from));
        let request = Request::new(Method::POST, &reference.registry, path, scope);
        match self.transport.send(&request, &[]).await {
            Ok(response) if response.status() == StatusCode::CREATED => {
                check_stored(reference, digest, &response)?;
                Ok(Some(Started::Mounted))
            }
            Ok(response) => upload_url(reference, &response).map(|url| Some(Started::Upload(url))),
            Err(error) if error.is_temporary() => Err(error),
            // No right to read the other repository, or a registry without mounts: the bytes are sent.
            Err(_) => Ok(None),
        }
    }

    pub(crate) async fn open_upload(&self, reference: &Reference) -> Result<Url, Error> {
        let scope = Scope::push(&reference.repository, &[]);
        let path = format!("{}/blobs/uploads/", reference.repository);
        let request = Request::new(Method::POST, &reference.registry, path, scope);
        let response = self.transport.send(&request, &[]).await?;
        upload_url(reference, &response)
    }

    /// Nothing will be sent: the registry need not keep the session. Whether it agrees does not matter.
    pub(crate) async fn abandon(&self, reference: &Reference, upload: Url) {
        let scope = Scope::push(&reference.repository, &[]);
        let cancel = Request::to_url(Method::DELETE, &reference.registry, upload, scope);
        let _ = self.transport.send_once(&cancel).await;
    }
}

enum Started {
    Mounted,
    Upload(Url),
}

/// Where the next piece of an upload goes.
fn upload_url(reference: &Reference, response: &Response) -> Result<Url, Error> {
    location(response)
        .ok_or_else(|| protocol(&reference.registry, "it opened an upload and did not say where"))
}

/// A registry that says by which digest it stored something must say the right one.
pub(crate) fn check_stored(reference: &Reference, sent: &Digest, answer: &Response) -> Result<(), Error> {
    match content_digest(answer.headers()) {
        Some(stored) if stored.algorithm() == sent.algorithm() && stored != *sent => {
            let what = described(reference, sent);
            Err(Error::DigestMismatch { what, expected: sent.clone(), actual: stored })
        }
        _ => Ok(()),
    }
}

/// A file of another size cannot have the digest; the registry would find out only at the end.
pub(crate) fn check_size(
    reference: &Reference,
    descriptor: &Descriptor,
    file: &BlobFile,
) -> Result<(), Error> {
    let what = described(reference, &descriptor.digest);
    let actual = file.size().map_err(|source| Error::Read { path: what.clone(), source })?;
    if actual == descriptor.size {
        return Ok(());
    }
    Err(Error::SizeMismatch { what, expected: descriptor.size, actual })
}
