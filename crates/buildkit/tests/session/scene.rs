//! A daemon, Dockerfiles for it, and registries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU32},
};

use archway_buildkit::{Daemon, Lent, Node, Solve, SolveError, Solved, solve::Entry};
use archway_oci::Platform;
use archway_registry::{Client, ClientOptions, Keychain};
use archway_report::{Event, Events};
use archway_testkit::{
    BaseImages, Buildkit, RealRegistry,
    bases::{Architecture, Base},
    buildkit::Options,
    registry::USER,
    tools,
    web::{Response, WebServer},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A daemon, and an open registry with busybox.
pub(crate) struct Scene {
    pub(crate) buildkit: Buildkit,
    pub(crate) open: RealRegistry,
}

/// How a build went.
pub(crate) struct Built {
    pub(crate) result: Result<Solved, SolveError>,
    pub(crate) events: Vec<Event>,
}

impl Scene {
    /// `None` where the test is to be skipped. The daemon knows the `registries`, too.
    pub(crate) fn start(registries: &[&RealRegistry], options: Options) -> Option<Self> {
        if !tools::require_each(&["docker-registry", "openssl", "skopeo"]) {
            return None;
        }
        let open = RealRegistry::start().unwrap();
        let known = registries.iter().map(|registry| registry.host()).chain([open.host()]).collect();
        let buildkit = Buildkit::required(&Options { registries: known, ..options })?;
        BaseImages::open().unwrap().push(Base::Busybox, &open.host()).unwrap();
        Some(Self { buildkit, open })
    }

    /// `FROM` the open registry's busybox.
    pub(crate) fn from(&self) -> String {
        format!("FROM {}\n", self.open.reference("busybox"))
    }

    /// The daemon at its Unix socket.
    pub(crate) async fn daemon(&self) -> Daemon {
        Daemon::connect(&node(&format!("unix://{}", self.buildkit.socket().display()))).await.unwrap()
    }
}

/// A node without certificates.
pub(crate) fn node(endpoint: &str) -> Node {
    let endpoint = endpoint.parse().unwrap();
    Node { endpoint, platforms: Vec::new(), tls: None, allow_insecure: false }
}

/// Builds a Dockerfile for this machine's platform.
pub(crate) async fn build(daemon: &Daemon, dockerfile: &str, exports: Vec<Entry>, lent: Lent) -> Built {
    let text = dockerfile.to_owned();
    let web = WebServer::start(move |_| Response::new(200, text.clone())).unwrap();
    let platform: Platform = Architecture::host().unwrap().platform();
    let frontend = BTreeMap::from([
        ("context".to_owned(), web.url("/Dockerfile")),
        ("platform".to_owned(), platform.to_string()),
        ("no-cache".to_owned(), String::new()),
    ]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    let events = Events::new(move |event| sink.lock().unwrap().push(event));
    let steps = archway_buildkit::solve::Steps::new(Arc::new(AtomicU32::new(0)), platform);
    let solve = Solve { frontend, exports, ..Solve::default() };
    let result = daemon.solve(solve, lent, "test", &steps, &events, &CancellationToken::new()).await;
    let events = told.lock().unwrap().clone();
    Built { result, events }
}

/// Pushes the image as `reference`, uncompressed, so that its content can be found in the registry's storage.
pub(crate) fn push(reference: &str) -> Vec<Entry> {
    let attributes = [
        ("name", reference),
        ("push", "true"),
        ("compression", "uncompressed"),
        ("force-compression", "true"),
    ];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    vec![Entry { kind: "image".to_owned(), attributes: attributes.into() }]
}

/// A client that knows a password for a registry.
pub(crate) fn client(registry: &RealRegistry, password: &str) -> (TempDir, Client) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let auth = STANDARD.encode(format!("{USER}:{password}"));
    let config = serde_json::json!({ "auths": { registry.host(): { "auth": auth } } });
    std::fs::write(&path, config.to_string()).unwrap();
    let credentials = Keychain::of_files([path]);
    (directory, Client::new(ClientOptions { credentials, ..ClientOptions::default() }))
}
