//! Objects of one bucket: get, look, put, and put if nobody else did.

use std::{env, path::Path, time::Duration};

use jiff::Timestamp;
use reqwest::{Body, Client, Method, Response, StatusCode, Url};

use super::sign::{Signed, Signer, sha256};
use crate::cache::Bucket;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time without a single byte after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(120);
/// How often a request is repeated after a temporary error.
const RETRIES: u32 = 4;
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The largest object that is put in one request.
pub(super) const MAX_OBJECT: u64 = 5 << 30;
/// Most of an error's text that is read.
const MAX_ERROR: usize = 64 << 10;

/// The object store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// No credentials.
    #[error("there are no credentials: neither access_key_id= nor $AWS_ACCESS_KEY_ID")]
    NoCredentials,
    /// The address is none.
    #[error("`{0}` is not the address of an object store")]
    Endpoint(String),
    /// No connection, or it broke.
    #[error("cannot reach {host}")]
    Unreachable {
        /// Host of the service.
        host: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The object does not exist.
    #[error("there is no object {key}")]
    NotFound {
        /// Its name.
        key: String,
    },
    /// Another answer that is no success.
    #[error("{key}: the object store answers {status}: {message}")]
    Refused {
        /// Name of the object.
        key: String,
        /// HTTP status.
        status: u16,
        /// Code and message of the answer.
        message: String,
    },
    /// An object larger than what fits in one request.
    #[error("{size} bytes are more than an object store takes in one request")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// A file to be put could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// On which condition an object is put.
pub(super) enum Condition<'a> {
    None,
    /// There is none of that name.
    Missing,
    /// It is the one with this entity tag.
    Is(&'a str),
}

/// What is put.
pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    /// A file of known size and SHA-256.
    File {
        path: &'a Path,
        size: u64,
        sha256: &'a str,
    },
}

pub(super) struct BucketClient {
    http: Client,
    signer: Signer,
    /// What comes before names of objects; ends with `/`.
    base: Url,
}

