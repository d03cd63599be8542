//! The tags that a build moves, in two repositories behind a proxy that sees each request.

use archway_oci::Digest;
use archway_testkit::{FaultProxy, fault::Seen};

use crate::place::{Repository, registry};

/// What only tags begin with.
const PREFIX: &str = "moving-";

/// Several of one repository and several repositories.
pub(super) struct Tags {
    pub(super) proxy: FaultProxy,
    all: [(Repository, &'static str); 3],
}

impl Tags {
    /// None is there yet.
    pub(super) fn new() -> Self {
        let first = Repository::new();
        let same = Repository { name: first.name.clone() };
        Self {
            proxy: FaultProxy::start(registry().address(), Vec::new()).expect("a free port"),
            all: [(first, "moving-1"), (same, "moving-2"), (Repository::new(), "moving-1")],
        }
    }

    /// As `--tag` takes them.
    pub(super) fn references(&self) -> impl Iterator<Item = String> {
        let host = self.proxy.host();
        self.all.iter().map(move |(repository, tag)| format!("{host}/{}:{tag}", repository.name))
    }

    /// What they point at, each of it whole.
    ///
    /// # Panics
    /// Where it is not, or a tag is not there.
    pub(super) fn point_at(&self) -> Vec<Digest> {
        let digests = self.all.iter().map(|(repository, tag)| {
            let digest = repository.tagged(tag).unwrap_or_else(|| panic!("{tag} is gone"));
            repository.assert_whole(&digest);
            digest
        });
        digests.collect()
    }
}

/// The path of the requests that move them.
pub(super) fn path() -> String {
    format!("*/manifests/{PREFIX}*")
}

/// Whether a request moves one of them.
pub(super) fn moves(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.contains(&format!("/manifests/{PREFIX}"))
}
