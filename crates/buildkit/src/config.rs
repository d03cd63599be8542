//! The file of builders: its text, and what it says. Where it is, and who may write it, is not decided here.
//!
//! ```toml
//! current = "pool"
//!
//! [[builder.pool.node]]
//! endpoint = "tcp://arm-1.example:1234"
//! platforms = ["linux/arm64"]
//! tls = { cacert = "certs/ca.pem", cert = "certs/cert.pem", key = "certs/key.pem" }
//! ```

mod edit;

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Endpoint, Node, Pool, tls::Tls};

pub use edit::{Document, EditError};

/// The builder that is this machine's own engine. It is always there.
pub const EMBEDDED: &str = "embedded";
/// Names that begin so are kept for builders in clusters.
const RESERVED_PREFIX: &str = "kubernetes";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Configuration {
    /// The builder that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Builders by name.
    #[serde(default, rename = "builder")]
    pub builders: BTreeMap<String, Pool>,
}

/// The text is not what the file should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong.
    pub message: String,
    /// Line and column, from 1, if it is one place.
    pub place: Option<(usize, usize)>,
    /// A key that is not known, and those that are there.
    pub unknown: Option<(String, Vec<String>)>,
}

/// A builder cannot be called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Characters.
    #[error("`{0}` is no name of a builder: letters, digits, `.`, `_` and `-`, the first a letter")]
    Invalid(String),
    /// Somebody else is called so.
    #[error("the name `{0}` is reserved")]
    Reserved(String),
}

/// A daemon cannot be spoken to in this way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// TCP without certificates, and nobody said that this is meant.
    #[error("{0} would be spoken to in the clear")]
    Insecure(Endpoint),
    /// Certificates, and in the clear.
    #[error("{0} has certificates, and is to be spoken to in the clear")]
    Both(Endpoint),
    /// Certificates for what is no TCP.
    #[error("{0} needs no certificates: only tcp:// does")]
    NotTcp(Endpoint),
    /// A certificate without its key, or the other way round.
    #[error("a client's certificate and its key belong together, and {missing} is missing")]
    Half {
        /// `cert`, `key`.
        missing: &'static str,
    },
}

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// Text that is not TOML, keys that are not known, names, endpoints and platforms that are none, and certificates
    /// that do not fit the endpoint.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let configuration: Self =
            toml_edit::de::from_str(text).map_err(|error| ConfigError::of_toml(text, &error))?;
        for (name, pool) in &configuration.builders {
            check_name(name).map_err(|error| ConfigError::of(error.to_string()))?;
            for node in &pool.nodes {
                check_node(node).map_err(|error| ConfigError::of(format!("builder `{name}`: {error}")))?;
            }
        }
        Ok(configuration)
    }

    /// Paths of certificates are relative to the directory of the file.
    pub fn resolve(&mut self, directory: &Path) {
        let nodes = self.builders.values_mut().flat_map(|pool| &mut pool.nodes);
        for tls in nodes.filter_map(|node| node.tls.as_mut()) {
            let paths = [Some(&mut tls.cacert), tls.cert.as_mut(), tls.key.as_mut()];
            for path in paths.into_iter().flatten() {
                *path = directory.join(&*path);
            }
        }
    }

    /// This, and what only `below` has.
    pub fn over(mut self, below: Self) -> Self {
        for (name, pool) in below.builders {
            self.builders.entry(name).or_insert(pool);
        }
        self.current = self.current.or(below.current);
        self
    }
}

/// Whether a builder can be called so.
///
/// # Errors
/// Why it cannot.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_inner) {
        return Err(NameError::Invalid(name.to_owned()));
    }
    match name == EMBEDDED || name.starts_with(RESERVED_PREFIX) {
        true => Err(NameError::Reserved(name.to_owned())),
        false => Ok(()),
    }
}

/// Whether a daemon can be spoken to in this way. Nothing is read or connected to.
///
/// # Errors
/// Why it cannot.
pub fn check_node(node: &Node) -> Result<(), NodeError> {
    let endpoint = || node.endpoint.clone();
    match (&node.endpoint, &node.tls) {
        (Endpoint::Tcp { .. }, None) if !node.allow_insecure => Err(NodeError::Insecure(endpoint())),
        (Endpoint::Tcp { .. }, Some(_)) if node.allow_insecure => Err(NodeError::Both(endpoint())),
        (Endpoint::Unix(_) | Endpoint::Ssh { .. }, Some(_)) => Err(NodeError::NotTcp(endpoint())),
        (_, Some(Tls { cert: Some(_), key: None, .. })) => Err(NodeError::Half { missing: "key" }),
        (_, Some(Tls { cert: None, key: Some(_), .. })) => Err(NodeError::Half { missing: "cert" }),
        _ => Ok(()),
    }
}

impl ConfigError {
    fn of(message: String) -> Self {
        Self { message, place: None, unknown: None }
    }

    fn of_toml(text: &str, error: &toml_edit::de::Error) -> Self {
        let place = error.span().map(|span| {
            let before = &text[..text.floor_char_boundary(span.start)];
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        });
        Self { message: error.message().to_owned(), place, unknown: unknown_field(error.message()) }
    }
}

/// What serde says of a key that it does not know: the key, and those that it does, each in backquotes.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let mut words = quoted.map(str::to_owned);
    Some((words.next()?, words.collect()))
}

#[cfg(test)]
mod tests;
