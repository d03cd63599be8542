//! Certificates as Secrets of Kubernetes.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Bundle, Leaf};

/// Longest name of an object of Kubernetes, less the longest suffix that is added here.
const MAX_NAME: usize = 253 - "-server".len();

/// What Secrets are called: `[NAMESPACE/]NAME` makes `NAME-server` and `NAME-client`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName {
    /// Namespace; `None`: whichever is current where they are applied.
    pub namespace: Option<String>,
    /// The name, without suffix.
    pub name: String,
}

impl Default for SecretName {
    /// What the rendered pool of daemons looks for.
    fn default() -> Self {
        Self { namespace: None, name: "buildkitd".to_owned() }
    }
}

/// A text is not the name of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not [NAMESPACE/]NAME of lower case letters, digits and `-`")]
pub struct SecretNameError(String);

impl FromStr for SecretName {
    type Err = SecretNameError;

    fn from_str(text: &str) -> Result<Self, SecretNameError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let is_name = |name: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !name.is_empty()
                && name.len() <= MAX_NAME
                && name.chars().all(inner)
                && !name.starts_with('-')
                && !name.ends_with('-')
        };
        match is_name(name) && namespace.is_none_or(is_name) {
            true => Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() }),
            false => Err(SecretNameError(text.to_owned())),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A `List` of two Secrets, with the keys `ca.pem`, `cert.pem`, `key.pem`. The authority's key is in none of them.
pub fn secrets(bundle: &Bundle, name: &SecretName) -> Value {
    let secret = |suffix: &str, leaf: &Leaf| {
        let mut metadata = json!({ "name": format!("{}-{suffix}", name.name) });
        if let Some(namespace) = &name.namespace {
            metadata["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {
                "ca.pem": BASE64_STANDARD.encode(bundle.trusted()),
                "cert.pem": BASE64_STANDARD.encode(bundle.chain(leaf)),
                "key.pem": BASE64_STANDARD.encode(&leaf.key),
            },
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [secret("server", &bundle.server), secret("client", &bundle.client)],
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::certs::{Order, VALIDITY};

    #[test]
    fn secrets_hold_what_the_directory_holds_but_the_authoritys_key() {
        let order = Order { server: vec!["b.example".parse().unwrap()], client: None, validity: VALIDITY };
        let bundle = Bundle::new(&order, SystemTime::now()).unwrap();
        let list = secrets(&bundle, &"builds/pool".parse().unwrap());
        for (item, name, leaf) in [(0, "pool-server", &bundle.server), (1, "pool-client", &bundle.client)] {
            let secret = &list["items"][item];
            assert_eq!(
                (&secret["metadata"]["name"], &secret["metadata"]["namespace"]),
                (&json!(name), &json!("builds"))
            );
            let value = |key: &str| {
                let bytes = BASE64_STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
                String::from_utf8(bytes).unwrap()
            };
            assert_eq!(value("ca.pem"), bundle.trusted());
            assert_eq!(value("cert.pem"), bundle.chain(leaf));
            assert_eq!(value("key.pem"), leaf.key);
            assert_eq!(secret["data"].as_object().unwrap().len(), 3);
        }
        let unnamed = secrets(&bundle, &SecretName::default());
        assert_eq!(unnamed["items"][0]["metadata"], json!({ "name": "buildkitd-server" }));
    }

    #[test]
    fn names_of_secrets_are_those_of_kubernetes() {
        assert_eq!("a/b-1".parse::<SecretName>().unwrap().to_string(), "a/b-1");
        for text in ["", "/b", "a/", "A", "a/b/c", "-a", "a_b"] {
            assert!(text.parse::<SecretName>().is_err(), "{text}");
        }
    }
}
