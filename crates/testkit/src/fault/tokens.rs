//! Bearer tokens that can be made to expire, and the server that gives them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::web::Request;

/// Where tokens are given, at the proxy itself.
pub(super) const PATH: &str = "/token";

/// The tokens of one proxy. A token says of which generation it is; the newest one is valid.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    generation: AtomicUsize,
}

impl Tokens {
    /// The answer to a request for a token.
    pub(super) fn give(&self) -> String {
        format!(r#"{{"token": "{}", "expires_in": 300}}"#, self.valid())
    }

    /// Whether a request has a token that is valid now.
    pub(super) fn admits(&self, request: &Request) -> bool {
        request.header("authorization") == Some(&format!("Bearer {}", self.valid()))
    }

    /// Ends all tokens given so far.
    pub(super) fn expire(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn valid(&self) -> String {
        format!("generation-{}", self.generation.load(Ordering::SeqCst))
    }
}

/// `WWW-Authenticate` for the proxy at `host`.
pub(super) fn challenge(host: &str) -> String {
    format!(r#"Bearer realm="http://{host}{PATH}",service="archway-testkit""#)
}
