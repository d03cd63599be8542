//! What a registry asks for (challenges, RFC 9110, 11.6.1) and what we are going to do (scopes).

use reqwest::{Url, header::HeaderValue};

use crate::{
    Error,
    credentials::{Credential, Sourced},
    host,
};

/// What a request is going to do, for token servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) push: bool,
    pub(crate) delete: bool,
    /// Repositories that blobs are mounted from.
    pub(crate) mount_from: Vec<String>,
}

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), push: false, delete: false, mount_from: Vec::new() }
    }

    pub(crate) fn push(repository: &str, mount_from: &[String]) -> Self {
        let mount_from = mount_from.to_vec();
        Self { repository: repository.to_owned(), push: true, delete: false, mount_from }
    }

    pub(crate) fn delete(repository: &str) -> Self {
        Self { delete: true, ..Self::push(repository, &[]) }
    }

    /// No repository: only a login.
    pub(crate) fn none() -> Self {
        Self::pull("")
    }

    /// The wider scope whose token is good for this one, too.
    pub(crate) fn wider(&self) -> Option<Self> {
        (!self.push && !self.repository.is_empty()).then(|| Self::push(&self.repository, &[]))
    }

    /// As token servers spell it (distribution "token" specification).
    pub(crate) fn texts(&self) -> Vec<String> {
        if self.repository.is_empty() {
            return Vec::new();
        }
        let actions = match (self.push, self.delete) {
            (_, true) => "pull,push,delete",
            (true, false) => "pull,push",
            (false, false) => "pull",
        };
        let own = format!("repository:{}:{actions}", self.repository);
        let others = self.mount_from.iter().filter(|from| **from != self.repository);
        [own].into_iter().chain(others.map(|from| format!("repository:{from}:pull"))).collect()
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match (self.repository.as_str(), self.push) {
            ("", _) => "the registry".to_owned(),
            (repository, _) if self.delete => format!("deleting from {repository}"),
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
    /// The strongest challenge we can meet in the `WWW-Authenticate` values of an answer of `registry`.
    pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a HeaderValue>, registry: &Url) -> Option<Self> {
        let challenges: Vec<_> = values
            .filter_map(|value| http_auth::parse_challenges(value.to_str().ok()?).ok())
            .flatten()
            .collect();
        let bearer = challenges.iter().filter(|challenge| is_bearer(challenge));
        let basic = challenges.iter().any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic"));
        bearer
            .filter_map(|challenge| Self::bearer(challenge, registry))
            .next()
            .or_else(|| basic.then_some(Self::Basic))
    }

    fn bearer(challenge: &http_auth::ChallengeRef<'_>, registry: &Url) -> Option<Self> {
        let realm = realm(challenge).filter(|realm| may_hold_secrets(realm, registry))?;
        Some(Self::Bearer { realm, service: parameter(challenge, "service") })
    }
}

/// The token server that an answer of `registry` names although credentials may not go there.
pub(crate) fn refused_realm<'a>(
    values: impl Iterator<Item = &'a HeaderValue>,
    registry: &Url,
) -> Option<Url> {
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let challenges = texts.iter().filter_map(|text| http_auth::parse_challenges(text).ok()).flatten();
    let mut realms = challenges.filter(is_bearer).filter_map(|challenge| realm(&challenge));
    realms.rfind(|realm| !may_hold_secrets(realm, registry))
}

fn is_bearer(challenge: &http_auth::ChallengeRef<'_>) -> bool {
    challenge.scheme.eq_ignore_ascii_case("bearer")
}

fn parameter(challenge: &http_auth::ChallengeRef<'_>, name: &str) -> Option<String> {
    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_unescaped())
}

fn realm(challenge: &http_auth::ChallengeRef<'_>) -> Option<Url> {
    parameter(challenge, "realm")?.parse().ok()
}

/// Whether credentials may go to a token server that a registry names: over TLS, or, if the registry
/// itself speaks plain HTTP, to the same machine or to this one.
pub(crate) fn may_hold_secrets(realm: &Url, registry: &Url) -> bool {
    match (realm.scheme(), registry.scheme()) {
        ("https", _) => true,
        ("http", "http") => {
            realm.host_str() == registry.host_str() || realm.host_str().is_some_and(host::is_loopback)
        }
        _ => false,
    }
}

pub(crate) fn unauthorized(registry: &str, scope: &Scope, credential: Option<&Sourced>) -> Error {
    refused(registry, scope.describe(), credential)
}

/// Like [`unauthorized`], for what is not one of our scopes.
pub(crate) fn refused(registry: &str, scope: String, credential: Option<&Sourced>) -> Error {
    let tried = match credential {
        None => "no credentials were found".to_owned(),
        Some(Sourced { credential: Credential::Password { username, .. }, source }) => {
            format!("those of user `{username}` from {source} were refused")
        }
        Some(Sourced { source, .. }) => format!("the token from {source} was refused"),
    };
    Error::Unauthorized { host: registry.to_owned(), scope, tried }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_from(registry: &str, values: &[&'static str]) -> Option<Challenge> {
        let values: Vec<HeaderValue> = values.iter().map(|value| HeaderValue::from_static(value)).collect();
        Challenge::parse(values.iter(), &registry.parse().unwrap())
    }

    fn parse(values: &[&'static str]) -> Option<Challenge> {
        parse_from("https://r.io/v2/", values)
    }

    #[test]
    fn a_bearer_challenge_is_preferred() {
        let want = Challenge::Bearer {
            realm: "https://auth.example.com/token".parse().unwrap(),
            service: Some("r.io".into()),
        };
        let bearer = r#"Bearer realm="https://auth.example.com/token",service="r.io",scope="x""#;
        assert_eq!(parse(&[r#"Basic realm="r""#, bearer]), Some(want));
        assert_eq!(parse(&[r#"Basic realm="r""#]), Some(Challenge::Basic));
        assert_eq!(parse(&["Digest realm=\"r\""]), None);
        assert_eq!(parse(&["Bearer service=\"r.io\"", r#"Basic realm="r""#]), Some(Challenge::Basic));
        let values =
            [HeaderValue::from_bytes(b"\xff").unwrap(), HeaderValue::from_static(r#"Basic realm="r""#)];
        assert_eq!(Challenge::parse(values.iter(), &"https://r.io".parse().unwrap()), Some(Challenge::Basic));
    }

    #[test]
    fn credentials_do_not_go_over_plain_http_to_another_machine() {
        let elsewhere = r#"Bearer realm="http://evil.example.com/token""#;
        let here = r#"Bearer realm="http://127.0.0.1:5001/token""#;
        for (registry, bearer, allowed) in [
            ("https://r.io/v2/", elsewhere, false),
            ("https://r.io/v2/", here, false),
            ("http://localhost:5000/v2/", elsewhere, false),
            ("http://localhost:5000/v2/", here, true),
            ("http://evil.example.com:5000/v2/", elsewhere, true),
        ] {
            assert_eq!(parse_from(registry, &[bearer]).is_some(), allowed, "{registry} {bearer}");
        }
    }

    #[test]
    fn scopes_name_the_repositories_of_mounts() {
        let scope = Scope::push("a/b", &["c/d".into(), "a/b".into()]);
        assert_eq!(scope.texts(), ["repository:a/b:pull,push", "repository:c/d:pull"]);
        assert_eq!(Scope::delete("a/b").texts(), ["repository:a/b:pull,push,delete"]);
        assert!(Scope::none().texts().is_empty());
    }
}
