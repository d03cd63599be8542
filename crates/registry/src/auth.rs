//! Authentication: challenges (RFC 9110, 11.6.1), Basic, and Bearer tokens as distribution's token
//! servers give them.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Url, header::HeaderValue};
use serde::Deserialize;

use crate::{
    Error,
    credentials::{Credential, Sourced},
};

/// Life of a token whose server does not say (distribution "token" specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(10);
/// Name we give to OAuth2 servers.
const CLIENT_ID: &str = "archway";

/// What a request is going to do, for token servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) push: bool,
    /// Repositories that blobs are mounted from.
    pub(crate) mount_from: Vec<String>,
}

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), push: false, mount_from: Vec::new() }
    }

    pub(crate) fn push(repository: &str, mount_from: &[String]) -> Self {
        Self { repository: repository.to_owned(), push: true, mount_from: mount_from.to_vec() }
    }

    /// No repository: only a login.
    pub(crate) fn none() -> Self {
        Self::pull("")
    }

    fn texts(&self) -> Vec<String> {
        if self.repository.is_empty() {
            return Vec::new();
        }
        let actions = if self.push { "pull,push" } else { "pull" };
        let own = format!("repository:{}:{actions}", self.repository);
        let others = self.mount_from.iter().filter(|from| **from != self.repository);
        [own].into_iter().chain(others.map(|from| format!("repository:{from}:pull"))).collect()
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match (self.repository.as_str(), self.push) {
            ("", _) => "the registry".to_owned(),
            (repository, true) => format!("pushing to {repository}"),
            (repository, false) => format!("pulling {repository}"),
        }
    }
}

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl Challenge {
    /// The strongest challenge we can meet in the `WWW-Authenticate` values of an answer. `plain` says
    /// whether the registry itself speaks HTTP; only then may its token server.
    pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a HeaderValue>, plain: bool) -> Option<Self> {
        let mut basic = None;
        for value in values {
            let Ok(challenges) = http_auth::parse_challenges(value.to_str().ok()?) else { continue };
            for challenge in challenges {
                let param = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm: Url = param("realm")?.parse().ok()?;
                    if realm.scheme() == "https" || (plain && realm.scheme() == "http") {
                        return Some(Self::Bearer { realm, service: param("service") });
                    }
                } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// Tokens by registry and scope.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<(String, Scope), Token>>);

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl Tokens {
    /// A token for this scope that is still good.
    pub(crate) fn get(&self, registry: &str, scope: &Scope) -> Option<HeaderValue> {
        let tokens = self.0.lock().expect("no holder panics");
        let token = tokens.get(&(registry.to_owned(), scope.clone()))?;
        (token.until > Instant::now()).then(|| token.header.clone())
    }

    /// Forgets a token that was refused.
    pub(crate) fn forget(&self, registry: &str, scope: &Scope) {
        self.0.lock().expect("no holder panics").remove(&(registry.to_owned(), scope.clone()));
    }

    /// Answers a challenge: a header for the request.
    pub(crate) async fn answer(
        &self,
        client: &reqwest::Client,
        registry: &str,
        scope: &Scope,
        challenge: &Challenge,
        credential: Option<&Sourced>,
    ) -> Result<HeaderValue, Error> {
        let (header, life) = match challenge {
            Challenge::Basic => (basic(registry, scope, credential)?, Duration::from_secs(3600)),
            Challenge::Bearer { realm, service } => {
                let request = token_request(client, realm, service.as_deref(), scope, credential);
                fetch_token(request, registry, realm, scope, credential).await?
            }
        };
        let until = Instant::now() + life.saturating_sub(MARGIN).max(MARGIN);
        let token = Token { header: header.clone(), until };
        self.0.lock().expect("no holder panics").insert((registry.to_owned(), scope.clone()), token);
        Ok(header)
    }
}

fn basic(registry: &str, scope: &Scope, credential: Option<&Sourced>) -> Result<HeaderValue, Error> {
    match credential.map(|sourced| &sourced.credential) {
        Some(Credential::Password { username, password }) => {
            Ok(secret_header(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))))
        }
        _ => Err(unauthorized(registry, scope, credential)),
    }
}