impl BucketClient {
    pub(super) fn new(bucket: &Bucket) -> Result<Self, BucketError> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let region = bucket.region.clone();
        let region = region.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let (given_id, given_secret) = (bucket.access_key_id.clone(), bucket.secret_access_key.clone());
        let signer = match given_id.zip(given_secret) {
            Some((access_key_id, secret_access_key)) => {
                let session_token = bucket.session_token.clone();
                Signer { access_key_id, secret_access_key, session_token, region: region.clone() }
            }
            None => Signer {
                access_key_id: variable("AWS_ACCESS_KEY_ID").ok_or(BucketError::NoCredentials)?,
                secret_access_key: variable("AWS_SECRET_ACCESS_KEY").ok_or(BucketError::NoCredentials)?,
                session_token: variable("AWS_SESSION_TOKEN"),
                region: region.clone(),
            },
        };
        archway_registry::install_cryptography();
        let http = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE).build();
        let base = base(bucket, &region)?;
        let host = base.host_str().unwrap_or_default().to_owned();
        let http = http.map_err(|source| BucketError::Unreachable { host, source })?;
        Ok(Self { http, signer, base })
    }

    /// The object; an error if there is none.
    pub(super) async fn get(&self, key: &str) -> Result<Response, BucketError> {
        self.send(Method::GET, key, &Condition::None, None).await
    }

    /// The size of the object, if there is one.
    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, BucketError> {
        match self.send(Method::HEAD, key, &Condition::None, None).await {
            Ok(response) => {
                let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
                Ok(length.and_then(|text| text.to_str().ok()?.parse().ok()))
            }
            Err(BucketError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put(&self, key: &str, content: &Content<'_>) -> Result<(), BucketError> {
        self.send(Method::PUT, key, &Condition::None, Some(content)).await.map(drop)
    }

    /// Puts an object on a condition; false if that does not hold.
    pub(super) async fn put_if(
        &self,
        key: &str,
        condition: &Condition<'_>,
        bytes: &[u8],
    ) -> Result<bool, BucketError> {
        match self.send(Method::PUT, key, condition, Some(&Content::Bytes(bytes))).await {
            Ok(_) => Ok(true),
            // A conflict is another conditional write that has not ended.
            Err(BucketError::Refused { status: 409 | 412, .. } | BucketError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        method: Method,
        key: &str,
        condition: &Condition<'_>,
        content: Option<&Content<'_>>,
    ) -> Result<Response, BucketError> {
        let mut attempt = 0;
        loop {
            let sent = self.send_once(&method, key, condition, content).await;
            let is_temporary = match &sent {
                Err(BucketError::Unreachable { .. }) => true,
                Err(BucketError::Refused { status, .. }) => matches!(status, 429 | 500 | 502 | 503 | 504),
                _ => false,
            };
            if !is_temporary || attempt == RETRIES {
                return sent;
            }
            tokio::time::sleep(RETRY_DELAY * 2u32.pow(attempt)).await;
            attempt += 1;
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        key: &str,
        condition: &Condition<'_>,
        content: Option<&Content<'_>>,
    ) -> Result<Response, BucketError> {
        let url = self.base.join(&encoded(key)).map_err(|_| BucketError::Endpoint(self.base.to_string()))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let body_hash = match content {
            None => sha256(b""),
            Some(Content::Bytes(bytes)) => sha256(bytes),
            Some(Content::File { sha256, .. }) => (*sha256).to_owned(),
        };
        let signed =
            Signed { method: method.as_str(), host: &host, path: url.path(), query: "", body: &body_hash };
        let headers = self.signer.headers(&signed, Timestamp::now());
        let mut request = self.http.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request = match condition {
            Condition::None => request,
            Condition::Missing => request.header("if-none-match", "*"),
            Condition::Is(tag) => request.header("if-match", *tag),
        };
        request = match content {
            None => request,
            Some(Content::Bytes(bytes)) => request.body(bytes.to_vec()),
            Some(Content::File { size, .. }) if *size > MAX_OBJECT => {
                return Err(BucketError::TooLarge { size: *size });
            }
            Some(Content::File { path, size, .. }) => {
                let failed = |source| BucketError::Read { path: path.display().to_string(), source };
                let file = tokio::fs::File::open(path).await.map_err(failed)?;
                let stream = tokio_util::io::ReaderStream::with_capacity(file, 256 << 10);
                request.header("content-length", *size).body(Body::wrap_stream(stream))
            }
        };
        let response = request.send().await;
        let response =
            response.map_err(|source| BucketError::Unreachable { host, source: source.without_url() })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(BucketError::NotFound { key: key.to_owned() }),
            status => {
                let message = message(response).await;
                Err(BucketError::Refused { key: key.to_owned(), status: status.as_u16(), message })
            }
        }
    }
}

/// Where the bucket's objects are.
fn base(bucket: &Bucket, region: &str) -> Result<Url, BucketError> {
    let endpoint = bucket.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let invalid = || BucketError::Endpoint(endpoint.clone());
    let mut url = Url::parse(&endpoint).map_err(|_| invalid())?;
    let host = url.host_str().ok_or_else(invalid)?.to_owned();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if bucket.use_path_style {
        url.set_path(&format!("{path}/{}/", encoded(&bucket.bucket)));
    } else {
        url.set_host(Some(&format!("{}.{host}", bucket.bucket))).map_err(|_| invalid())?;
        url.set_path(&format!("{path}/"));
    }
    url.set_query(None);
    Ok(url)
}

/// A name as it stands in a path: all but unreserved characters encoded, as the signature wants it.
fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.trim_start_matches('/').bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(byte.into())
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// Code and message of an error document.
async fn message(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ERROR {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value.to_owned())
    };
    let parts: Vec<String> = ["Code", "Message"].into_iter().filter_map(element).collect();
    if parts.is_empty() { "no reason given".to_owned() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_in_the_host_or_in_the_path() {
        let url = |endpoint: Option<&str>, use_path_style| {
            let bucket = Bucket {
                bucket: "b".into(),
                endpoint: endpoint.map(str::to_owned),
                use_path_style,
                ..Bucket::default()
            };
            base(&bucket, "eu-1").map(|url| url.to_string()).ok()
        };
        assert_eq!(url(None, false).unwrap(), "https://b.s3.eu-1.amazonaws.com/");
        assert_eq!(url(None, true).unwrap(), "https://s3.eu-1.amazonaws.com/b/");
        assert_eq!(url(Some("http://localhost:9000/x/"), true).unwrap(), "http://localhost:9000/x/b/");
        assert_eq!(url(Some("localhost:9000"), true), None);
        assert_eq!(url(Some("ftp://a"), true), None);
    }

    #[test]
    fn names_are_encoded_as_they_are_signed() {
        assert_eq!(encoded("/a b/ü:+~"), "a%20b/%C3%BC%3A%2B~");
    }
}
