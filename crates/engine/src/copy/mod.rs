//! COPY and ADD.
//!
//! What is copied is hashed first; the content's key and the base's identity find the result in the
//! cache. On a miss the base is asked where things go ([`placement`]), which gives a second key that
//! no longer mentions the base: platforms whose bases agree share the delta, and with it the layer.

use std::{os::fd::AsRawFd as _, path::PathBuf, sync::Arc};

use archway_graph::{CopyOp, CopySource, NodeId};
use archway_layer::extract::{self, ExtractOptions, Ownership};
use archway_store::CacheRecord;
use jiff::Timestamp;

use self::{
    apply::{Attributes, Owner},
    entry::{EntryKind, SourceItem},
    placement::Item,
};
use crate::{
    StepError, image,
    key::{self, Key},
    rootfs::RootFs,
    step::{Delta, Step, StepFailure},
    view::View,
};

pub(crate) mod apply;
mod context;
pub(crate) mod entry;
mod inline;
pub(crate) mod placement;
mod stage;

/// One group of sources whose content is known.
struct Group<'a> {
    source: &'a CopySource,
    content: Key,
}

impl Step<'_> {
    pub(crate) async fn copy(&self, op: &CopyOp) -> Result<Delta, StepFailure> {
        let base = &self.input(op.base).rootfs;
        let mut groups = Vec::with_capacity(op.sources.len());
        for source in &op.sources {
            groups.push(Group { source, content: self.content(source).await? });
        }
        let content = key::contents(&groups.iter().map(|group| group.content).collect::<Vec<_>>());
        let key = key::copy(base.identity, op, content);
        if let Some(delta) = self.cached(key)? {
            return Ok(delta);
        }
        // A download needs no permit.
        base.materialize(&self.build.engine.store).await?;
        let _slot = self.build.slots.acquire().await.expect("the semaphore is never closed");
        let owner = match &op.chown {
            Some(text) => {
                let (uid, gid) = base.file_owner(&self.build.engine.store, text).await?;
                Some(self.owner(uid, gid))
            }
            None => None,
        };
        let mut items = Vec::new();
        for group in &groups {
            items.extend(self.items(group.source).await?);
        }
        let copied = Copied { key, content, owner, items };
        Ok(self.write(op, base, copied).await?)
    }

    /// The content of a group; read from a stage only if nobody did before.
    async fn content(&self, source: &CopySource) -> Result<Key, StepError> {
        match source {
            CopySource::Context { paths } => {
                let (snapshot, store) = (self.context(), self.build.engine.store.clone());
                let (paths, events) = (paths.clone(), self.build.job.events.clone());
                blocking(move || context::content(&snapshot, &paths, &store, &events)).await
            }
            CopySource::Inline { files } => Ok(key::content(files)),
            CopySource::Node { node, paths } => {
                let store = self.build.engine.store.clone();
                let selection = key::selection(self.input(*node).rootfs.identity, paths);
                let known = || -> Result<Option<Key>, StepError> {
                    let fact = store.cache().get(&selection.into())?;
                    Ok(fact.and_then(|fact| fact.metadata.parse().ok()))
                };
                if let Some(known) = known()? {
                    return Ok(known);
                }
                // Several platforms may copy the same: one of them reads it.
                let _lock = image::lock(&store, selection.to_string()).await?;
                if let Some(known) = known()? {
                    return Ok(known);
                }
                let items = self.items(source).await?;
                let content = blocking(move || stage::content(&items)).await?;
                let created = Timestamp::now();
                let fact = CacheRecord { snapshot: None, created, metadata: content.to_string() };
                store.cache().put(&selection.into(), &fact)?;
                Ok(content)
            }
        }
    }

    /// The files of a group.
    async fn items(&self, source: &CopySource) -> Result<Vec<SourceItem>, StepError> {
        match source {
            CopySource::Context { paths } => {
                let (snapshot, paths) = (self.context(), paths.clone());
                blocking(move || context::select(&snapshot, &paths)).await
            }
            CopySource::Inline { files } => Ok(files.iter().map(inline::item).collect()),
            CopySource::Node { node, paths } => {
                let view = Arc::new(self.input(*node).rootfs.view(&self.build.engine.store).await?);
                let (paths, from) = (paths.clone(), self.describe(*node));
                blocking(move || stage::select(&view, &paths, &from)).await
            }
        }
    }

    fn context(&self) -> Arc<archway_source::Snapshot> {
        let context = self.build.job.context.clone();
        context.expect("the caller gives a context if the graph copies from it")
    }

    /// How a message names the root file system of a node.
    fn describe(&self, node: NodeId) -> String {
        let node = self.build.job.graph.node(node);
        match (&node.op, &node.label) {
            (archway_graph::Op::Image(image), _) => format!("image {}", image.name),
            (_, Some(label)) => format!("stage {}", label.stage),
            (_, None) => "scratch".to_owned(),
        }
    }

    async fn write(&self, op: &CopyOp, base: &RootFs, copied: Copied) -> Result<Delta, StepError> {
        let Copied { key, content, owner, items } = copied;
        let store = &self.build.engine.store;
        let lowers = base.materialize(store).await?;
        let view = base.view(store).await?;
        self.begin();
        let (destination, unpacks, chmod) = (op.destination.clone(), op.unpack, op.chmod);
        let (sources, placement) = blocking(move || {
            let sources = Sources::of(items, unpacks)?;
            let placement = placement::place(&view, &destination, &described(&sources.items))?;
            Ok((sources, placement))
        })
        .await?;
        // Unpacking follows the base's own symlinks, so its result belongs to this base only.
        let delta_key = match sources.archives.is_empty() {
            true => key::copy_delta(&placement, owner.map(|owner| (owner.uid, owner.gid)), chmod, content),
            false => key,
        };
        // Other platforms may be about to make the same delta: one of them does.
        let _lock = image::lock(store, delta_key.to_string()).await?;
        let delta = match Delta::find(store, delta_key)? {
            Some(shared) => Delta { cached: false, ..shared },
            None => {
                let kept = self.build.engine.ownership;
                let (store, destination) = (store.clone(), op.destination.clone());
                blocking(move || {
                    let pending = store.snapshots().begin()?;
                    let attributes = Attributes { owner, mode: chmod };
                    apply::items(pending.delta(), &placement, &sources.items, attributes)?;
                    if !sources.archives.is_empty() {
                        let root = View::open_writable(&lowers, pending.delta(), pending.work())?;
                        for archive in &sources.archives {
                            unpack(archive, &root, &destination, owner, kept)?;
                        }
                    }
                    let delta = Delta::made(delta_key);
                    store.snapshots().commit(pending, &delta.key)?;
                    Ok(delta)
                })
                .await?
            }
        };
        self.remember(delta_key, &delta)?;
        self.remember(key, &delta)?;
        Ok(delta)
    }
}

