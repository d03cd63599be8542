//! Downloads: redirects, revalidation, resumption, bounds.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use reqwest::{
    Client, ClientBuilder, Method, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
    },
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use url::Url;

use crate::{Algorithm, Checksum, Credentials, HttpSource, redacted};

/// Hops after which a redirect counts as a loop, as with most clients.
const MAX_REDIRECTS: usize = 10;
/// How often a download goes on after its connection broke.
const MAX_RESUMPTIONS: usize = 5;
/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without a single byte after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(120);
/// Time before a download goes on, times the number of attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Larger files are refused.
pub const MAX_BYTES: u64 = 32 << 30;

/// A file could not be downloaded. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none.
    #[error("`{url}` is not a URL that can be fetched: {problem}")]
    Url {
        /// As written, without passwords.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The server does not give it.
    #[error("{url}: the server answers {status}")]
    Status {
        /// Where.
        url: String,
        /// The status.
        status: StatusCode,
        /// The host, as in the name of a secret.
        host: String,
        /// Whether credentials were sent.
        tried: bool,
    },
    /// The server sends on and on.
    #[error("{url}: more than {MAX_REDIRECTS} redirects")]
    Redirects {
        /// Where.
        url: String,
    },
    /// The connection could not be made, or broke too often.
    #[error("cannot download {url}: {problem}")]
    Connection {
        /// Where.
        url: String,
        /// The innermost cause.
        problem: String,
    },
    /// The file is larger than is taken.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// Where.
        url: String,
        /// The most that is taken.
        limit: u64,
    },
    /// The file changed while it was downloaded.
    #[error("{url} changed while it was downloaded")]
    Changed {
        /// Where.
        url: String,
    },
    /// The file is not what it has to be.
    #[error("{url} has the checksum {found}, and has to have {expected}")]
    Checksum {
        /// Where.
        url: String,
        /// What it has to have.
        expected: Checksum,
        /// What it has.
        found: Checksum,
    },
    /// The file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HttpError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { status, host, tried, .. } => match status.as_u16() {
                401 | 403 if *tried => {
                    Some("the secret that was given for this host does not allow it".to_owned())
                }
                401 | 403 => {
                    Some(format!("give a token for this host: `--secret id=HTTP_AUTH_TOKEN_{host},env=NAME`"))
                }
                404 | 410 => Some("look at the URL; variables in it are expanded".to_owned()),
                _ => None,
            },
            Self::Checksum { found, .. } => {
                Some(format!("if the file is the right one, write `--checksum={found}`"))
            }
            Self::Changed { .. } => Some("build again".to_owned()),
            Self::Connection { problem, .. } if problem.contains("certificate") => Some(
                "if the authority is your own, name its PEM file: SSL_CERT_FILE=FILE archway …".to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether the same may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Changed { .. } => true,
            Self::Status { status, .. } => is_temporary(*status),
            _ => false,
        }
    }

    /// Whether what was asked for is not there, or is another.
    pub fn is_about_source(&self) -> bool {
        !matches!(self, Self::Write { .. })
    }
}

/// What a server said of a file, so that it can be asked whether that is still so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`, as it came.
    pub etag: Option<String>,
    /// `Last-Modified`, as it came.
    pub last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    /// Whether there is anything to ask with.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// When the file was changed, in seconds since 1970.
    pub fn modified(&self) -> Option<i64> {
        parse_date(self.last_modified.as_deref()?)
    }

    /// What a range is asked with: only if the file is still the same, byte for byte.
    fn strong(&self) -> Option<&str> {
        let etag = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        etag.or(self.last_modified.as_deref())
    }
}

/// What became of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downloaded {
    /// The file is the one that the validators are of. Nothing was written.
    Unchanged,
    /// It was written.
    New {
        /// To ask with the next time.
        validators: Validators,
        /// Its SHA-256, and further digests, if a checksum asks for them.
        digest: Checksum,
        /// Bytes.
        size: u64,
    },
}

/// Downloads files.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Result<Client, String>,
    /// For this machine's own servers.
    direct: Result<Client, String>,
    credentials: Credentials,
    limit: u64,
}

