//! One request to a registry: its address, authentication, redirects and retries.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use reqwest::{
    Body, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::OnceCell,
};
use tokio_util::io::ReaderStream;

use crate::{
    ClientOptions, Error, RegistryMessage,
    auth::{self, Challenge, Scope, Tokens},
    credentials::Sourced,
    host::{self, Scheme},
};

/// Hops after which a redirect counts as a loop.
const MAX_REDIRECTS: usize = 10;
/// An error document is read up to here.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Waits longer than this are not made: the user is told instead.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Size of a read from a file that is uploaded.
const FILE_CHUNK: usize = 256 << 10;

/// The way to all registries. Shared by all clones of a client.
pub(crate) struct Transport {
    options: ClientOptions,
    plain: OnceLock<reqwest::Client>,
    hosts: Mutex<HashMap<String, Arc<OnceCell<Arc<Host>>>>>,
    tokens: Tokens,
}

/// A registry that was reached.
pub(crate) struct Host {
    scheme: Scheme,
    base: Url,
    client: reqwest::Client,
    /// What it asked for at the first contact.
    challenge: Option<Challenge>,
    credential: OnceCell<Option<Sourced>>,
}

/// A request, able to be sent again.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) registry: &'a str,
    /// Path below `/v2/`, or a URL the registry gave.
    pub(crate) target: Target,
    pub(crate) scope: Scope,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
}

#[derive(Clone)]
pub(crate) enum Target {
    Path(String),
    Url(Url),
}

