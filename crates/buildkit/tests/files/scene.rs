//! A daemon, and builds with it: by this crate, and by `buildctl`.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, atomic::AtomicU32},
    task::{Context, Poll},
};

use archway_buildkit::{
    Daemon, Endpoint, Lent, Node, Solve, SolveError, Solved,
    session::{Directory, Receiver},
    solve::{Entry, Steps},
};
use archway_dockerfile::ignore::IgnorePatterns;
use archway_report::Events;
use archway_source::Snapshot;
use archway_testkit::{Buildkit, buildkit, process};
use tokio::{io::AsyncWrite, runtime::Runtime};
use tokio_util::sync::CancellationToken;

pub(crate) struct Scene {
    pub(crate) buildkit: Buildkit,
    runtime: Runtime,
    daemon: Daemon,
}

impl Scene {
    /// `None` where there can be no daemon: the test is to be skipped.
    pub(crate) fn start() -> Option<Self> {
        let buildkit = Buildkit::required(&buildkit::Options::default())?;
        let runtime = Runtime::new().unwrap();
        let node = Node {
            endpoint: Endpoint::Unix(buildkit.socket()),
            platforms: Vec::new(),
            tls: None,
            allow_insecure: false,
        };
        let daemon = runtime.block_on(Daemon::connect(&node)).unwrap();
        Some(Self { buildkit, runtime, daemon })
    }

    /// Builds.
    pub(crate) fn solve(&self, solve: Solve, lent: Lent, shared_key: &str) -> Result<Solved, SolveError> {
        let steps = Steps::new(Arc::new(AtomicU32::new(1)), "linux/amd64".parse().unwrap());
        let (events, cancel) = (Events::ignored(), CancellationToken::new());
        let solving = self.daemon.solve(solve, lent, shared_key, &steps, &events, &cancel);
        self.runtime.block_on(solving)
    }

    /// Builds a Dockerfile with a directory as its context.
    pub(crate) fn build(&self, dockerfile: &str, context: &Path) -> Result<Solved, SolveError> {
        self.solve(Solve::default(), lent(dockerfile, context), "files")
    }

    /// The digest of the image that `buildctl` makes. Its `Dockerfile` is in `context`.
    pub(crate) fn buildctl(&self, context: &Path, epoch: u64) -> String {
        let results = tempfile::tempdir().unwrap();
        let metadata = results.path().join("metadata");
        let output =
            format!("type=oci,rewrite-timestamp=true,dest={}", results.path().join("image").display());
        let mut command = self.buildkit.buildctl();
        command.args(["build", "--frontend=dockerfile.v0", "--no-cache"]);
        command.arg(format!("--local=context={}", context.display()));
        command.arg(format!("--local=dockerfile={}", context.display()));
        command.arg(format!("--opt=build-arg:SOURCE_DATE_EPOCH={epoch}"));
        command.arg(format!("--output={output}")).arg("--metadata-file").arg(&metadata);
        process::output(&mut command).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
        metadata["containerimage.digest"].as_str().unwrap().to_owned()
    }
}

/// A Dockerfile, and a directory as the context.
pub(crate) fn lent(dockerfile: &str, context: &Path) -> Lent {
    let snapshot = Snapshot::scan(context, &IgnorePatterns::default()).unwrap();
    lent_snapshot(dockerfile, snapshot)
}

pub(crate) fn lent_snapshot(dockerfile: &str, snapshot: Snapshot) -> Lent {
    let texts = BTreeMap::from([("Dockerfile".to_owned(), dockerfile.into())]);
    let directories = BTreeMap::from([
        ("context".to_owned(), Directory::Snapshot(Arc::new(snapshot))),
        ("dockerfile".to_owned(), Directory::Texts(texts)),
    ]);
    Lent { directories, ..Lent::default() }
}

/// An image as it is compared: nothing of it from a cache, no time of its own in it.
pub(crate) fn image(epoch: u64) -> Solve {
    let attributes = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    Solve {
        frontend: attributes(&[("no-cache", ""), ("build-arg:SOURCE_DATE_EPOCH", &epoch.to_string())]),
        exports: vec![Entry { kind: "oci".into(), attributes: attributes(&[("rewrite-timestamp", "true")]) }],
        ..Solve::default()
    }
}

/// Keeps what it gets.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    is_complete: bool,
}

impl Memory {
    /// What came, which must be all.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        assert!(state.is_complete, "it was not shut down");
        state.bytes.clone()
    }
}

impl Receiver for Memory {
    fn open(&self) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
        Ok(Box::new(self.clone()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().bytes.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().is_complete = true;
        Poll::Ready(Ok(()))
    }
}