impl HttpClient {
    /// A client with the system's certificate authorities and proxies.
    pub fn new(credentials: Credentials) -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may be faster, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let direct = Self::settings().no_proxy().build().map_err(|error| innermost(&error));
        let client = Self::settings().build().map_err(|error| innermost(&error));
        Self { client, direct, credentials, limit: MAX_BYTES }
    }

    fn settings() -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("archway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            // Redirects are followed one by one by us: each hop decides anew about credentials.
            .redirect(reqwest::redirect::Policy::none())
    }

    /// The same with another bound for files.
    pub fn with_limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Downloads a file, unless it is still the one of `known`. `progress` is told the bytes so far and
    /// in all.
    ///
    /// # Errors
    /// Also if it does not have its checksum. What was written then is worthless.
    pub async fn download(
        &self,
        source: &HttpSource,
        known: Option<&Validators>,
        to: &mut (dyn Write + Send),
        progress: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Downloaded, HttpError> {
        let mut transfer = Transfer {
            http: self,
            source,
            hasher: Hasher::new(source.checksum.as_ref().map(|checksum| checksum.algorithm)),
            received: 0,
            skip: 0,
            validators: Validators::default(),
            to,
            progress,
        };
        if transfer.run(known).await? == Ended::Unchanged {
            return Ok(Downloaded::Unchanged);
        }
        let (digest, found) = transfer.hasher.finish();
        if let Some(expected) = &source.checksum
            && found != *expected
        {
            return Err(HttpError::Checksum { url: source.describe(), expected: expected.clone(), found });
        }
        Ok(Downloaded::New { validators: transfer.validators, digest, size: transfer.received })
    }

    /// Sends a request along redirects. Credentials go to the host that the URL names, and to no other.
    async fn send(&self, source: &HttpSource, headers: &HeaderMap) -> Result<(Response, bool), HttpError> {
        let shown = || source.describe();
        let bad = |problem: String| HttpError::Url { url: shown(), problem };
        let mut url = Url::parse(&source.url).map_err(|error| bad(error.to_string()))?;
        let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        let first = place(&url);
        for _ in 0..=MAX_REDIRECTS {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(bad(format!("it leads to a `{}:` URL", url.scheme())));
            }
            // A proxy's loopback is another machine.
            let client = if is_loopback(&url) { &self.direct } else { &self.client };
            let client = client
                .as_ref()
                .map_err(|problem| HttpError::Connection { url: shown(), problem: problem.clone() })?;
            let mut request = client.request(Method::GET, url.clone()).headers(headers.clone());
            let is_asked = place(&url) == first;
            let authorization = is_asked.then(|| self.credentials.for_http(url.as_str())).flatten();
            let tried = authorization.is_some() || !url.username().is_empty();
            if let Some(text) = authorization {
                let mut value = HeaderValue::from_str(&text)
                    .map_err(|_| bad("the secret for its host is not fit for a header".to_owned()))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|error| self.broken(source, &error))?;
            let status = response.status();
            let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
            let Some(location) = location else { return Ok((response, tried)) };
            let location = location.to_str().map_err(|_| bad("it redirects to no URL".to_owned()))?;
            let next = url.join(location).map_err(|error| bad(format!("it redirects to no URL: {error}")))?;
            if url.scheme() == "https" && next.scheme() == "http" && tried {
                return Err(bad("it redirects from HTTPS to HTTP, and has a secret".to_owned()));
            }
            url = next;
        }
        Err(HttpError::Redirects { url: shown() })
    }

    fn broken(&self, source: &HttpSource, error: &reqwest::Error) -> HttpError {
        HttpError::Connection { url: source.describe(), problem: innermost(error) }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Unchanged,
    Complete,
    /// The connection broke.
    Broken(String),
}

/// One download, over as many connections as it takes.
struct Transfer<'a> {
    http: &'a HttpClient,
    source: &'a HttpSource,
    hasher: Hasher,
    received: u64,
    /// Bytes that come again: the server has no ranges.
    skip: u64,
    validators: Validators,
    to: &'a mut (dyn Write + Send),
    progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
}

