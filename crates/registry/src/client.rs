//! What callers use.

use std::{path::PathBuf, sync::Arc, time::Duration};

use archway_oci::Reference;

use crate::{
    Error, GrowingBlob,
    credentials::{Credential, Keychain, Sourced},
    transport::Transport,
};

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where credentials come from.
    pub credentials: Keychain,
    /// Registry hosts (with port) for which plain HTTP and unverified TLS are allowed.
    pub insecure: Vec<String>,
    /// PEM files with further certificate authorities.
    pub ca_files: Vec<PathBuf>,
    /// Name given to registries.
    pub user_agent: String,
    /// How often a request is repeated after a temporary error.
    pub retries: usize,
    /// Wait before the first repetition; it grows from there.
    pub retry_delay: Duration,
    /// Larger blobs are uploaded in chunks of this many bytes, so that a registry that forgets what a
    /// broken request brought loses at most one.
    pub upload_chunk: u64,
    /// Blobs that are still being written are uploaded in chunks of multiples of this many bytes.
    pub growing_chunk: u64,
    /// Time without a single byte, in either direction, after which a connection counts as broken.
    pub silence: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            credentials: Keychain::default(),
            insecure: Vec::new(),
            ca_files: Vec::new(),
            user_agent: concat!("archway/", env!("CARGO_PKG_VERSION")).to_owned(),
            retries: 5,
            retry_delay: Duration::from_millis(200),
            upload_chunk: 64 << 20,
            growing_chunk: GrowingBlob::WORTHWHILE,
            silence: Duration::from_secs(120),
        }
    }
}

/// A client for any number of registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Whether plain HTTP and unverified TLS are allowed for a registry.
    pub fn is_insecure(&self, registry: &str) -> bool {
        self.transport.is_insecure(registry)
    }

    /// A client. Nothing is read or sent yet.
    pub fn new(options: ClientOptions) -> Self {
        Self { transport: Arc::new(Transport::new(options)) }
    }

    /// Whether the registry takes this credential.
    pub async fn check_login(&self, registry: &str, credential: &Credential) -> Result<(), Error> {
        let sourced = Sourced { credential: credential.clone(), source: "the command line".into() };
        self.transport.check_login(registry, &sourced).await
    }
}

/// `repository/manifests/…` below `/v2/`.
pub(crate) fn path(reference: &Reference, kind: &str, name: &str) -> String {
    format!("{}/{kind}/{name}", reference.repository)
}
