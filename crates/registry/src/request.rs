//! What is sent to a registry, in a form that can be sent again.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::try_unfold};
use reqwest::{
    Body, Method, Url,
    header::{HeaderMap, HeaderValue},
};

use crate::{Error, auth::Scope};

/// Size of a read from a file that is uploaded.
const FILE_CHUNK: u64 = 256 << 10;

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

/// A file that is uploaded: opened once, and read at any offset, whatever its name is by then.
#[derive(Clone)]
pub(crate) struct BlobFile(Arc<File>);

/// Part of a file.
pub(crate) struct FilePart {
    pub(crate) file: BlobFile,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Is told how many bytes went out so far, from the start of the file.
    pub(crate) sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl BlobFile {
    pub(crate) async fn open(path: PathBuf) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.display().to_string(), source };
        let opening = path.clone();
        let opened = blocking(move || File::open(opening)).await;
        Ok(Self(Arc::new(opened.map_err(failed)?)))
    }

    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    async fn read(&self, offset: u64, length: u64) -> io::Result<Bytes> {
        let file = Arc::clone(&self.0);
        blocking(move || {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes.into())
        })
        .await
    }

    fn stream(self, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        try_unfold(start, move |at| {
            let file = self.clone();
            async move {
                let length = (end - at).min(FILE_CHUNK);
                if length == 0 {
                    return Ok(None);
                }
                Ok(Some((file.read(at, length).await?, at + length)))
            }
        })
    }
}

impl From<Arc<File>> for BlobFile {
    fn from(file: Arc<File>) -> Self {
        Self(file)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
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
    pub(crate) fn attach(
        &self,
        request: reqwest::RequestBuilder,
        moved: impl Fn() + Send + 'static,
    ) -> reqwest::RequestBuilder {
        match self {
            Self::Empty => request,
            Self::Bytes(bytes) => request.body(bytes.clone()),
            Self::File(part) => {
                let (mut position, sent) = (part.offset, part.sent.clone());
                let bytes = part.file.clone().stream(part.offset, part.offset + part.length);
                let counted = bytes.inspect(move |chunk| {
                    if let Ok(chunk) = chunk {
                        position += chunk.len() as u64;
                        sent(position);
                        moved();
                    }
                });
                request.header("content-length", part.length).body(Body::wrap_stream(counted))
            }
        }
    }
}
