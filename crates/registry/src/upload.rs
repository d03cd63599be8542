//! Uploads: in chunks where a blob is large, resumed where a connection broke.

use std::sync::Arc;

use archway_oci::{Descriptor, Reference};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{HeaderMap, RANGE},
};

use crate::{
    Client, Error,
    auth::Scope,
    exchange::protocol,
    push::check_stored,
    request::{BlobFile, FilePart, Payload, Request},
    transport::location,
};

/// A file on its way to a repository.
pub(crate) struct FileUpload<'a> {
    pub(crate) client: &'a Client,
    pub(crate) reference: &'a Reference,
    pub(crate) file: BlobFile,
    /// Is told how many bytes went out so far.
    pub(crate) sent: Arc<dyn Fn(u64) + Send + Sync>,
}

/// An open upload: where the next bytes go, and which.
pub(crate) struct Session {
    pub(crate) url: Url,
    pub(crate) offset: u64,
}

/// Registries differ in how much of the upload protocol they know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In chunks, going on where a connection broke.
    Resumable,
    /// In one request, from the start.
    Whole,
}

impl FileUpload<'_> {
    /// Uploads the file from the session's offset on, or to another session if that one is lost.
    ///
    /// A request with a part of the file is never just repeated: after a broken connection only the
    /// registry knows what arrived.
    pub(crate) async fn run(&self, descriptor: &Descriptor, mut session: Session) -> Result<(), Error> {
        let transport = &self.client.transport;
        let mut form = Form::Resumable;
        let (mut reached, mut resumed) = (session.offset, session.offset > 0);
        let mut backoff = transport.backoff();
        loop {
            let Err(error) = self.send_rest(descriptor, &mut session, form).await else { return Ok(()) };
            if session.offset > reached {
                // It goes on, if slowly.
                reached = session.offset;
                backoff = transport.backoff();
            }
            match status(&error) {
                Some(StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE) => {
                    backoff.wait_after(error).await?;
                }
                Some(refusal)
                    if refusal.is_client_error()
                        && !error.is_temporary()
                        && form == Form::Resumable
                        && (resumed || descriptor.size > self.chunk()) =>
                {
                    form = Form::Whole;
                }
                _ => backoff.wait(error).await?,
            }
            // The last answer may have been lost, not the request.
            if !self.client.must_push(self.reference, &descriptor.digest).await? {
                return Ok(());
            }
            let known = match form {
                Form::Resumable => self.progress(&session, descriptor.size).await?,
                Form::Whole => None,
            };
            session = match known {
                Some(session) => session,
                None => self.open().await?,
            };
            resumed = session.offset > 0;
        }
    }

    /// A session that has nothing yet.
    pub(crate) async fn open(&self) -> Result<Session, Error> {
        Ok(Session { url: self.client.open_upload(self.reference).await?, offset: 0 })
    }

    /// Sends everything from the session's offset on, and ends the upload.
    async fn send_rest(
        &self,
        descriptor: &Descriptor,
        session: &mut Session,
        form: Form,
    ) -> Result<(), Error> {
        let size = descriptor.size;
        while form == Form::Resumable && size - session.offset > self.chunk() {
            *session = self.send_chunk(session, self.chunk()).await?;
        }
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", descriptor.digest.as_str());
        let mut request = self.request(Method::PUT, url, session.offset, size);
        if session.offset > 0 && session.offset < size {
            request = request.header("content-range", &format!("{}-{}", session.offset, size - 1));
        }
        let response = self.client.transport.send_once(&request).await?;
        check_stored(self.reference, &descriptor.digest, &response)
    }

    /// Sends one chunk; gives where the next one goes, and from which byte on the registry wants it.
    pub(crate) async fn send_chunk(&self, session: &Session, length: u64) -> Result<Session, Error> {
        let (start, end) = (session.offset, session.offset + length);
        let request = self
            .request(Method::PATCH, session.url.clone(), start, end)
            .header("content-range", &format!("{start}-{}", end - 1));
        let response = self.client.transport.send_once(&request).await?;
        let offset = received(response.headers()).unwrap_or(end);
        if offset <= start || offset > end {
            let problem = "it received another number of bytes than was sent";
            return Err(protocol(&self.reference.registry, problem));
        }
        Ok(session.next(&response, offset))
    }

    fn chunk(&self) -> u64 {
        self.client.transport.upload_chunk()
    }

    /// Asks the registry what it has of an upload of which `most` bytes may have been sent; `None` if it
    /// does not know.
    pub(crate) async fn progress(&self, session: &Session, most: u64) -> Result<Option<Session>, Error> {
        let scope = Scope::push(&self.reference.repository, &[]);
        let ask = Request::to_url(Method::GET, &self.reference.registry, session.url.clone(), scope);
        let response = match self.client.transport.send(&ask, &[]).await {
            Ok(response) => response,
            Err(error) if error.is_temporary() => return Err(error),
            Err(_) => return Ok(None),
        };
        let offset = received(response.headers()).filter(|offset| *offset <= most);
        Ok(offset.map(|offset| session.next(&response, offset)))
    }

    /// A request with the bytes from `start` to before `end`.
    fn request(&self, method: Method, url: Url, start: u64, end: u64) -> Request<'_> {
        let scope = Scope::push(&self.reference.repository, &[]);
        let part =
            FilePart { file: self.file.clone(), offset: start, length: end - start, sent: self.sent.clone() };
        Request::to_url(method, &self.reference.registry, url, scope)
            .header("content-type", "application/octet-stream")
            .body(Payload::File(part))
    }
}

impl Session {
    fn next(&self, response: &Response, offset: u64) -> Self {
        Self { url: location(response).unwrap_or_else(|| self.url.clone()), offset }
    }
}

/// Bytes that a registry says it has: `Range: 0-<last>`. Distribution's registry says `0-0` for none.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let last: u64 = text.trim().trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

fn status(error: &Error) -> Option<StatusCode> {
    match error {
        Error::NotFound { .. } => Some(StatusCode::NOT_FOUND),
        Error::Registry { status, .. } => StatusCode::from_u16(*status).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_how_much_has_arrived() {
        for (text, bytes) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-0", Some(0)),
            ("0-18446744073709551615", None),
            ("0-", None),
            ("x", None),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, text.parse().unwrap())]);
            assert_eq!(received(&headers), bytes, "{text}");
        }
    }
}
