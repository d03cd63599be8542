//! The `Authorization` of requests: Basic, and Bearer tokens as distribution's token servers give them
//! (distribution "token" and "oauth2" specifications).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use reqwest::{Response, Url, header::HeaderValue};
use serde::Deserialize;

use crate::{
    Error,
    auth::{Challenge, Scope, unauthorized},
    credentials::{Credential, Sourced},
    exchange::{self, Exchange},
};

/// Life of a token whose server does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// No token is kept for longer, whatever its server says.
const MAX_LIFE: Duration = Duration::from_secs(60 * 60);
/// A token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(10);
/// A longer answer of a token server is none.
const MAX_ANSWER: u64 = 1 << 20;
/// Name we give to OAuth2 servers.
const CLIENT_ID: &str = "archway";

/// Headers that were good, by registry and scope.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<(String, Scope), Slot>>);

/// Held while a token is fetched: whoever else needs it waits, and finds it.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// A header, never shown in debug output, and how long it may be used.
pub(crate) struct Token {
    header: HeaderValue,
    until: Instant,
}

impl Tokens {
    /// A header for this scope that is still good.
    pub(crate) async fn get(&self, registry: &str, scope: &Scope) -> Option<HeaderValue> {
        if let Some(wider) = scope.wider()
            && let Some(slot) = self.known(registry, &wider)
            && let Some(header) = Token::header(&*slot.lock().await)
        {
            return Some(header);
        }
        Token::header(&*self.known(registry, scope)?.lock().await)
    }

    /// A header for this scope that is not `refused`: one that another request got in the meantime,
    /// else the one that `fetch` gets.
    pub(crate) async fn renew(
        &self,
        registry: &str,
        scope: &Scope,
        refused: Option<&HeaderValue>,
        fetch: impl Future<Output = Result<Token, Error>>,
    ) -> Result<HeaderValue, Error> {
        let slot = self.slots().entry((registry.to_owned(), scope.clone())).or_default().clone();
        let mut token = slot.lock().await;
        if let Some(header) = Token::header(&token)
            && Some(&header) != refused
        {
            return Ok(header);
        }
        *token = None;
        let fetched = fetch.await?;
        Ok(token.insert(fetched).header.clone())
    }

    /// Forgets a header that a registry refused, if it is still the known one for this scope or for the
    /// wider one.
    pub(crate) async fn forget(&self, registry: &str, scope: &Scope, refused: &HeaderValue) {
        for scope in scope.wider().iter().chain([scope]) {
            let Some(slot) = self.known(registry, scope) else { continue };
            slot.lock().await.take_if(|token| token.header == refused);
        }
    }

    fn known(&self, registry: &str, scope: &Scope) -> Option<Slot> {
        self.slots().get(&(registry.to_owned(), scope.clone())).cloned()
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Scope), Slot>> {
        self.0.lock().expect("no holder panics")
    }
}

impl Token {
    /// Answers a challenge. `client` is for the token server.
    pub(crate) async fn fetch(
        exchange: Exchange<'_>,
        client: &reqwest::Client,
        registry: &str,
        scope: &Scope,
        challenge: &Challenge,
        credential: Option<&Sourced>,
    ) -> Result<Self, Error> {
        let refused = || unauthorized(registry, scope, credential);
        match challenge {
            Challenge::Basic => {
                let Some(Credential::Password { username, password }) =
                    credential.map(|sourced| &sourced.credential)
                else {
                    return Err(refused());
                };
                let pair = STANDARD.encode(format!("{username}:{password}"));
                Self::new(registry, &format!("Basic {pair}"), MAX_LIFE)
            }
            Challenge::Bearer { realm, service } => {
                let (scopes, service) = (scope.texts(), service.as_deref());
                let question = Question { realm, service, scopes: &scopes };
                let bearer = question.ask(exchange, client, credential).await?.ok_or_else(refused)?;
                Self::new(&exchange::authority(realm), &format!("Bearer {}", bearer.token), bearer.life)
            }
        }
    }

    fn new(host: &str, text: &str, life: Duration) -> Result<Self, Error> {
        let mut header = HeaderValue::from_str(text)
            .map_err(|_| exchange::protocol(host, "the token has characters that no header may have"))?;
        header.set_sensitive(true);
        // A token that lives only for a moment is used for half of it.
        let margin = MARGIN.min(life / 2);
        Ok(Self { header, until: Instant::now() + (life - margin) })
    }

    /// The header, for a single use.
    pub(crate) fn into_header(self) -> HeaderValue {
        self.header
    }

    fn header(token: &Option<Self>) -> Option<HeaderValue> {
        token.as_ref().filter(|token| token.until > Instant::now()).map(|token| token.header.clone())
    }
}

/// A token as its server gave it. It is a secret, which is not shown.
pub struct Bearer {
    /// The token, without `Bearer`.
    pub token: String,
    /// How long it may be used from when it was issued; at most an hour.
    pub life: Duration,
    /// When it was issued, if its server says so; else now.
    pub issued_at: Option<Timestamp>,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("life", &self.life).finish_non_exhaustive()
    }
}