/// The body of a request.
#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    /// Part of a file; `sent` is told how many bytes went out so far, from the start of the file.
    File {
        path: PathBuf,
        offset: u64,
        length: u64,
        sent: Arc<dyn Fn(u64) + Send + Sync>,
    },
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

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Self {
        host::install_crypto();
        Self { options, plain: OnceLock::new(), hosts: Mutex::default(), tokens: Tokens::default() }
    }

    /// Sends a request until it succeeds, fails for good, or was tried often enough. An answer is
    /// returned if its status is a success or one of `accepted`.
    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        accepted: &[StatusCode],
    ) -> Result<Response, Error> {
        let mut delays = self.delays();
        loop {
            let (error, wait) = match self.send_once(request, accepted).await {
                Ok(response) => return Ok(response),
                Err(Failed { error, retry_after }) => (error, retry_after),
            };
            let Some(delay) = delays.next().filter(|_| error.is_temporary()) else { return Err(error) };
            match wait {
                Some(wait) if wait > MAX_WAIT => return Err(error),
                wait => tokio::time::sleep(wait.unwrap_or(delay)).await,
            }
        }
    }

    /// Waits between tries.
    pub(crate) fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_min_delay(self.options.retry_delay)
            .with_max_delay(Duration::from_secs(10))
            .with_max_times(self.options.retries)
            .with_jitter()
            .build()
    }

    /// Whether the registry answers and takes these credentials.
    pub(crate) async fn check_login(&self, registry: &str, credential: Sourced) -> Result<(), Error> {
        let host = self.host(registry).await?;
        let scope = Scope::none();
        let header = match &host.challenge {
            Some(challenge) => {
                Some(self.tokens.answer(&host.client, registry, &scope, challenge, Some(&credential)).await?)
            }
            None => None,
        };
        let mut request = host.client.get(host.base.clone());
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let response = request.send().await.map_err(|error| unreachable_host(registry, &error))?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(auth::unauthorized(registry, &scope, Some(&credential)))
            }
            status if status.is_success() => Ok(()),
            _ => Err(self
                .failure(&Request::new(Method::GET, registry, String::new(), scope), response)
                .await
                .error),
        }
    }

    async fn send_once(&self, request: &Request<'_>, accepted: &[StatusCode]) -> Result<Response, Failed> {
        let host = self.host(request.registry).await?;
        let mut url = match &request.target {
            Target::Path(path) => {
                host.base.join(path).map_err(|_| protocol(request.registry, "no valid URL"))?
            }
            Target::Url(url) => url.clone(),
        };
        let mut refused = false;
        let mut redirects = 0;
        loop {
            let ours = same_origin(&url, &host.base);
            let client = if ours { host.client.clone() } else { self.client_for(&url, &host)? };
            let mut sending = client.request(request.method.clone(), url.clone());
            sending = sending.headers(request.headers.clone());
            // Credentials are for the registry, not for where it sends us.
            if ours && let Some(header) = self.authorization(&host, request).await? {
                sending = sending.header(AUTHORIZATION, header);
            }
            let sending = with_body(sending, &request.body).await?;
            let response =
                sending.send().await.map_err(|error| unreachable_host(&authority(&url), &error))?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && ours && !refused {
                refused = true;
                self.authenticate(&host, request, &response).await?;
                continue;
            }
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    return Err(protocol(request.registry, "too many redirects").into());
                }
                url =
                    location(&response, &url).ok_or_else(|| protocol(request.registry, "a bad redirect"))?;
                if url.scheme() != "https" && host.scheme == Scheme::Https {
                    return Err(protocol(request.registry, "a redirect from HTTPS to HTTP").into());
                }
                continue;
            }
            if status.is_success() || accepted.contains(&status) {
                return Ok(response);
            }
            return Err(self.failure(request, response).await);
        }
    }

    /// The header for a request: one that was good before, else one for the registry's challenge.
    async fn authorization(&self, host: &Host, request: &Request<'_>) -> Result<Option<HeaderValue>, Error> {
        if let Some(header) = self.tokens.get(request.registry, &request.scope) {
            return Ok(Some(header));
        }
        match &host.challenge {
            Some(challenge) => self.answer(host, request, challenge).await.map(Some),
            None => Ok(None),
        }
    }

    /// A request was refused: the token ended early, or the registry asks only now.
    async fn authenticate(
        &self,
        host: &Host,
        request: &Request<'_>,
        refusal: &Response,
    ) -> Result<(), Error> {
        self.tokens.forget(request.registry, &request.scope);
        let asked = refusal.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::parse(asked.iter(), host.scheme == Scheme::Http);
        match challenge.as_ref().or(host.challenge.as_ref()) {
            Some(challenge) => self.answer(host, request, challenge).await.map(drop),
            None => Err(auth::unauthorized(request.registry, &request.scope, None)),
        }
    }

    async fn answer(
        &self,
        host: &Host,
        request: &Request<'_>,
        challenge: &Challenge,
    ) -> Result<HeaderValue, Error> {
        let (registry, scope) = (request.registry, &request.scope);
        let keychain = &self.options.credentials;
        let credential =
            host.credential.get_or_try_init(|| keychain.find(registry, &scope.repository)).await?;
        // Token servers are often elsewhere than their registry.
        let elsewhere;
        let client = match challenge {
            Challenge::Bearer { realm, .. } if !same_origin(realm, &host.base) => {
                elsewhere = self.client_for(realm, host)?;
                &elsewhere
            }
            _ => &host.client,
        };
        self.tokens.answer(client, registry, scope, challenge, credential.as_ref()).await
    }

    /// The registry, reached at the first call.
    async fn host(&self, registry: &str) -> Result<Arc<Host>, Error> {
        let cell = {
            let mut hosts = self.hosts.lock().expect("no holder panics");
            hosts.entry(registry.to_owned()).or_default().clone()
        };
        cell.get_or_try_init(|| self.reach(registry)).await.cloned()
    }

    async fn reach(&self, registry: &str) -> Result<Arc<Host>, Error> {
        let insecure = self.options.insecure.iter().any(|host| host == registry);
        let mut first_error = None;
        for scheme in host::schemes(registry, insecure) {
            match self.try_scheme(registry, *scheme, insecure).await {
                Ok(host) => return Ok(Arc::new(host)),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.expect("there is at least one scheme"))
    }

    async fn try_scheme(&self, registry: &str, scheme: Scheme, insecure: bool) -> Result<Host, Error> {
        let url = format!("{}://{}/v2/", scheme.as_str(), host::address(registry));
        let base: Url = url.parse().map_err(|_| protocol(registry, "its name is not valid"))?;
        let client = match scheme {
            Scheme::Http => self.plain().clone(),
            Scheme::Https => host::tls_client(registry, &self.options, insecure)?,
        };
        let mut delays = self.delays();
        let response = loop {
            match client.get(base.clone()).send().await {
                Ok(response) => break response,
                // A refused connection or a bad certificate is refused again at once.
                Err(error) if error.is_connect() => return Err(unreachable_host(registry, &error)),
                Err(error) => match delays.next() {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(unreachable_host(registry, &error)),
                },
            }
        };
        // A TLS server says so when it is spoken to in plain HTTP.
        if scheme == Scheme::Http && response.status() == StatusCode::BAD_REQUEST {
            return Err(protocol(registry, "it does not speak plain HTTP"));
        }
        let asked = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::parse(asked.iter(), scheme == Scheme::Http);
        Ok(Host { scheme, base, client, challenge, credential: OnceCell::new() })
    }

    fn plain(&self) -> &reqwest::Client {
        self.plain.get_or_init(|| host::plain_client(&self.options.user_agent))
    }

    /// A client for a URL outside of the registry.
    fn client_for(&self, url: &Url, host: &Host) -> Result<reqwest::Client, Error> {
        match (url.scheme(), host.scheme) {
            ("http", _) => Ok(self.plain().clone()),
            // Another host of a registry with its own authority often has the same.
            (_, Scheme::Https) => Ok(host.client.clone()),
            _ => host::tls_client(url.host_str().unwrap_or_default(), &self.options, false),
        }
    }

    /// The error that an answer means.
    async fn failure(&self, request: &Request<'_>, response: Response) -> Failed {
        let registry = request.registry;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
        let url = redacted(response.url());
        let messages = messages(response).await;
        let error = match status {
            StatusCode::UNAUTHORIZED => {
                let cell = self.hosts.lock().expect("no holder panics").get(registry).cloned();
                let host = cell.as_ref().and_then(|cell| cell.get());
                let credential = host.and_then(|host| host.credential.get()?.as_ref());
                auth::unauthorized(registry, &request.scope, credential)
            }
            StatusCode::FORBIDDEN => {
                Error::Denied { host: registry.to_owned(), scope: request.scope.describe(), messages }
            }
            StatusCode::NOT_FOUND => Error::NotFound { host: registry.to_owned(), what: what(request) },
            StatusCode::TOO_MANY_REQUESTS => Error::RateLimited { host: registry.to_owned(), retry_after },
            _ => {
                Error::Registry { method: request.method.to_string(), url, status: status.as_u16(), messages }
            }
        };
        Failed { error, retry_after }
    }
}

