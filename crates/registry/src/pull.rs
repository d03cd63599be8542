//! Pulling: manifests and small blobs.

use archway_oci::{Descriptor, Digest, Reference, json::MAX_DOCUMENT, media_type};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};

use crate::{Client, Error, auth::Scope, client::path, request::Request};

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

impl Client {
    /// The manifest or index that a reference points at: by digest if it has one, else by tag.
    pub async fn manifest(&self, reference: &Reference) -> Result<Fetched, Error> {
        let request = manifest_request(Method::GET, reference);
        let (headers, bytes) = self.transport.fetch(&request, &reference.familiar(), MAX_DOCUMENT).await?;
        // What was asked for, or else what the registry says that it sent.
        let expected = reference.digest.clone().or_else(|| content_digest(&headers));
        if let Some(expected) = &expected {
            verify(reference, expected, &bytes)?;
        }
        let digest = expected.unwrap_or_else(|| Digest::sha256(&bytes));
        let media_type = content_type(&headers).unwrap_or_else(|| stated_media_type(&bytes));
        Ok(Fetched { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes })
    }

    /// Describes what a reference points at without fetching it; `None` if there is nothing.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        let request = manifest_request(Method::HEAD, reference);
        let accepted = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        let response = self.transport.send(&request, &accepted).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let headers = response.headers();
        match (content_digest(headers), content_length(headers), content_type(headers)) {
            (Some(digest), Some(size), Some(media_type)) if response.status().is_success() => {
                Ok(Some(Descriptor::new(media_type, digest, size)))
            }
            // Not every registry answers HEAD in full.
            _ => match self.manifest(reference).await {
                Ok(fetched) => Ok(Some(fetched.descriptor)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// A small blob, such as a config, in memory; at most 4 MiB.
    pub async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let what = described(reference, &descriptor.digest);
        if descriptor.size > MAX_DOCUMENT {
            return Err(Error::SizeMismatch { what, expected: MAX_DOCUMENT, actual: descriptor.size });
        }
        let request = blob_request(Method::GET, reference, &descriptor.digest);
        let (_, bytes) = self.transport.fetch(&request, &what, descriptor.size).await?;
        verify(reference, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// Whether the repository has a blob.
    pub async fn blob_exists(&self, reference: &Reference, digest: &Digest) -> Result<bool, Error> {
        self.has_blob(blob_request(Method::HEAD, reference, digest)).await
    }

    /// The size of a blob, as far as the registry states it without sending the blob.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the repository does not have it.
    pub async fn blob_size(&self, reference: &Reference, digest: &Digest) -> Result<Option<u64>, Error> {
        let request = blob_request(Method::HEAD, reference, digest);
        let accepted = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        let response = self.transport.send(&request, &accepted).await?;
        match response.status() {
            StatusCode::NOT_FOUND => {
                Err(Error::NotFound { host: reference.registry.clone(), what: described(reference, digest) })
            }
            status if status.is_success() => Ok(content_length(response.headers())),
            _ => Ok(None),
        }
    }

    /// Whether the repository has a blob that may have to be pushed: the token that this needs is asked
    /// for at once.
    pub async fn must_push(&self, reference: &Reference, digest: &Digest) -> Result<bool, Error> {
        let scope = Scope::push(&reference.repository, &[]);
        let request = Request { scope, ..blob_request(Method::HEAD, reference, digest) };
        self.has_blob(request).await.map(|exists| !exists)
    }

    async fn has_blob(&self, request: Request<'_>) -> Result<bool, Error> {
        // A registry without HEAD cannot say so.
        let accepted = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        Ok(self.transport.send(&request, &accepted).await?.status().is_success())
    }
}

fn manifest_request(method: Method, reference: &Reference) -> Request<'_> {
    let name = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.as_str(),
        (None, Some(tag)) => tag,
        (None, None) => archway_oci::reference::DEFAULT_TAG,
    };
    let path = path(reference, "manifests", name);
    let request = Request::new(method, &reference.registry, path, Scope::pull(&reference.repository));
    media_type::MANIFESTS.iter().fold(request, |request, accepted| request.header("accept", accepted))
}

pub(crate) fn blob_request<'a>(method: Method, reference: &'a Reference, digest: &Digest) -> Request<'a> {
    let path = path(reference, "blobs", digest.as_str());
    Request::new(method, &reference.registry, path, Scope::pull(&reference.repository))
}

/// Names a blob or manifest in errors.
pub(crate) fn described(reference: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", reference.repository_name())
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    (media_type::is_index(media_type) || media_type::is_manifest(media_type)).then(|| media_type.to_owned())
}

/// What a registry says that it sent or stored.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// The header itself: the answer to HEAD has no body that could be measured.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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
    let what = described(reference, expected);
    Err(Error::DigestMismatch { what, expected: expected.clone(), actual: Digest::sha256(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_it_is() {
        for (text, media_type) in [
            (
                r#"{"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}"#,
                media_type::DOCKER_MANIFEST,
            ),
            (r#"{"manifests": []}"#, media_type::OCI_INDEX),
            (r#"{"layers": []}"#, media_type::OCI_MANIFEST),
            ("not JSON", media_type::OCI_MANIFEST),
        ] {
            assert_eq!(stated_media_type(text.as_bytes()), media_type, "{text}");
        }
    }
}
