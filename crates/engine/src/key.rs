//! Content keys: what a step's result depends on, as one blake3 hash.
//!
//! A key covers the operation and the *content* it reads, never times or names of stages. Each kind
//! of operation has its own domain string, so that keys of different meaning cannot collide; the
//! string carries a version that is raised whenever the meaning of an operation changes.
//! Written down in `docs/formats/cache-keys.md`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use archway_graph::{Access, CopyOp, FileMode, RunOp};
use archway_layer::{Layout, extract::Ownership};
use archway_oci::{Digest, Platform};
use archway_remote::{Checksum, GitSource, HttpSource, git::Revision, redacted};
use archway_store::{CacheKey, MountKey, SnapshotKey};
use serde::Serialize;

use crate::{
    copy::{
        entry::Mtime,
        placement::{Directory, Placement},
    },
    mount,
};

/// A blake3 hash, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(blake3::Hash);

impl From<Key> for CacheKey {
    fn from(key: Key) -> Self {
        key.0.into()
    }
}

impl From<CacheKey> for Key {
    fn from(key: CacheKey) -> Self {
        Self(blake3::Hash::from_bytes(*key.as_bytes()))
    }
}

impl From<SnapshotKey> for Key {
    fn from(key: SnapshotKey) -> Self {
        Self(blake3::Hash::from_bytes(*key.as_bytes()))
    }
}

impl From<Key> for SnapshotKey {
    fn from(key: Key) -> Self {
        key.0.into()
    }
}

impl From<Key> for MountKey {
    fn from(key: Key) -> Self {
        key.0.into()
    }
}

