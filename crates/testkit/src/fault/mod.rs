//! A proxy in front of a real registry that fails as a script says.
//!
//! A script is a list of rules: *when a request matches, and it is the n-th that does, this happens
//! to it*. What no rule touches goes through unchanged, so everything else of an exchange is the
//! registry's own. Rules count, and do not look at a clock: the same requests meet the same faults.
//!
//! | module | holds |
//! |---|---|
//! | this | rules: which request, when, and what happens to it |
//! | `proxy` | the server |
//! | `traffic` | what it saw, what is under way, what it holds |
//! | `tokens` | Bearer tokens that can be made to expire |

mod proxy;
mod tokens;
mod traffic;

use std::{net::SocketAddr, time::Duration};

pub use proxy::{FaultProxy, Seen};

use crate::Random;

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is passed on after this time.
    Delay(Duration),
    /// The registry never sees it; this is the answer.
    Answer {
        /// `429` and the like.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// The registry never sees it; the connection is reset.
    Reset,
    /// The registry has done it; the connection is reset in place of the answer.
    LoseAnswer,
    /// The connection is reset after so many bytes of the answer's body.
    CutAnswer(usize),
    /// One bit in the middle of the answer's body is flipped.
    Corrupt,
    /// A header that the answer has, its name in lower case, has this value instead.
    Header(&'static str, String),
    /// The registry gets so many bytes of the request's body; then both connections break.
    CutUpload(u64),
    /// All tokens given so far are no longer valid, also that of this request.
    ExpireTokens,
    /// `307` to the same path of another server.
    Redirect(SocketAddr),
    /// The registry does not see it before [`FaultProxy::end_hold`].
    HoldRequest,
    /// The registry has done it; its answer waits for [`FaultProxy::end_hold`].
    HoldAnswer,
}

/// What becomes of a request that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It goes on as if nothing had been.
    PassedOn,
    /// Its connection is reset.
    Dropped,
}

/// When a rule strikes.
#[derive(Debug, Clone)]
pub enum When {
    /// At the n-th request that matches, counted from 1.
    Nth(usize),
    /// At each of them.
    Every,
    /// At each with a chance of one in so many, which a seed decides.
    OneIn(u64, Random),
}

/// Which requests meet a fault, and when.
#[derive(Debug, Clone)]
pub struct Rule {
    method: String,
    path: String,
    when: When,
    fault: Fault,
    matched: usize,
}

impl Rule {
    /// For requests with this method and path, which includes the query. `*` stands for anything.
    pub fn on(method: &str, path: &str, when: When, fault: Fault) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), when, fault, matched: 0 }
    }

    /// What happens to this request, which is counted.
    fn strikes(&mut self, method: &str, path: &str) -> Option<Fault> {
        if !(matches(&self.method, method) && matches(&self.path, path)) {
            return None;
        }
        self.matched += 1;
        let strikes = match &mut self.when {
            When::Nth(number) => self.matched == *number,
            When::Every => true,
            When::OneIn(chance, random) => random.below(*chance) == 0,
        };
        strikes.then(|| self.fault.clone())
    }
}

/// Whether `text` is what `pattern` says; `*` stands for anything, also nothing.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter_map(|at| text.get(at..)).any(|text| matches(rest, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("*", "GET", true),
            ("PUT", "PUT", true),
            ("PUT", "PUTS", false),
            ("*/manifests/*", "/v2/app/manifests/1", true),
            ("*/manifests/1", "/v2/app/manifests/10", false),
            ("*/blobs/*?digest=*", "/v2/app/blobs/uploads/x?digest=y", true),
            ("*/blobs/*?digest=*", "/v2/app/blobs/uploads/x?state=y", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn only_what_matches_is_counted() {
        let mut rule = Rule::on("GET", "*/blobs/*", When::Nth(2), Fault::Reset);
        let mut strikes = |method, path| rule.strikes(method, path).is_some();
        assert!(!strikes("GET", "/v2/app/blobs/1"));
        assert!(!strikes("HEAD", "/v2/app/blobs/1"));
        assert!(!strikes("GET", "/v2/app/manifests/1"));
        assert!(strikes("GET", "/v2/app/blobs/1"));
        assert!(!strikes("GET", "/v2/app/blobs/1"));
    }
}
