//! One operation at a registry: authentication, redirects, retries.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use tokio::sync::OnceCell;

use crate::{
    ClientOptions, Error,
    auth::{self, Challenge, Scope, unauthorized},
    credentials::Sourced,
    endpoint::{Endpoint, Endpoints},
    exchange::{Exchange, authority, protocol, redacted},
    host::Scheme,
    request::{Request, Target},
    token::{Token, Tokens},
};

/// Hops after which a redirect counts as a loop.
const MAX_REDIRECTS: usize = 10;
/// Waits longer than this are not made: the user is told instead.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The way to all registries. Shared by all clones of a client.
pub(crate) struct Transport {
    options: ClientOptions,
    endpoints: Endpoints,
    tokens: Tokens,
    /// What the keychain has, by registry and repository.
    credentials: Mutex<HashMap<(String, String), Lookup>>,
    /// Held while a tag that lists referrers is changed, by its whole name.
    lists: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A look into the keychain, made once.
type Lookup = Arc<OnceCell<Option<Sourced>>>;

impl Transport {
    pub(crate) fn is_insecure(&self, registry: &str) -> bool {
        self.options.insecure.iter().any(|host| host == registry)
    }

    pub(crate) fn new(options: ClientOptions) -> Self {
        crate::host::install_cryptography();
        Self {
            options,
            endpoints: Endpoints::default(),
            tokens: Tokens::default(),
            credentials: Mutex::default(),
            lists: Mutex::default(),
        }
    }

    /// Who changes the list `name` waits until no other task of this process does.
    pub(crate) async fn turn(&self, name: String) -> tokio::sync::OwnedMutexGuard<()> {
        let list = self.lists.lock().expect("no holder panics").entry(name).or_default().clone();
        list.lock_owned().await
    }

