//! Which of a build's secrets is for which host.

use std::{fmt, path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::http_url;

/// Gives the value of a secret.
type Lookup = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;

/// Secrets by their id, and the user's SSH agent. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    secrets: Arc<Lookup>,
    /// Socket of an SSH agent.
    pub ssh_agent: Option<PathBuf>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { secrets: Arc::new(|_| None), ssh_agent: None }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Credentials that ask `secrets` for the value of a secret.
    pub fn new(secrets: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { secrets: Arc::new(secrets), ssh_agent: None }
    }

    /// The value of `Authorization` for a git repository: of the secrets `GIT_AUTH_HEADER.HOST`,
    /// `GIT_AUTH_TOKEN.HOST`, `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN`, the first there is.
    pub(crate) fn for_git(&self, remote: &str) -> Option<String> {
        let host = http_url::is_http(remote).then(|| http_url::host_and_port(remote)).flatten()?;
        let scoped = |name: &str| self.text(&format!("{name}.{host}"));
        let token = |token: String| format!("basic {}", STANDARD.encode(format!("x-access-token:{token}")));
        scoped("GIT_AUTH_HEADER")
            .or_else(|| scoped("GIT_AUTH_TOKEN").map(token))
            .or_else(|| self.text("GIT_AUTH_HEADER"))
            .or_else(|| self.text("GIT_AUTH_TOKEN").map(token))
    }

    /// The value of `Authorization` for a download: the secret `HTTP_AUTH_TOKEN_HOST` or
    /// `HTTP_AUTH_HEADER_HOST`.
    pub(crate) fn for_http(&self, url: &str) -> Option<String> {
        let host = http_url::host(url)?;
        let token = self.text(&format!("HTTP_AUTH_TOKEN_{host}")).map(|token| format!("Bearer {token}"));
        token.or_else(|| self.text(&format!("HTTP_AUTH_HEADER_{host}")))
    }

    /// A secret that can be in a header. Files end with a line break more often than tokens do.
    fn text(&self, name: &str) -> Option<String> {
        let text = String::from_utf8((self.secrets)(name)?).ok()?;
        let text = text.trim_end_matches(['\r', '\n']);
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(secrets: &'static [(&'static str, &'static str)]) -> Credentials {
        Credentials::new(|name| {
            let (_, value) = secrets.iter().find(|(known, _)| *known == name)?;
            Some(value.as_bytes().to_vec())
        })
    }

    #[test]
    fn the_secret_of_a_host_wins() {
        let url = "https://example.com:8443/a.git";
        let all = [
            ("GIT_AUTH_HEADER.example.com:8443", "1"),
            ("GIT_AUTH_TOKEN.example.com:8443", "2"),
            ("GIT_AUTH_HEADER", "3"),
            ("GIT_AUTH_TOKEN", "4\n"),
        ];
        let basic = |token| Some(format!("basic {}", STANDARD.encode(format!("x-access-token:{token}"))));
        let expected = [Some("1".to_owned()), basic(2), Some("3".to_owned()), basic(4), None];
        for (from, expected) in expected.into_iter().enumerate() {
            let credentials = Credentials::new(move |name| {
                let (_, value) = all[from..].iter().find(|(known, _)| *known == name)?;
                Some(value.as_bytes().to_vec())
            });
            assert_eq!(credentials.for_git(url), expected);
            // Nothing of it is for another host's secret, or for a connection without a header.
            assert_eq!(credentials.for_git("git@example.com:a"), None);
        }
    }

    #[test]
    fn downloads_have_secrets_of_their_own() {
        let secrets = with(&[("HTTP_AUTH_TOKEN_a.example", "x"), ("HTTP_AUTH_HEADER_b.example", "Basic y")]);
        assert_eq!(secrets.for_http("https://a.example:1/f").as_deref(), Some("Bearer x"));
        assert_eq!(secrets.for_http("https://b.example/f").as_deref(), Some("Basic y"));
        assert_eq!(secrets.for_http("https://c.example/f"), None);
    }

    #[test]
    fn a_secret_cannot_add_a_header() {
        let secrets = with(&[("GIT_AUTH_HEADER", "a\r\nHost: b")]);
        assert_eq!(secrets.for_git("https://example.com/a.git"), None);
    }
}
