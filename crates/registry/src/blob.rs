//! Reading blobs: a connection that breaks is resumed where it broke.

use archway_oci::{Descriptor, Reference, digest::Hasher};
use bytes::{Buf as _, Bytes};
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, HeaderMap},
};

use crate::{
    Client, Error,
    exchange::protocol,
    pull::{blob_request, described},
};

/// The bytes of a blob, on their way. After an error it is of no further use.
pub struct BlobReader {
    client: Client,
    reference: Reference,
    descriptor: Descriptor,
    hasher: Hasher,
    received: u64,
    body: Option<Body>,
}

/// An answer, and how many of its first bytes we have already.
struct Body {
    response: Response,
    skip: u64,
}

impl Client {
    /// Reads a blob of any size.
    pub async fn blob_reader(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, Error> {
        let mut reader = BlobReader {
            client: self.clone(),
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            hasher: Hasher::for_digest(&descriptor.digest),
            received: 0,
            body: None,
        };
        let mut backoff = self.transport.backoff();
        while let Err(error) = reader.open().await {
            backoff.wait(error).await?;
        }
        Ok(reader)
    }
}

impl BlobReader {
    /// The next piece; `None` at the end, which is reached only if size and digest are right.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let mut backoff = self.client.transport.backoff();
        loop {
            match self.receive().await {
                Ok(Some(chunk)) => return self.take(chunk).map(Some),
                Ok(None) => return self.finish().map(|()| None),
                Err(error) => {
                    self.body = None;
                    backoff.wait(error).await?;
                }
            }
        }
    }

    /// Bytes that were not received before, from the connection that is open or from a new one.
    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        if self.body.is_none() {
            self.open().await?;
        }
        let host = &self.reference.registry;
        while let Some(body) = &mut self.body {
            let next = self.client.transport.exchange().chunk(&mut body.response, host).await;
            let mut chunk = match next {
                Ok(Some(chunk)) => chunk,
                // All is here: how the connection ends does not matter.
                _ if self.received == self.descriptor.size => return Ok(None),
                Ok(None) => break,
                Err(error) => return Err(error),
            };
            let known = body.skip.min(chunk.len() as u64);
            body.skip -= known;
            chunk.advance(known as usize);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Err(Error::Unreachable { host: host.clone(), cause: "the connection ended early".to_owned() })
    }

    /// Asks for what is missing.
    async fn open(&mut self) -> Result<(), Error> {
        let mut request = blob_request(Method::GET, &self.reference, &self.descriptor.digest);
        if self.received > 0 {
            request = request.header("range", &format!("bytes={}-", self.received));
        }
        let response = match self.client.transport.send_once(&request).await {
            // There is nothing behind the last byte: the blob ends before it should.
            Err(Error::Registry { status: 416, .. }) if self.received > 0 => {
                let (expected, actual) = (self.descriptor.size, self.received);
                return Err(Error::SizeMismatch { what: self.what(), expected, actual });
            }
            answer => answer?,
        };
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => first_byte(response.headers()).unwrap_or(self.received),
            // The registry starts anew.
            _ => 0,
        };
        let skip = self.received.checked_sub(start).ok_or_else(|| {
            protocol(&self.reference.registry, "it sent another range of a blob than was asked for")
        })?;
        self.body = Some(Body { response, skip });
        Ok(())
    }

    fn take(&mut self, chunk: Bytes) -> Result<Bytes, Error> {
        self.received += chunk.len() as u64;
        if self.received > self.descriptor.size {
            let (expected, actual) = (self.descriptor.size, self.received);
            return Err(Error::SizeMismatch { what: self.what(), expected, actual });
        }
        self.hasher.update(&chunk);
        Ok(chunk)
    }

    fn finish(&self) -> Result<(), Error> {
        let (expected, actual) = (self.descriptor.digest.clone(), self.hasher.clone().finish());
        if actual == expected {
            return Ok(());
        }
        Err(Error::DigestMismatch { what: self.what(), expected, actual })
    }

    fn what(&self) -> String {
        described(&self.reference, &self.descriptor.digest)
    }
}

/// Where a partial answer starts: `Content-Range: bytes <first>-<last>/<size>`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim().split_once('-')?.0.parse().ok()
}