/// What a COPY writes, once it is known that it has to.
struct Copied {
    key: Key,
    content: Key,
    owner: Option<Owner>,
    items: Vec<SourceItem>,
}

fn described(items: &[SourceItem]) -> Vec<Item<'_>> {
    items.iter().map(describe).collect()
}

fn describe(item: &SourceItem) -> Item<'_> {
    let is_directory = item.entries.first().is_some_and(|entry| entry.kind == EntryKind::Directory);
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in item.entries.iter().skip(1) {
        let list = if entry.kind == EntryKind::Directory { &mut directories } else { &mut files };
        list.push(entry.path.as_str());
    }
    Item { name: &item.name, directories: is_directory.then_some(directories), files }
}

/// What is unpacked, and what is copied as it is.
struct Sources {
    archives: Vec<SourceItem>,
    items: Vec<SourceItem>,
}

impl Sources {
    /// Finds the archives if they are to be unpacked.
    fn of(items: Vec<SourceItem>, unpack: bool) -> Result<Self, StepError> {
        let mut sources = Self { archives: Vec::new(), items: Vec::new() };
        for item in items {
            let archive = match item.entries.as_slice() {
                [entry] if unpack && matches!(entry.kind, EntryKind::File { .. }) => {
                    extract::is_archive(item.open.open(entry)?)
                }
                _ => false,
            };
            if archive { sources.archives.push(item) } else { sources.items.push(item) }
        }
        Ok(sources)
    }
}

fn unpack(
    archive: &SourceItem,
    root: &View,
    destination: &str,
    owner: Option<Owner>,
    kept: Ownership,
) -> Result<(), StepError> {
    let entry = &archive.entries[0];
    let mut file = archive.open.open(entry)?;
    let Owner { uid, gid } = owner.unwrap_or_default();
    let directory = root.make_directories(destination, uid, gid).map_err(StepError::io(destination))?;
    let ownership = match owner {
        Some(Owner { uid, gid }) => Ownership::Set { uid, gid },
        None => kept,
    };
    let options = ExtractOptions { ownership, ..ExtractOptions::default() };
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    extract::unpack_archive(&mut file, &path, &options)
        .map_err(|source| StepError::Archive { name: archive.name.clone(), source })?;
    file.finish()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| StepError::Panicked(panic.to_string()))?
}
