//! `RUN --mount`: what a mount is by its content, and how it is had for the time a process runs.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    io::{self, Seek as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use archway_graph::{Access, CacheMount, Mount, MountSource, NodePath, Op, RunOp, SecretVariable, Sharing};
use archway_layer::extract::{self, ExtractOptions, Ownership};
use archway_report::{Event, Stream};
use archway_sandbox::{
    Mount as SandboxMount, MountSource as SandboxSource, Private, Rootfs as SandboxRootfs,
};
use archway_store::{
    CacheMountLease, CacheMountRecord, MountKey, PendingSnapshot, cache_mount::Sharing as StoreSharing,
};
use serde::Serialize;

use crate::{
    StepError,
    key::{self, Key},
    ssh::AgentSocket,
    step::{Step, StepFailure},
    step_id,
    tree::{self, Kind},
    view::View,
};

/// How often a cache mount that somebody else has locked is tried.
const RETRY: std::time::Duration = std::time::Duration::from_millis(50);

/// A mount as far as a step's result depends on it. The values of secrets do not belong to it, nor does
/// what a cache mount holds.
#[derive(Debug, Serialize)]
pub(crate) struct Identity<'a> {
    target: &'a str,
    read_only: bool,
    source: SourceIdentity<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum SourceIdentity<'a> {
    Bind { content: Key },
    Cache { id: &'a str, initial: Option<Key>, access: Option<&'a Access> },
    Tmpfs { size: Option<u64> },
    Secret { id: &'a str, required: bool, access: &'a Access },
    Ssh { id: &'a str, required: bool, access: &'a Access },
}

impl Identity<'_> {
    /// What a new cache mount holds.
    fn initial(&self) -> Option<Key> {
        match &self.source {
            SourceIdentity::Cache { initial, .. } => *initial,
            _ => None,
        }
    }
}

/// The mounts of a process that is about to run, with what must live as long as it.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    pub(crate) mounts: Vec<SandboxMount>,
    leases: BTreeMap<MountKey, CacheMountLease>,
    changes: Vec<PendingSnapshot>,
    sockets: Vec<AgentSocket>,
}