/// What a token server is asked.
pub(crate) struct Question<'a> {
    pub(crate) realm: &'a Url,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a [String],
}

impl Question<'_> {
    /// Asks; `None` if the server does not take the credential, or not for this.
    pub(crate) async fn ask(
        &self,
        exchange: Exchange<'_>,
        client: &reqwest::Client,
        credential: Option<&Sourced>,
    ) -> Result<Option<Bearer>, Error> {
        let host = exchange::authority(self.realm);
        let request = self.request(client, credential.map(|sourced| &sourced.credential));
        let response = exchange.send(request, &host).await?;
        match response.status().as_u16() {
            200..=299 => Bearer::read(exchange, response, &host).await.map(Some),
            400 | 401 | 403 => Ok(None),
            _ => Err(exchange.failure("GET", &host, response).await),
        }
    }

    fn request(&self, client: &reqwest::Client, credential: Option<&Credential>) -> reqwest::RequestBuilder {
        if let Some(Credential::IdentityToken(token)) = credential {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", token)
                .append_pair("client_id", CLIENT_ID)
                .append_pair("scope", &self.scopes.join(" "));
            if let Some(service) = self.service {
                form.append_pair("service", service);
            }
            return client
                .post(self.realm.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.finish());
        }
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes {
                query.append_pair("scope", scope);
            }
        }
        let request = client.get(url);
        match credential {
            Some(Credential::Password { username, password }) => request.basic_auth(username, Some(password)),
            _ => request,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    issued_at: Option<String>,
}

impl Bearer {
    async fn read(exchange: Exchange<'_>, response: Response, host: &str) -> Result<Self, Error> {
        let body = exchange.read_all(response, host, "the token", MAX_ANSWER).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| exchange::protocol(host, "the token is not valid JSON"))?;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = token.ok_or_else(|| exchange::protocol(host, "the token server gave no token"))?;
        let life = match answer.expires_in {
            None | Some(0) => DEFAULT_LIFE,
            Some(seconds) => Duration::from_secs(seconds).min(MAX_LIFE),
        };
        let issued_at = answer.issued_at.and_then(|time| time.parse().ok());
        Ok(Self { token, life, issued_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, life: Duration) -> Token {
        Token::new("r.io", text, life).unwrap()
    }

    #[tokio::test]
    async fn parallel_requests_fetch_one_token() {
        let (tokens, scope) = (Tokens::default(), Scope::pull("app"));
        let fetched = std::sync::atomic::AtomicUsize::new(0);
        let one = || {
            tokens.renew("r.io", &scope, None, async {
                fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(token("Bearer x", DEFAULT_LIFE))
            })
        };
        let (left, right, third) = tokio::join!(one(), one(), one());
        assert_eq!((left.unwrap(), right.unwrap()), (third.unwrap(), "Bearer x".parse().unwrap()));
        assert_eq!(fetched.into_inner(), 1);
    }

    #[tokio::test]
    async fn only_the_refused_token_is_renewed() {
        let (tokens, scope) = (Tokens::default(), Scope::pull("app"));
        let renew = async |refused: Option<&HeaderValue>, text: &str| {
            let fetch = async { Ok(token(text, DEFAULT_LIFE)) };
            tokens.renew("r.io", &scope, refused, fetch).await.unwrap()
        };
        let first = renew(None, "Bearer 1").await;
        assert_eq!(renew(Some(&first), "Bearer 2").await, "Bearer 2");
        // A slower request was refused with the first token, too: the second is good for it.
        assert_eq!(renew(Some(&first), "Bearer 3").await, "Bearer 2");
        tokens.forget("r.io", &scope, &first).await;
        assert_eq!(tokens.get("r.io", &scope).await.unwrap(), "Bearer 2");
    }

    #[tokio::test]
    async fn a_token_for_pushing_is_good_for_pulling_and_for_nothing_else() {
        let tokens = Tokens::default();
        let fetch = async { Ok(token("Bearer push", DEFAULT_LIFE)) };
        tokens.renew("r.io", &Scope::push("app", &[]), None, fetch).await.unwrap();
        assert_eq!(tokens.get("r.io", &Scope::pull("app")).await.unwrap(), "Bearer push");
        assert!(tokens.get("r.io", &Scope::pull("other")).await.is_none());
        assert!(tokens.get("other.io", &Scope::pull("app")).await.is_none());
        assert!(tokens.get("r.io", &Scope::push("app", &["base".into()])).await.is_none());
    }

    #[test]
    fn a_header_that_is_no_header_is_an_error_and_not_an_empty_header() {
        let error = Token::new("r.io", "Bearer a\nb", DEFAULT_LIFE).err().unwrap();
        assert!(matches!(error, Error::Protocol { .. }) && !error.to_string().contains("a\nb"), "{error}");
    }
}
