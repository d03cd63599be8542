//! One request and its answer on the wire: silence is noticed, sizes are bounded, errors are named.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Response, StatusCode, Url,
    header::{HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;

use crate::{ClientOptions, Error, RegistryMessage, request::Payload};

/// An error document is read up to here.
const MAX_ERROR_BODY: usize = 64 << 10;
/// So many of its messages are kept,
const MAX_MESSAGES: usize = 5;
/// and of each of their texts so many characters: more is not for people.
const MAX_MESSAGE: usize = 300;

/// How to talk to any server. The HTTP client's own timeouts do not fit: they also run while a body
/// goes out, and would break every upload over a slow line.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    silence: &'a Duration,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(options: &'a ClientOptions) -> Self {
        Self { silence: &options.silence }
    }

    /// Sends a request without a large body.
    pub(crate) async fn send(self, request: reqwest::RequestBuilder, host: &str) -> Result<Response, Error> {
        self.send_with(request, &Payload::Empty, host).await
    }

    /// Sends a request with its body. It fails when neither a part of the body nor an answer moves.
    pub(crate) async fn send_with(
        self,
        request: reqwest::RequestBuilder,
        body: &Payload,
        host: &str,
    ) -> Result<Response, Error> {
        let moves = Arc::new(AtomicU64::new(0));
        let counter = moves.clone();
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let request = body.attach(request, count);
        let mut answer = pin!(request.send());
        loop {
            let before = moves.load(Ordering::Relaxed);
            match tokio::time::timeout(*self.silence, &mut answer).await {
                Ok(answer) => return answer.map_err(|error| broken(host, error)),
                Err(_) if moves.load(Ordering::Relaxed) != before => {}
                Err(_) => return Err(self.silent(host)),
            }
        }
    }

    /// The next piece of an answer.
    pub(crate) async fn chunk(self, response: &mut Response, host: &str) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(*self.silence, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| broken(host, error)),
            Err(_) => Err(self.silent(host)),
        }
    }

    /// An answer of at most `limit` bytes; `what` names it in errors.
    pub(crate) async fn read_all(
        self,
        mut response: Response,
        host: &str,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, host).await? {
            let size = (bytes.len() + chunk.len()) as u64;
            if size > limit {
                return Err(Error::SizeMismatch { what: what.to_owned(), expected: limit, actual: size });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// What an answer without success means, where the status has no meaning of its own.
    pub(crate) async fn failure(self, method: &str, host: &str, response: Response) -> Error {
        let status = response.status();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| wait(value, SystemTime::now()));
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Error::RateLimited { host: host.to_owned(), retry_after };
        }
        let url = redacted(response.url());
        let messages = self.messages(response).await;
        Error::Registry { method: method.to_owned(), url, status: status.as_u16(), messages, retry_after }
    }

    /// The registry's error document, if there is one.
    pub(crate) async fn messages(self, mut response: Response) -> Vec<RegistryMessage> {
        #[derive(Deserialize)]
        struct Errors {
            #[serde(default)]
            errors: Vec<RegistryMessage>,
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.chunk(&mut response, "").await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ERROR_BODY {
                return Vec::new();
            }
        }
        let mut messages = serde_json::from_slice::<Errors>(&body).map(|all| all.errors).unwrap_or_default();
        messages.truncate(MAX_MESSAGES);
        for RegistryMessage { code, message } in &mut messages {
            shorten(code);
            shorten(message);
        }
        messages
    }

    pub(crate) fn silent(self, host: &str) -> Error {
        let cause = format!("no answer for {} s", self.silence.as_secs());
        Error::Unreachable { host: host.to_owned(), cause }
    }
}

/// Keeps the first [`MAX_MESSAGE`] characters.
fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn wait(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

/// `host[:port]` of a URL.
pub(crate) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
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

/// A connection that could not be made, or that broke.
pub(crate) fn broken(host: &str, error: reqwest::Error) -> Error {
    // The query of its URL may hold a signature.
    Error::Unreachable { host: host.to_owned(), cause: innermost(&error.without_url()) }
}

/// The innermost error: "Connection refused" says more than "error sending request".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

pub(crate) fn protocol(host: &str, problem: &str) -> Error {
    Error::Protocol { host: host.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        let url: Url = "https://user:pass@host.example.com/blob?X-Signature=secret#f".parse().unwrap();
        assert_eq!(redacted(&url), "https://host.example.com/blob");
    }

    #[test]
    fn a_registry_may_ask_for_seconds_or_name_a_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_440);
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(40)),
            ("Wed, 21 Oct 2015 07:20:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let value = HeaderValue::from_static(text);
            assert_eq!(wait(&value, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