impl FromStr for Key {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, blake3::HexError> {
        blake3::Hash::from_hex(text).map(Self)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Hashes `parts` as JSON under `domain`. JSON is unambiguous, and serde writes struct fields in a
/// fixed order.
fn hash(domain: &'static str, parts: &impl Serialize) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    serde_json::to_writer(&mut hasher, parts).expect("keys are made of plain data");
    Key(hasher.finalize())
}

/// Identity of an empty root file system. Where a single user id is all there is, every file is its
/// owner's, and all that is built on it differs.
pub(crate) fn scratch(ownership: Ownership) -> Key {
    match ownership {
        Ownership::Squash => hash("archway 2026 squashed scratch v1", &()),
        _ => hash("archway 2026 scratch v1", &()),
    }
}

/// Identity of an image's root file system: its layers' diffIDs, base first, and how they are read.
pub(crate) fn image(diff_ids: &[Digest], ownership: Ownership, layout: Layout) -> Key {
    let domain = match (ownership, layout) {
        (Ownership::Squash, Layout::Unix) => "archway 2026 squashed image v1",
        (Ownership::Squash, Layout::Windows) => "archway 2026 squashed windows image v1",
        (_, Layout::Unix) => "archway 2026 image v1",
        (_, Layout::Windows) => "archway 2026 windows image v1",
    };
    hash(domain, &diff_ids)
}

/// Key of an image layer's delta, which depends on nothing but the layer and how it is read.
pub(crate) fn layer_delta(diff_id: &Digest, ownership: Ownership, layout: Layout) -> Key {
    let domain = match (ownership, layout) {
        (Ownership::Squash, Layout::Unix) => "archway 2026 squashed layer delta v1",
        (Ownership::Squash, Layout::Windows) => "archway 2026 squashed windows layer delta v1",
        (_, Layout::Unix) => "archway 2026 layer delta v1",
        (_, Layout::Windows) => "archway 2026 windows layer delta v1",
    };
    hash(domain, &diff_id)
}

/// Key under which the facts about an unpacked layer are remembered.
pub(crate) fn layer_facts(delta: SnapshotKey) -> Key {
    hash("archway 2026 layer facts v1", &delta)
}

/// Key of a delta that only gives directories their attributes.
pub(crate) fn correction(directories: &BTreeMap<String, (Directory, Mtime)>) -> Key {
    hash("archway 2026 correction v1", directories)
}

/// Identity of a root file system that has one more delta than `base`.
pub(crate) fn stacked(base: Key, delta: SnapshotKey) -> Key {
    hash("archway 2026 stacked v1", &(base, delta))
}

/// Cache key of a RUN on a root file system.
pub(crate) fn run(base: Key, op: &RunOp, mounts: &[mount::Identity<'_>]) -> Key {
    // The names of further hosts count, their addresses do not.
    let hosts: Vec<&str> = op.settings.hosts.iter().map(|host| host.name.as_str()).collect();
    let process = (&op.platform, &op.argv, &op.env, &op.cwd, &op.user);
    let rights = (op.network, op.security, op.settings.shm_size, &op.settings.limits);
    let names = (&op.settings.hostname, hosts);
    hash("archway 2026 run v2", &(base, process, rights, names, &op.files, mounts, &op.secret_env))
}

/// Key of a cache mount. `initial` is the content that a new one has.
pub(crate) fn cache_mount(
    id: &str,
    platform: Option<&Platform>,
    initial: Option<Key>,
    access: Option<&Access>,
) -> Key {
    hash("archway 2026 cache mount v1", &(id, platform, initial, access))
}

/// Key of the files of a git repository: which commit they are of, and what is taken of it. Not where
/// the repository is.
pub(crate) fn checkout(source: &GitSource, revision: &Revision) -> Key {
    let keeps = source.keep_git_dir && source.subdir.is_none();
    let (object, origin) = match keeps {
        // The tag, the name of the ref and the address are in `.git`.
        true => (&*revision.object, Some((&revision.name, redacted(&source.remote)))),
        false => (revision.commit(), None),
    };
    hash("archway 2026 checkout v1", &(object, origin, &source.subdir, source.submodules, source.times))
}

/// Key of a downloaded file.
pub(crate) fn download(name: &str, digest: &Checksum, modified: Option<i64>) -> Key {
    hash("archway 2026 download v1", &(name, digest.to_string(), modified))
}

/// Key under which a download is found that has to have a checksum.
pub(crate) fn pinned_download(name: &str, checksum: &Checksum) -> Key {
    hash("archway 2026 pinned download v1", &(name, checksum.to_string()))
}

/// Key under which is remembered what a server said of the file behind a URL.
pub(crate) fn url(source: &HttpSource) -> Key {
    hash("archway 2026 url v1", &(&source.url, &source.name))
}

/// Content of an archive that is unpacked.
pub(crate) fn unpacked(archive: Key) -> Key {
    hash("archway 2026 unpacked v1", &archive)
}

/// Key of one execution of a RUN, different each time: two executions may well differ.
pub(crate) fn execution(run: Key, nonce: u128) -> Key {
    hash("archway 2026 execution v1", &(run, nonce.to_string()))
}

/// Cache key of a directory made on a root file system.
pub(crate) fn mkdir(base: Key, path: &str, user: &str) -> Key {
    hash("archway 2026 mkdir v3", &(base, path, user))
}

/// Cache key of a COPY of known content onto a root file system; of a linked one, which does not look at
/// it, onto an empty one.
pub(crate) fn copy(base: Key, op: &CopyOp, content: Key) -> Key {
    hash("archway 2026 copy v3", &(base, &op.destination, &op.chown, &op.chmod, op.unpack, op.link, content))
}

/// Key of the delta a COPY makes. It depends on the base only through the placement, so that
/// platforms whose bases agree share it.
pub(crate) fn copy_delta(
    placement: &Placement,
    owner: Option<(u32, u32)>,
    chmod: Option<&FileMode>,
    content: Key,
) -> Key {
    hash("archway 2026 copy delta v3", &(placement, owner, chmod, content))
}

/// Names what an instruction copies from directories of the user's, whatever is in them.
pub(crate) fn lineage(op: &CopyOp, from: &impl Serialize) -> Key {
    hash("archway 2026 lineage v1", &(from, &op.destination, &op.exclude))
}

/// Key under which the content of files selected from a root file system is remembered.
pub(crate) fn selection(source: Key, op: &CopyOp, patterns: &[String]) -> Key {
    hash("archway 2026 selection v3", &(source, patterns, op.parents, &op.exclude))
}

/// Combines the content of several groups of sources, in order.
pub(crate) fn contents(groups: &[Key]) -> Key {
    hash("archway 2026 contents v1", &groups)
}

/// Content of a list of described files.
pub(crate) fn content(entries: &impl Serialize) -> Key {
    hash("archway 2026 content v1", entries)
}

#[cfg(test)]
pub(crate) mod fixtures {
    use archway_graph::{Network, NodeId, RunSettings, Security};
    use archway_oci::Platform;

    use super::*;

    /// `RUN true`, and nothing special about it.
    pub(crate) fn run_op() -> RunOp {
        RunOp {
            base: NodeId(1),
            platform: Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() },
            argv: vec!["/bin/sh".into(), "-c".into(), "true".into()],
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            user: String::new(),
            network: Network::Host,
            no_cache: false,
            files: Vec::new(),
            mounts: Vec::new(),
            secret_env: Vec::new(),
            security: Security::Sandbox,
            settings: RunSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use archway_graph::{ExtraHost, Network, NodeId, ResourceLimit, RunSettings, SecretVariable, Security};
    use archway_remote::GitUrl;

    use super::{fixtures::run_op, *};

    #[test]
    fn a_run_is_keyed_by_what_it_reads_not_by_its_place_in_the_graph() {
        let moved = RunOp { base: NodeId(7), no_cache: true, ..run_op() };
        assert_eq!(run(scratch(Ownership::Keep), &run_op(), &[]), run(scratch(Ownership::Keep), &moved, &[]));
    }

    #[test]
    fn everything_a_run_sees_is_in_its_key() {
        let mut arm = run_op();
        arm.platform.architecture = "arm64".into();
        let variants = [
            run_op(),
            arm,
            RunOp { argv: vec!["true".into()], ..run_op() },
            RunOp { env: Vec::new(), ..run_op() },
            RunOp { cwd: "/tmp".into(), ..run_op() },
            RunOp { user: "app".into(), ..run_op() },
            RunOp { network: Network::None, ..run_op() },
            RunOp { security: Security::Insecure, ..run_op() },
            RunOp { settings: settings(|all| all.shm_size = Some(1)), ..run_op() },
            RunOp { settings: settings(|all| all.hostname = Some("box".into())), ..run_op() },
            RunOp { settings: settings(|all| all.hosts.push(host("db", "192.0.2.1"))), ..run_op() },
            RunOp {
                settings: settings(|all| {
                    let limit = ResourceLimit { resource: "core".into(), soft: None, hard: None };
                    all.limits.push(limit);
                }),
                ..run_op()
            },
            RunOp {
                secret_env: vec![SecretVariable { name: "A".into(), id: "a".into(), required: false }],
                ..run_op()
            },
        ];
        let keys: std::collections::HashSet<Key> =
            variants.iter().map(|op| run(scratch(Ownership::Keep), op, &[])).collect();
        assert_eq!(keys.len(), variants.len());
        assert_ne!(scratch(Ownership::Keep), scratch(Ownership::Squash));
        assert_ne!(
            run(scratch(Ownership::Keep), &run_op(), &[]),
            run(image(&[], Ownership::Keep, Layout::Unix), &run_op(), &[])
        );
    }

    #[test]
    fn a_layer_that_is_read_otherwise_is_another_delta() {
        let diff_id = Digest::sha256(b"layer");
        let keys: std::collections::HashSet<Key> = [Layout::Unix, Layout::Windows]
            .into_iter()
            .flat_map(|layout| [Ownership::Keep, Ownership::Squash].map(|owner| (owner, layout)))
            .flat_map(|(owner, layout)| {
                [layer_delta(&diff_id, owner, layout), image(std::slice::from_ref(&diff_id), owner, layout)]
            })
            .collect();
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn a_checkout_is_keyed_by_its_commit_and_not_by_where_it_is() {
        let url = |text: &str| GitSource::from(GitUrl::parse(text).unwrap().unwrap());
        let commit = |name: &str| Revision { name: name.into(), object: "a".repeat(40), peeled: None };
        let key = |text: &str| checkout(&url(text), &commit("refs/heads/main"));
        let plain = key("https://a.example/x.git");
        assert_eq!(plain, key("https://u:p@b.example/y.git#main"));
        assert_eq!(plain, checkout(&url("git@c:z"), &commit("refs/tags/v1")));
        // A directory has no `.git` to keep.
        assert_eq!(key("git@c:z?subdir=a"), key("git@d:z?subdir=a&keep-git-dir"));
        let options = ["?subdir=a", "?keep-git-dir", "?submodules=0", "?mtime=commit"];
        let keys = options.map(|options| key(&format!("git@c:z{options}")));
        let keys: std::collections::HashSet<Key> = keys.into_iter().chain([plain]).collect();
        assert_eq!(keys.len(), options.len() + 1);
    }

    fn settings(change: impl FnOnce(&mut RunSettings)) -> RunSettings {
        let mut settings = RunSettings::default();
        change(&mut settings);
        settings
    }

    fn host(name: &str, address: &str) -> ExtraHost {
        ExtraHost { name: name.to_owned(), address: address.parse().unwrap() }
    }

    #[test]
    fn the_address_of_a_host_is_not_in_the_key() {
        let with = |address: &str| {
            let settings = settings(|all| all.hosts.push(host("db", address)));
            run(scratch(Ownership::Keep), &RunOp { settings, ..run_op() }, &[])
        };
        assert_eq!(with("192.0.2.1"), with("192.0.2.2"));
    }

    #[test]
    fn keys_never_change_by_accident() {
        // A change here empties every user's cache: raise the domain's version knowingly.
        assert_eq!(scratch(Ownership::Keep).to_string()[..16], *"22be0cfb250d0108");
        assert_eq!(run(scratch(Ownership::Keep), &run_op(), &[]).to_string()[..16], *"d02ef5989adae5d8");
    }
}
