//! What a test works with: an `archway` of its own, and a registry that all tests share.

use std::{
    path::PathBuf,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use archway_testkit::{BaseImages, Cli, RealRegistry, bases::Base, cli::Run, registry::Request, tools};
use serde_json::Value;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_archway");

/// One machine's native platform and one that needs emulation.
pub(crate) const TWO: &str = "linux/amd64,linux/arm64";

/// Every platform that base images are made for.
pub(crate) const SIX: &str = "linux/amd64,linux/arm64,linux/arm/v7,linux/386,linux/ppc64le,linux/s390x";

/// A command line, a registry with base images, and a repository that no other test writes to.
pub(crate) struct Scene {
    pub(crate) cli: Cli,
    repository: String,
}

impl Scene {
    /// `None` where the tools that every test needs are missing: the test is to be skipped.
    pub(crate) fn new() -> Option<Self> {
        needs().then(|| Self::with(Cli::new(BINARY).expect("a directory for the test")))
    }

    /// As a normal user.
    pub(crate) fn rootless() -> Option<Self> {
        if !needs() {
            return None;
        }
        Cli::rootless(BINARY).expect("a directory for the test").map(Self::with)
    }

    fn with(cli: Cli) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { cli, repository: format!("test-{}-{number}", process::id()) }
    }

    /// Another machine with the same repository: an empty store, and no files.
    pub(crate) fn elsewhere(&self) -> Self {
        let cli = Cli::new(BINARY).expect("a directory for the test");
        Self { cli, repository: self.repository.clone() }
    }

    /// Where the shared registry keeps a blob.
    pub(crate) fn stored_blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = registry().storage().join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// `localhost:PORT/busybox`.
    pub(crate) fn busybox(&self) -> String {
        registry().reference("busybox")
    }

    /// `localhost:PORT/TEST:tag` in this test's own repository.
    pub(crate) fn image(&self, tag: &str) -> String {
        registry().reference(&format!("{}:{tag}", self.repository))
    }

    /// The requests so far that named this test's repository.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let mine = format!("/v2/{}/", self.repository);
        let all = registry().requests().expect("the registry has a log");
        all.into_iter().filter(|request| request.path.starts_with(&mine)).collect()
    }

    /// Writes a file of the build context.
    pub(crate) fn file(&self, path: &str, content: &str) -> PathBuf {
        self.cli.write(path, content).expect("the test's directory can be written")
    }

    /// Writes `Dockerfile`; `BASE` in it stands for the busybox image.
    pub(crate) fn dockerfile(&self, text: &str) {
        self.file("Dockerfile", &text.replace("BASE", &self.busybox()));
    }

    /// Runs `archway`.
    pub(crate) fn archway(&self, arguments: &[&str]) -> Run {
        self.cli.run(arguments).expect("archway starts")
    }

    /// `archway build ARGUMENTS .`
    pub(crate) fn build(&self, arguments: &[&str]) -> Run {
        self.archway(&[&["build"], arguments, &["."]].concat())
    }

    /// Builds and pushes `image("1")` for the platforms; returns the index digest that was printed.
    pub(crate) fn push(&self, platforms: &str) -> String {
        let run = self.build(&["--push", "-t", &self.image("1"), "--platform", platforms]).succeeded();
        run.stdout.trim().to_owned()
    }

    /// A JSON file that a run wrote.
    pub(crate) fn json(&self, path: &str) -> Value {
        let bytes = std::fs::read(self.cli.work().join(path)).expect("the file was written");
        serde_json::from_slice(&bytes).expect("the file holds JSON")
    }
}

/// A test that needs root and has it; else it is skipped.
pub(crate) fn needs_root() -> bool {
    tools::require_root()
}

fn needs() -> bool {
    tools::require_each(&["docker-registry", "skopeo", "qemu-aarch64-static"])
}

/// `localhost:PORT/NAME` of another base image than busybox.
pub(crate) fn base(base: Base) -> String {
    let bases = BaseImages::open().expect("a cache of base images");
    bases.push(base, &registry().host()).expect("the base image can be made and pushed");
    registry().reference(&base.to_string())
}

/// Started by the first test; its watchdog ends it with this program.
fn registry() -> &'static RealRegistry {
    static REGISTRY: OnceLock<RealRegistry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = RealRegistry::start().expect("docker-registry starts");
        let bases = BaseImages::open().expect("a cache of base images");
        bases.push(Base::Busybox, &registry.host()).expect("busybox can be made and pushed");
        registry
    })
}