/// An error, and when the registry wants to be asked again.
struct Failed {
    error: Error,
    retry_after: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

async fn with_body(
    request: reqwest::RequestBuilder,
    body: &Payload,
) -> Result<reqwest::RequestBuilder, Error> {
    Ok(match body {
        Payload::Empty => request,
        Payload::Bytes(bytes) => request.body(bytes.clone()),
        Payload::File { path, offset, length, sent } => {
            let failed = |source| Error::Read { path: path.display().to_string(), source };
            let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
            file.seek(std::io::SeekFrom::Start(*offset)).await.map_err(failed)?;
            let (mut position, sent) = (*offset, sent.clone());
            let reader = ReaderStream::with_capacity(file.take(*length), FILE_CHUNK);
            let counted = futures_util::StreamExt::inspect(reader, move |chunk| {
                if let Ok(chunk) = chunk {
                    position += chunk.len() as u64;
                    sent(position);
                }
            });
            request.header("content-length", *length).body(Body::wrap_stream(counted))
        }
    })
}

fn same_origin(left: &Url, right: &Url) -> bool {
    left.origin() == right.origin()
}

fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// Where an answer points to, relative to what was asked.
pub(crate) fn location(response: &Response, asked: &Url) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = asked.join(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// A URL without user information and query, which may hold signatures.
pub(crate) fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// The innermost error: "Connection refused" says more than "error sending request".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn unreachable_host(host: &str, error: &reqwest::Error) -> Error {
    Error::Unreachable { host: host.to_owned(), cause: innermost(error) }
}

pub(crate) fn protocol(host: &str, problem: &str) -> Error {
    Error::Protocol { host: host.to_owned(), problem: problem.to_owned() }
}

/// `Retry-After` in seconds; dates are rare and are not worth a clock comparison.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What was not found, as people would write it.
fn what(request: &Request<'_>) -> String {
    let Target::Path(path) = &request.target else { return request.scope.repository.clone() };
    match path.rsplit_once("/manifests/").or_else(|| path.rsplit_once("/blobs/")) {
        Some((repository, reference)) if reference.contains(':') => format!("{repository}@{reference}"),
        Some((repository, reference)) => format!("{repository}:{reference}"),
        None => path.clone(),
    }
}

async fn messages(mut response: Response) -> Vec<RegistryMessage> {
    #[derive(Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<RegistryMessage>,
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BODY {
            return Vec::new();
        }
    }
    serde_json::from_slice::<Errors>(&body).map(|errors| errors.errors).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        let url: Url = "https://user:pass@host.example.com/blob?X-Signature=secret#f".parse().unwrap();
        assert_eq!(redacted(&url), "https://host.example.com/blob");
    }
}