    /// Sends a request until it succeeds, fails for good, or was tried often enough. An answer is
    /// returned if its status is a success or one of `accepted`. Only for requests that do the same
    /// when they are sent twice.
    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        accepted: &[StatusCode],
    ) -> Result<Response, Error> {
        let endpoint = self.endpoint(request.registry).await?;
        let mut backoff = self.backoff();
        loop {
            match self.follow(&endpoint, request, accepted).await {
                Ok(response) => return Ok(response),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }

    /// Like [`Transport::send`], with the whole answer: at most `limit` bytes, named `what` in errors.
    pub(crate) async fn fetch(
        &self,
        request: &Request<'_>,
        what: &str,
        limit: u64,
    ) -> Result<(HeaderMap, Vec<u8>), Error> {
        let endpoint = self.endpoint(request.registry).await?;
        let mut backoff = self.backoff();
        loop {
            let attempt = async {
                let response = self.follow(&endpoint, request, &[]).await?;
                let headers = response.headers().clone();
                let bytes = self.exchange().read_all(response, request.registry, what, limit).await?;
                Ok((headers, bytes))
            };
            match attempt.await {
                Ok(answer) => return Ok(answer),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }

    /// Sends a request once (again only with credentials that the registry asks for).
    pub(crate) async fn send_once(&self, request: &Request<'_>) -> Result<Response, Error> {
        let endpoint = self.endpoint(request.registry).await?;
        self.follow(&endpoint, request, &[]).await
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(&self.options)
    }

    pub(crate) fn exchange(&self) -> Exchange<'_> {
        Exchange::new(&self.options)
    }

    /// Bytes, at least one.
    pub(crate) fn upload_chunk(&self) -> u64 {
        self.options.upload_chunk.max(1)
    }

    /// Bytes, at least one.
    pub(crate) fn growing_chunk(&self) -> u64 {
        self.options.growing_chunk.max(1)
    }

    /// Whether the registry answers and takes these credentials.
    pub(crate) async fn check_login(&self, registry: &str, credential: &Sourced) -> Result<(), Error> {
        let endpoint = self.endpoint(registry).await?;
        let scope = Scope::none();
        let mut request = self.client(&endpoint.base, &endpoint)?.get(endpoint.base.clone());
        if let Some(challenge) = &endpoint.challenge {
            let token = self.token(&endpoint, registry, &scope, challenge, Some(credential)).await?;
            request = request.header(AUTHORIZATION, token.into_header());
        }
        let response = self.exchange().send(request, registry).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(unauthorized(registry, &scope, Some(credential)))
            }
            status if status.is_success() => Ok(()),
            _ => Err(self.exchange().failure("GET", registry, response).await),
        }
    }

    pub(crate) async fn endpoint(&self, registry: &str) -> Result<Arc<Endpoint>, Error> {
        self.endpoints.get(registry, &self.options).await
    }

    pub(crate) fn client(&self, url: &Url, endpoint: &Endpoint) -> Result<reqwest::Client, Error> {
        self.endpoints.client(url, endpoint, &self.options)
    }

    /// Sends a request, wherever the registry redirects it.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        accepted: &[StatusCode],
    ) -> Result<Response, Error> {
        let registry = request.registry;
        let mut url = match &request.target {
            Target::Path(path) => endpoint.base.join(path).map_err(|_| protocol(registry, "no valid URL"))?,
            Target::Url(url) => url.clone(),
        };
        for _ in 0..=MAX_REDIRECTS {
            if url.scheme() != "https" && endpoint.scheme == Scheme::Https {
                return Err(protocol(registry, "it sends us from HTTPS to HTTP"));
            }
            // Credentials are for the registry, not for where it sends us.
            let response = match endpoint.owns(&url) {
                true => self.authorized(endpoint, request, &url).await?,
                false => self.exchange_once(endpoint, request, &url, None).await?,
            };
            let status = response.status();
            if status.is_success() || accepted.contains(&status) {
                return Ok(response);
            }
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Err(self.failure(request, response).await);
            }
            url = location(&response).ok_or_else(|| protocol(registry, "a bad redirect"))?;
        }
        Err(protocol(registry, "too many redirects"))
    }

    /// Sends a request with the registry's authorization. One that is refused, because a token ended
    /// early or because the registry asks only now, is renewed once.
    async fn authorized(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        url: &Url,
    ) -> Result<Response, Error> {
        let (registry, scope) = (request.registry, &request.scope);
        let header = match (self.tokens.get(registry, scope).await, &endpoint.challenge) {
            (None, Some(challenge)) => match self.renew(endpoint, registry, scope, challenge, None).await {
                // Some of what a registry with passwords has may be public.
                Err(Error::Unauthorized { .. }) if *challenge == Challenge::Basic => None,
                renewed => Some(renewed?),
            },
            (header, _) => header,
        };
        let response = self.exchange_once(endpoint, request, url, header.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let asked = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::parse(asked.iter(), &endpoint.base);
        let Some(challenge) = challenge.as_ref().or(endpoint.challenge.as_ref()) else {
            return match auth::refused_realm(asked.iter(), &endpoint.base) {
                Some(realm) => Err(protocol(registry, &exposed(&realm))),
                None => Ok(response),
            };
        };
        if let Some(refused) = &header {
            self.tokens.forget(registry, scope, refused).await;
        }
        let renewed = self.renew(endpoint, registry, scope, challenge, header.as_ref()).await?;
        if Some(&renewed) == header.as_ref() {
            return Ok(response);
        }
        self.exchange_once(endpoint, request, url, Some(&renewed)).await
    }

    async fn exchange_once(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let client = self.client(url, endpoint)?;
        let mut sending =
            client.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(header) = authorization {
            sending = sending.header(AUTHORIZATION, header);
        }
        self.exchange().send_with(sending, &request.body, &authority(url)).await
    }

    async fn renew(
        &self,
        endpoint: &Endpoint,
        registry: &str,
        scope: &Scope,
        challenge: &Challenge,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let fetch = async {
            let credential = self.find_credential(registry, &scope.repository).await?;
            self.token(endpoint, registry, scope, challenge, credential.as_ref()).await
        };
        self.tokens.renew(registry, scope, refused, fetch).await
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        registry: &str,
        scope: &Scope,
        challenge: &Challenge,
        credential: Option<&Sourced>,
    ) -> Result<Token, Error> {
        // Token servers are often elsewhere than their registry.
        let server = match challenge {
            Challenge::Bearer { realm, .. } => realm,
            Challenge::Basic => &endpoint.base,
        };
        let client = self.client(server, endpoint)?;
        Token::fetch(self.exchange(), &client, registry, scope, challenge, credential).await
    }

    /// What the keychain has for a repository, looked up once.
    pub(crate) async fn find_credential(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Sourced>, Error> {
        let cell = self.credential(registry, repository);
        let keychain = &self.options.credentials;
        cell.get_or_try_init(|| keychain.find(registry, repository)).await.cloned()
    }

    fn credential(&self, registry: &str, repository: &str) -> Lookup {
        let mut credentials = self.credentials.lock().expect("no holder panics");
        credentials.entry((registry.to_owned(), repository.to_owned())).or_default().clone()
    }

    /// The error that an answer means.
    async fn failure(&self, request: &Request<'_>, response: Response) -> Error {
        let (host, scope) = (request.registry.to_owned(), &request.scope);
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                let cell = self.credential(request.registry, &scope.repository);
                unauthorized(request.registry, scope, cell.get().and_then(Option::as_ref))
            }
            StatusCode::FORBIDDEN => {
                let messages = self.exchange().messages(response).await;
                Error::Denied { host, scope: scope.describe(), messages }
            }
            StatusCode::NOT_FOUND if request.method == Method::GET || request.method == Method::HEAD => {
                Error::NotFound { host, what: what(request) }
            }
            _ => self.exchange().failure(request.method.as_str(), &host, response).await,
        }
    }
}

/// Waits between the tries of one operation.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(options.retry_delay)
            .with_max_delay(Duration::from_secs(10))
            .with_max_times(options.retries)
            .with_jitter();
        Self(delays.build())
    }

    /// Waits before the next try. Gives the error back if it is not temporary, or if it is enough.
    pub(crate) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        if error.is_temporary() { self.wait_after(error).await } else { Err(error) }
    }

    /// Like [`Backoff::wait`] for an error that is known to be temporary.
    pub(crate) async fn wait_after(&mut self, error: Error) -> Result<(), Error> {
        let asked = error.retry_after().unwrap_or_default();
        match self.0.next() {
            Some(delay) if asked <= MAX_WAIT => {
                tokio::time::sleep(delay.max(asked)).await;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// Where an answer points to, relative to what was asked.
pub(crate) fn location(response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = response.url().join(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Why credentials do not go to a token server.
fn exposed(realm: &Url) -> String {
    format!("it wants credentials to be sent to {}, where nothing protects them", redacted(realm))
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
