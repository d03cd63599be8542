//! A registry that all tests of this program share, and what must be true of it afterwards.

use std::{
    fs,
    path::PathBuf,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use archway_oci::Digest;
use archway_testkit::{BaseImages, Cli, RealRegistry, Skopeo, bases::Base, tools};
use serde_json::Value;

/// Whether this machine has what every test here needs.
pub(crate) fn is_ready() -> bool {
    tools::require_each(&["docker-registry", "skopeo", "qemu-aarch64-static"])
}

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_archway");

/// An `archway` with a store of its own.
pub(crate) fn archway() -> Cli {
    Cli::new(BINARY).expect("a directory for the test")
}

/// Started by the first test, with a base image; its watchdog ends it with this program.
pub(crate) fn registry() -> &'static RealRegistry {
    static REGISTRY: OnceLock<RealRegistry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = RealRegistry::start().expect("docker-registry starts");
        let bases = BaseImages::open().expect("a cache of base images");
        bases.push(Base::Busybox, &registry.host()).expect("busybox can be made and pushed");
        registry
    })
}

/// A repository that no other test writes to.
pub(crate) struct Repository {
    pub(crate) name: String,
}

impl Repository {
    /// Empty.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // None is the beginning of another.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("faults-{}-{number}-test", process::id()) }
    }

    /// With the base image as tag `1`: the image that must stay when something fails.
    pub(crate) fn with_old_image() -> (Self, Digest) {
        let repository = Self::new();
        let base = format!("docker://{}", registry().reference("busybox"));
        Skopeo::new().copy(&base, &format!("docker://{}", repository.image("1"))).expect("the old image");
        let old = repository.tagged("1").expect("it was just pushed");
        (repository, old)
    }

    /// `localhost:PORT/NAME:TAG`, without a proxy.
    pub(crate) fn image(&self, tag: &str) -> String {
        registry().reference(&format!("{}:{tag}", self.name))
    }

    /// What a tag points at, as the registry has it on its disk.
    pub(crate) fn tagged(&self, tag: &str) -> Option<Digest> {
        let link = format!("repositories/{}/_manifests/tags/{tag}/current/link", self.name);
        Some(fs::read_to_string(files().join(link)).ok()?.parse().expect("a digest"))
    }

    /// Everything below an image, in the form in which the registry has it on its disk, has its digest.
    ///
    /// # Panics
    /// Where something is missing or damaged.
    #[track_caller]
    pub(crate) fn assert_whole(&self, digest: &Digest) {
        let bytes = fs::read(stored(digest)).unwrap_or_else(|error| panic!("{digest}: {error}"));
        assert_eq!(Digest::sha256(&bytes), *digest);
        // Layers and configs that are JSON name nothing.
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let below = ["manifests", "layers"].iter().filter_map(|field| document[field].as_array()).flatten();
        let config = Some(&document["config"]).filter(|config| config.get("digest").is_some());
        for descriptor in below.chain(config) {
            let digest: Digest = descriptor["digest"].as_str().expect("a descriptor").parse().unwrap();
            self.assert_whole(&digest);
        }
    }
}

fn files() -> PathBuf {
    registry().storage().join("docker/registry/v2")
}

/// Where the registry keeps a blob.
fn stored(digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    files().join("blobs/sha256").join(&hex[..2]).join(hex).join("data")
}