impl Step<'_> {
    /// What the mounts of a RUN are; reads them if nobody did before.
    pub(crate) async fn identities<'o>(&self, op: &'o RunOp) -> Result<Vec<Identity<'o>>, StepError> {
        let mut identities = Vec::with_capacity(op.mounts.len());
        for mount in &op.mounts {
            let source = match &mount.source {
                MountSource::Bind(part) => SourceIdentity::Bind { content: self.part(part).await? },
                MountSource::Cache(cache) => SourceIdentity::Cache {
                    id: &cache.id,
                    initial: match &cache.initial {
                        Some(part) => Some(self.part(part).await?),
                        None => None,
                    },
                    access: cache.access.as_ref(),
                },
                MountSource::Tmpfs { size } => SourceIdentity::Tmpfs { size: *size },
                MountSource::Secret { id, required, access } => {
                    SourceIdentity::Secret { id, required: *required, access }
                }
                MountSource::Ssh { id, required, access } => {
                    SourceIdentity::Ssh { id, required: *required, access }
                }
            };
            identities.push(Identity { target: &mount.target, read_only: mount.read_only, source });
        }
        Ok(identities)
    }

    /// The content of a part of a node. Of the whole, and of files that were copied onto nothing, that is
    /// known already.
    async fn part(&self, part: &NodePath) -> Result<Key, StepError> {
        let graph = &self.build.job.graph;
        let on_nothing = match &graph.node(part.node).op {
            Op::Copy(copy) => graph.node(copy.base).op == Op::Scratch,
            _ => false,
        };
        if part.path == "/" || on_nothing {
            return Ok(self.input(part.node).rootfs.identity);
        }
        self.content_at(part.node, &part.path).await
    }

    /// Gets everything that is mounted. `identities` are those of the mounts.
    pub(crate) async fn mount(
        &self,
        op: &RunOp,
        identities: &[Identity<'_>],
    ) -> Result<Mounted, StepFailure> {
        let mut mounted = Mounted { leases: self.caches(op, identities).await?, ..Mounted::default() };
        for (mount, identity) in op.mounts.iter().zip(identities) {
            let source = match &mount.source {
                MountSource::Bind(part) => self.bind(part, mount, &mut mounted.changes).await?,
                MountSource::Cache(cache) => {
                    let lease = &mounted.leases[&cache_key(cache, identity)];
                    SandboxSource::Bind(lease.path().to_owned())
                }
                MountSource::Tmpfs { size } => SandboxSource::Tmpfs { size: *size },
                MountSource::Secret { id, required, access } => match self.secret(id, *required)? {
                    None => continue,
                    Some(content) => {
                        let owner = self.owner(access.uid, access.gid);
                        SandboxSource::File { content, mode: access.mode, uid: owner.uid, gid: owner.gid }
                    }
                },
                MountSource::Ssh { id, required, access } => match self.socket(id, *required, access)? {
                    None => continue,
                    Some(socket) => {
                        let path = socket.path().to_owned();
                        mounted.sockets.push(socket);
                        SandboxSource::Bind(path)
                    }
                },
            };
            let (target, read_only) = (mount.target.clone(), mount.read_only);
            mounted.mounts.push(SandboxMount { target, source, read_only });
        }
        Ok(mounted)
    }

    /// The environment variables that are secrets, over those in `env`.
    pub(crate) fn add_secrets(
        &self,
        env: &mut Vec<String>,
        secrets: &[SecretVariable],
    ) -> Result<(), StepError> {
        for SecretVariable { name, id, required } in secrets {
            let value = self.secret(id, *required)?;
            let bytes = value.as_ref().map(Private::bytes).unwrap_or_default();
            let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            let text = text.ok_or_else(|| StepError::SecretNotText { id: id.clone() })?;
            env.retain(|variable| variable.split('=').next() != Some(name));
            env.push(format!("{name}={text}"));
        }
        Ok(())
    }

    fn secret(&self, id: &str, required: bool) -> Result<Option<Private>, StepError> {
        match self.build.job.lent.secrets.get(id) {
            None if required => Err(StepError::SecretMissing { id: id.to_owned() }),
            found => Ok(found.cloned()),
        }
    }

    fn socket(&self, id: &str, required: bool, access: &Access) -> Result<Option<AgentSocket>, StepError> {
        match self.build.job.lent.ssh.get(id) {
            None if required => Err(StepError::SshMissing { id: id.to_owned() }),
            None => Ok(None),
            Some(agent) => {
                let owner = self.owner(access.uid, access.gid);
                let access = Access { uid: owner.uid, gid: owner.gid, ..*access };
                let failed = StepError::io(&agent.socket);
                AgentSocket::listen(agent, &access).map(Some).map_err(failed)
            }
        }
    }

    async fn bind(
        &self,
        part: &NodePath,
        mount: &Mount,
        changes: &mut Vec<PendingSnapshot>,
    ) -> Result<SandboxSource, StepError> {
        let store = &self.build.engine.store;
        let rootfs = &self.input(part.node).rootfs;
        let lowers = rootfs.materialize(store).await?;
        let found =
            tree::resolve(&rootfs.view(store).await?, &part.path).map_err(StepError::io(&part.path))?;
        let Some(kind) = found.found.map(|found| found.kind) else { return Err(self.missing(part)) };
        let mut layers =
            SandboxRootfs { lowers: lowers.iter().rev().cloned().collect(), ..SandboxRootfs::default() };
        if !mount.read_only {
            let pending = store.snapshots().begin()?;
            layers.upper = Some(pending.delta().to_owned());
            layers.work = Some(pending.work().to_owned());
            changes.push(pending);
        }
        Ok(SandboxSource::Layers { rootfs: layers, path: found.path, directory: kind == Kind::Directory })
    }

    fn missing(&self, part: &NodePath) -> StepError {
        StepError::MissingInRootFs { pattern: part.path.clone(), from: self.describe(part.node) }
    }

    /// Leases all cache mounts, in the order of their keys: two steps that lock the same ones cannot then
    /// wait for one another.
    async fn caches(
        &self,
        op: &RunOp,
        identities: &[Identity<'_>],
    ) -> Result<BTreeMap<MountKey, CacheMountLease>, StepFailure> {
        let mut wanted: BTreeMap<MountKey, &CacheMount> = BTreeMap::new();
        for (mount, identity) in op.mounts.iter().zip(identities) {
            if let MountSource::Cache(cache) = &mount.source {
                let strictest = wanted.entry(cache_key(cache, identity)).or_insert(cache);
                if strictest.sharing == Sharing::Shared {
                    *strictest = cache;
                }
            }
        }
        let mut leases = BTreeMap::new();
        for (key, cache) in wanted {
            leases.insert(key, self.lease(key, cache).await?);
        }
        Ok(leases)
    }

    async fn lease(&self, key: MountKey, cache: &CacheMount) -> Result<CacheMountLease, StepFailure> {
        let initial = match &cache.initial {
            Some(part) => Some(self.initial(part).await?),
            None => None,
        };
        let initial = initial.map(Arc::new);
        let owner = cache.access.map(|access| (self.owner(access.uid, access.gid), access.mode));
        let mut waiting = false;
        loop {
            let (store, record, initial) = (self.build.engine.store.clone(), record(cache), initial.clone());
            let sharing = match cache.sharing {
                Sharing::Shared => StoreSharing::Shared,
                Sharing::Private => StoreSharing::Private,
                Sharing::Locked => StoreSharing::Locked,
            };
            let acquired = tokio::task::spawn_blocking(move || {
                store.cache_mounts().acquire(&key, &record, sharing, |directory| {
                    if let Some(initial) = &initial {
                        initial.copy_to(directory)?;
                    }
                    if let Some((owner, mode)) = owner {
                        let failed = || StepError::io(directory);
                        chown(directory, Some(owner.uid), Some(owner.gid)).map_err(failed())?;
                        std::fs::set_permissions(directory, Permissions::from_mode(mode)).map_err(failed())?;
                    }
                    Ok::<_, StepError>(())
                })
            });
            let acquired = acquired.await.map_err(|panic| StepError::Panicked(panic.to_string()))?;
            if let Some(lease) = acquired? {
                return Ok(lease);
            }
            if !waiting {
                waiting = true;
                self.tell_waiting(cache);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn tell_waiting(&self, cache: &CacheMount) {
        self.begin();
        self.build.job.events.send(Event::StepLog {
            step: step_id(self.node.id),
            stream: Stream::Stderr,
            text: format!("waiting for the cache mount {}, which another step has locked\n", cache.id),
        });
    }

    async fn initial(&self, part: &NodePath) -> Result<Initial, StepError> {
        let view = self.input(part.node).rootfs.view(&self.build.engine.store).await?;
        let found = tree::resolve(&view, &part.path).map_err(StepError::io(&part.path))?;
        match found.found.map(|found| found.kind) {
            None => Err(self.missing(part)),
            Some(Kind::Directory) => {
                Ok(Initial { view, path: found.path, ownership: self.build.engine.ownership })
            }
            Some(_) => Err(StepError::CacheSourceIsNoDirectory { path: part.path.clone() }),
        }
    }
}

/// What a new cache mount holds.
struct Initial {
    view: View,
    path: String,
    ownership: Ownership,
}

impl Initial {
    fn copy_to(&self, directory: &Path) -> Result<(), StepError> {
        let from: PathBuf = self.view.path().join(self.path.trim_start_matches('/'));
        let mut archive = tempfile::tempfile().map_err(StepError::io(std::env::temp_dir()))?;
        archway_layer::write_tree(&from, None, &mut archive).map_err(StepError::Layer)?;
        archive.rewind().map_err(StepError::io(directory))?;
        let failed = |source| StepError::Archive { name: self.path.clone(), source };
        let options = ExtractOptions { ownership: self.ownership, ..ExtractOptions::default() };
        extract::unpack_archive(archive, directory, &options).map_err(failed)?;
        // The directory itself is no entry of the archive.
        let copy_attributes = || -> io::Result<()> {
            let metadata = std::fs::metadata(&from)?;
            chown(directory, Some(metadata.uid()), Some(metadata.gid()))?;
            std::fs::set_permissions(directory, metadata.permissions())
        };
        copy_attributes().map_err(StepError::io(directory))
    }
}

/// Which cache mount it is: what is written in one of another platform, of another start or for another
/// owner is of no use.
fn cache_key(cache: &CacheMount, identity: &Identity<'_>) -> MountKey {
    key::cache_mount(&cache.id, cache.platform.as_ref(), identity.initial(), cache.access.as_ref()).into()
}

fn record(cache: &CacheMount) -> CacheMountRecord {
    let platform = cache.platform.as_ref().map(ToString::to_string);
    CacheMountRecord { id: cache.id.clone(), platform }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use archway_layer::Layout;

    use super::*;
    use crate::key::fixtures::run_op;

    #[test]
    fn everything_about_a_mount_but_what_it_holds_counts() {
        let content = |name: &str| {
            key::image(&[archway_oci::Digest::sha256(name.as_bytes())], Ownership::Keep, Layout::Unix)
        };
        let (own, other) = (Access { uid: 0, gid: 0, mode: 0o400 }, Access { uid: 1, gid: 0, mode: 0o400 });
        let bind = |name: &str| SourceIdentity::Bind { content: content(name) };
        let cache = |id, initial, access| SourceIdentity::Cache { id, initial, access };
        let secret = |id, required, access| SourceIdentity::Secret { id, required, access };
        let mounts = [
            ("/a", true, bind("a")),
            ("/b", true, bind("a")),
            ("/a", false, bind("a")),
            ("/a", true, bind("b")),
            ("/a", true, SourceIdentity::Tmpfs { size: None }),
            ("/a", true, SourceIdentity::Tmpfs { size: Some(1) }),
            ("/a", true, cache("a", None, None)),
            ("/a", true, cache("b", None, None)),
            ("/a", true, cache("a", Some(content("a")), None)),
            ("/a", true, cache("a", None, Some(&own))),
            ("/a", true, secret("a", true, &own)),
            ("/a", true, secret("b", true, &own)),
            ("/a", true, secret("a", false, &own)),
            ("/a", true, secret("a", true, &other)),
            ("/a", true, SourceIdentity::Ssh { id: "a", required: true, access: &own }),
        ];
        let base = key::scratch(Ownership::Keep);
        let count = mounts.len();
        let keys: HashSet<Key> = mounts
            .into_iter()
            .map(|(target, read_only, source)| {
                key::run(base, &run_op(), &[Identity { target, read_only, source }])
            })
            .chain([key::run(base, &run_op(), &[])])
            .collect();
        assert_eq!(keys.len(), count + 1);
    }

    #[test]
    fn cache_mounts_differ_by_id_platform_start_and_owner() {
        let (amd64, arm64) = ("linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap());
        let access = Access { uid: 1, gid: 0, mode: 0o755 };
        let start = key::scratch(Ownership::Keep);
        let keys = HashSet::from([
            key::cache_mount("a", Some(&amd64), None, None),
            key::cache_mount("b", Some(&amd64), None, None),
            key::cache_mount("a", Some(&arm64), None, None),
            key::cache_mount("a", None, None, None),
            key::cache_mount("a", Some(&amd64), Some(start), None),
            key::cache_mount("a", Some(&amd64), None, Some(&access)),
        ]);
        assert_eq!(keys.len(), 6);
    }
}