fn token_request(
    client: &reqwest::Client,
    realm: &Url,
    service: Option<&str>,
    scope: &Scope,
    credential: Option<&Sourced>,
) -> reqwest::RequestBuilder {
    let scopes = scope.texts();
    match credential.map(|sourced| &sourced.credential) {
        // OAuth2 (distribution "oauth2" specification).
        Some(Credential::IdentityToken(token)) => {
            let joined = scopes.join(" ");
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", token)
                .append_pair("client_id", CLIENT_ID)
                .append_pair("scope", &joined);
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            client
                .post(realm.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.finish())
        }
        other => {
            let mut url = realm.clone();
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in &scopes {
                    query.append_pair("scope", scope);
                }
            }
            let request = client.get(url);
            match other {
                Some(Credential::Password { username, password }) => {
                    request.basic_auth(username, Some(password))
                }
                _ => request,
            }
        }
    }
}

async fn fetch_token(
    request: reqwest::RequestBuilder,
    registry: &str,
    realm: &Url,
    scope: &Scope,
    credential: Option<&Sourced>,
) -> Result<(HeaderValue, Duration), Error> {
    let host = realm.host_str().unwrap_or(registry).to_owned();
    let unreachable = |error: reqwest::Error| Error::Unreachable {
        host: host.clone(),
        cause: crate::transport::innermost(&error),
    };
    let response = request.send().await.map_err(unreachable)?;
    match response.status().as_u16() {
        200..=299 => {}
        400 | 401 | 403 => return Err(unauthorized(registry, scope, credential)),
        429 => return Err(Error::RateLimited { host, retry_after: None }),
        status => {
            let url = crate::transport::redacted(realm);
            return Err(Error::Registry { method: "GET".into(), url, status, messages: Vec::new() });
        }
    }
    let body = response.bytes().await.map_err(unreachable)?;
    let answer: TokenAnswer = serde_json::from_slice(&body)
        .map_err(|_| Error::Protocol { host: host.clone(), problem: "the token is not valid JSON".into() })?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(Error::Protocol { host, problem: "the token server gave no token".into() });
    }
    let life = if answer.expires_in == 0 { DEFAULT_LIFE } else { Duration::from_secs(answer.expires_in) };
    Ok((secret_header(&format!("Bearer {token}")), life))
}

/// A header value that is never shown in debug output.
fn secret_header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

pub(crate) fn unauthorized(registry: &str, scope: &Scope, credential: Option<&Sourced>) -> Error {
    let tried = match credential {
        None => "no credentials were found".to_owned(),
        Some(Sourced { credential: Credential::Password { username, .. }, source }) => {
            format!("those of user `{username}` from {source} were refused")
        }
        Some(Sourced { source, .. }) => format!("the token from {source} was refused"),
    };
    Error::Unauthorized { host: registry.to_owned(), scope: scope.describe(), tried }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&'static str], plain: bool) -> Option<Challenge> {
        let values: Vec<HeaderValue> = values.iter().map(|value| HeaderValue::from_static(value)).collect();
        Challenge::parse(values.iter(), plain)
    }

    #[test]
    fn a_bearer_challenge_is_preferred() {
        let want = Challenge::Bearer {
            realm: "https://auth.example.com/token".parse().unwrap(),
            service: Some("r.io".into()),
        };
        let bearer = r#"Bearer realm="https://auth.example.com/token",service="r.io",scope="x""#;
        assert_eq!(parse(&[r#"Basic realm="r""#, bearer], false), Some(want));
        assert_eq!(parse(&[r#"Basic realm="r""#], false), Some(Challenge::Basic));
        assert_eq!(parse(&["Digest realm=\"r\""], false), None);
    }

    #[test]
    fn a_secure_registry_cannot_send_credentials_over_plain_http() {
        let bearer = r#"Bearer realm="http://evil.example.com/token""#;
        assert_eq!(parse(&[bearer], false), None);
        assert!(parse(&[bearer], true).is_some());
    }

    #[test]
    fn scopes_name_the_repositories_of_mounts() {
        let scope = Scope::push("a/b", &["c/d".into(), "a/b".into()]);
        assert_eq!(scope.texts(), ["repository:a/b:pull,push", "repository:c/d:pull"]);
        assert!(Scope::none().texts().is_empty());
    }
}