impl Transfer<'_> {
    async fn run(&mut self, known: Option<&Validators>) -> Result<Ended, HttpError> {
        let mut attempts = 0_u32;
        loop {
            let problem = match self.once(known).await {
                Ok(Ended::Broken(problem)) => problem,
                Err(HttpError::Connection { problem, .. }) => problem,
                Err(HttpError::Status { status, .. }) if is_temporary(status) && attempts < 2 => {
                    format!("the server answers {status}")
                }
                ended => return ended,
            };
            attempts += 1;
            // What cannot be told to be the same file cannot go on.
            let may_go_on = self.received == 0 || self.validators.strong().is_some();
            if attempts as usize > MAX_RESUMPTIONS || !may_go_on {
                return Err(HttpError::Connection { url: self.source.describe(), problem });
            }
            tokio::time::sleep(PAUSE * attempts).await;
        }
    }

    async fn once(&mut self, known: Option<&Validators>) -> Result<Ended, HttpError> {
        let (mut response, tried) = self.http.send(self.source, &self.headers(known)).await?;
        let url = || self.source.describe();
        let status = response.status();
        match status {
            StatusCode::NOT_MODIFIED if known.is_some() && self.received == 0 => return Ok(Ended::Unchanged),
            StatusCode::PARTIAL_CONTENT if self.received > 0 => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let expected = format!("bytes {}-", self.received);
                if !range.is_some_and(|range| range.starts_with(&expected)) {
                    return Err(HttpError::Changed { url: url() });
                }
            }
            // The server has no ranges: what is here already comes again.
            StatusCode::OK if self.received > 0 && Validators::of(response.headers()) == self.validators => {
                self.skip = self.received;
            }
            _ if status.is_success() && self.received > 0 => return Err(HttpError::Changed { url: url() }),
            StatusCode::PARTIAL_CONTENT => return Err(HttpError::Changed { url: url() }),
            _ if status.is_success() => self.validators = Validators::of(response.headers()),
            _ => {
                let host = crate::http_url::host(&self.source.url).unwrap_or_default().to_owned();
                return Err(HttpError::Status { url: url(), status, host, tried });
            }
        }
        let total = response.content_length().map(|length| length + self.received - self.skip);
        if total.is_some_and(|total| total > self.http.limit) {
            return Err(HttpError::TooLarge { url: url(), limit: self.http.limit });
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => self.take(&chunk, total)?,
                Ok(None) => return Ok(Ended::Complete),
                Err(error) => return Ok(Ended::Broken(innermost(&error))),
            }
        }
    }

    fn headers(&self, known: Option<&Validators>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // What is stored is what the server has, and not what it makes of it on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut set = |name, text: Option<&str>| {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        };
        if self.received > 0 {
            set(RANGE, Some(&format!("bytes={}-", self.received)));
            set(IF_RANGE, self.validators.strong());
        } else if let Some(known) = known {
            set(IF_NONE_MATCH, known.etag.as_deref());
            set(IF_MODIFIED_SINCE, known.last_modified.as_deref());
        }
        headers
    }

    fn take(&mut self, chunk: &[u8], total: Option<u64>) -> Result<(), HttpError> {
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        self.skip -= known as u64;
        let chunk = &chunk[known..];
        let received = self.received + chunk.len() as u64;
        if received > self.http.limit {
            return Err(HttpError::TooLarge { url: self.source.describe(), limit: self.http.limit });
        }
        let failed = |source| HttpError::Write { path: self.source.name.clone().into(), source };
        self.to.write_all(chunk).map_err(failed)?;
        self.hasher.update(chunk);
        self.received = received;
        (self.progress)(received, total);
        Ok(())
    }
}

/// The digest that files are known by, and the one a checksum asks for.
struct Hasher {
    sha256: Sha256,
    other: Option<Other>,
}

enum Other {
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: Option<Algorithm>) -> Self {
        let other = match algorithm {
            None | Some(Algorithm::Sha256) => None,
            Some(Algorithm::Sha384) => Some(Other::Sha384(Sha384::new())),
            Some(Algorithm::Sha512) => Some(Other::Sha512(Sha512::new())),
        };
        Self { sha256: Sha256::new(), other }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        match &mut self.other {
            Some(Other::Sha384(hasher)) => hasher.update(bytes),
            Some(Other::Sha512(hasher)) => hasher.update(bytes),
            None => {}
        }
    }

    /// The SHA-256, and the digest to compare.
    fn finish(self) -> (Checksum, Checksum) {
        let sha256 = Checksum { algorithm: Algorithm::Sha256, hex: hex::encode(self.sha256.finalize()) };
        let other = match self.other {
            Some(Other::Sha384(hasher)) => {
                Checksum { algorithm: Algorithm::Sha384, hex: hex::encode(hasher.finalize()) }
            }
            Some(Other::Sha512(hasher)) => {
                Checksum { algorithm: Algorithm::Sha512, hex: hex::encode(hasher.finalize()) }
            }
            None => sha256.clone(),
        };
        (sha256, other)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// A date of HTTP (RFC 9110, 5.6.7), in seconds since 1970: the form that is in use, and the one that
/// was before.
fn parse_date(text: &str) -> Option<i64> {
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let parsed = DateTime::strptime("%d %b %Y %H:%M:%S", rest)
        .or_else(|_| DateTime::strptime("%d-%b-%y %H:%M:%S", rest))
        .ok()?;
    let time: Timestamp = parsed.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(time.as_second())
}

/// The cause of a failure, which reqwest wraps in texts that name the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    redacted(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse_date;

    #[test]
    fn dates_are_read() {
        let table = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("06 Nov 1994", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_date(text), expected, "{text}");
        }
    }
}
