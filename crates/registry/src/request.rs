//! What is sent to a registry, in a form that can be sent again.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use reqwest::{
    Body, Method, Url,
    header::{HeaderMap, HeaderValue},
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::{Error, auth::Scope};

/// Size of a read from a file that is uploaded.
const FILE_CHUNK: usize = 256 << 10;

/// A request, able to be sent again.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) registry: &'a str,
    pub(crate) target: Target,
    pub(crate) scope: Scope,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
}

/// Where a request goes.
pub(crate) enum Target {
    /// Path below `/v2/`.
    Path(String),
    /// A URL the registry gave.
    Url(Url),
}

/// The body of a request.
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    File(FilePart),
}

/// Part of a file.
pub(crate) struct FilePart {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Is told how many bytes went out so far, from the start of the file.
    pub(crate) sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, registry: &'a str, path: String, scope: Scope) -> Self {
        let (headers, body) = (HeaderMap::new(), Payload::Empty);
        Self { method, registry, target: Target::Path(path), scope, headers, body }
    }

    pub(crate) fn to_url(method: Method, registry: &'a str, url: Url, scope: Scope) -> Self {
        let (headers, body) = (HeaderMap::new(), Payload::Empty);
        Self { method, registry, target: Target::Url(url), scope, headers, body }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    pub(crate) fn body(mut self, body: Payload) -> Self {
        self.body = body;
        self
    }
}

impl Payload {
    /// Puts the body into a request. `moved` is called whenever a part of it goes out.
    pub(crate) async fn attach(
        &self,
        request: reqwest::RequestBuilder,
        moved: impl Fn() + Send + 'static,
    ) -> Result<reqwest::RequestBuilder, Error> {
        Ok(match self {
            Self::Empty => request,
            Self::Bytes(bytes) => request.body(bytes.clone()),
            Self::File(part) => {
                let failed = |source| Error::Read { path: part.path.display().to_string(), source };
                let mut file = tokio::fs::File::open(&part.path).await.map_err(failed)?;
                file.seek(std::io::SeekFrom::Start(part.offset)).await.map_err(failed)?;
                let (mut position, sent) = (part.offset, part.sent.clone());
                let reader = ReaderStream::with_capacity(file.take(part.length), FILE_CHUNK);
                let counted = futures_util::StreamExt::inspect(reader, move |chunk| {
                    if let Ok(chunk) = chunk {
                        position += chunk.len() as u64;
                        sent(position);
                        moved();
                    }
                });
                request.header("content-length", part.length).body(Body::wrap_stream(counted))
            }
        })
    }
}
