//! COPY and ADD.
//!
//! What is copied is hashed first; the content's key and the base's identity find the result in the
//! cache. On a miss the base is asked where things go ([`placement`]), which gives a second key that
//! no longer mentions the base: platforms whose bases agree share the delta, and with it the layer. With
//! `--link` the base is not asked at all.

use std::{os::fd::AsRawFd as _, path::PathBuf, sync::Arc};

use archway_dockerfile::glob::literal;
use archway_graph::{ContextName, CopyOp, CopySource, NodeId, Op};
use archway_layer::extract::{self, ExtractOptions, Ownership};
use archway_report::Event;
use archway_store::CacheRecord;
use jiff::Timestamp;

use self::{
    apply::{Attributes, Owner, Writer},
    earlier::Lineage,
    entry::{EntryKind, SourceItem},
    placement::{Item, Placement, SubDirectory},
};
use crate::{
    StepError, image,
    key::{self, Key},
    rootfs::RootFs,
    step::{Delta, Step, StepFailure},
    tree::{self, Tree},
    view::View,
};

pub(crate) mod apply;
pub(crate) mod context;
mod earlier;
pub(crate) mod entry;
mod files;
mod inline;
pub(crate) mod pick;
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
            groups.push(Group { source, content: self.content(op, source).await? });
        }
        let content = key::contents(&groups.iter().map(|group| group.content).collect::<Vec<_>>());
        let identity = if op.link { key::scratch(self.build.engine.ownership) } else { base.identity };
        let key = key::copy(identity, op, content);
        if let Some(delta) = self.cached(key)? {
            return Ok(delta);
        }
        if !op.link {
            // A download needs no permit.
            base.materialize(&self.build.engine.store).await?;
        }
        let _slot = self.build.slots.take(self.node.id).await;
        let owner = match &op.chown {
            Some(text) => Some(self.file_owner(base, text).await?),
            None => None,
        };
        let mut items = Vec::new();
        for group in &groups {
            items.extend(self.items(op, group.source).await?);
        }
        let attributes = Attributes { owner, mode: op.chmod.clone() };
        let copied = Copied { key, content, attributes, items };
        Ok(self.write(op, base, copied).await?)
    }

    /// The content of a group; read from a stage only if nobody did before.
    async fn content(&self, op: &CopyOp, source: &CopySource) -> Result<Key, StepError> {
        match source {
            CopySource::Context { context, paths } => {
                let (snapshot, store) = (self.context(context), self.build.engine.store.clone());
                let (picks, events) = (pick::picks(op, paths), self.build.job.events.clone());
                blocking(move || context::content(&snapshot, picks, &store, &events)).await
            }
            CopySource::Inline { files } => Ok(key::content(files)),
            CopySource::Download { node, unpack } => {
                let file = self.content_of(op, *node, &[self.download(*node).to_owned()], source).await?;
                Ok(if *unpack { key::unpacked(file) } else { file })
            }
            CopySource::Node { node, paths } => self.content_of(op, *node, paths, source).await,
        }
    }

    /// The content of what is at `path` in another node's root file system.
    pub(crate) async fn content_at(&self, node: NodeId, path: &str) -> Result<Key, StepError> {
        let paths = vec![literal(path)];
        let source = CopySource::Node { node, paths: paths.clone() };
        let op = CopyOp::plain(node, Vec::new(), "/");
        self.content_of(&op, node, &paths, &source).await
    }

    /// The content of a group that is in another node's root file system.
    async fn content_of(
        &self,
        op: &CopyOp,
        node: NodeId,
        paths: &[String],
        source: &CopySource,
    ) -> Result<Key, StepError> {
        let store = self.build.engine.store.clone();
        let selection = key::selection(self.input(node).rootfs.identity, op, paths);
        let known = || -> Result<Option<Key>, StepError> {
            let fact = store.cache().get(&selection.into())?;
            let here = fact.and_then(|fact| fact.metadata.parse().ok());
            let found = here.or_else(|| self.build.remote.fact(selection));
            if let Some(content) = found {
                self.build.ledger.fact(self.node.id, selection, content);
            }
            Ok(found)
        };
        if let Some(known) = known()? {
            return Ok(known);
        }
        // Several platforms may copy the same: one of them reads it.
        let _lock = image::lock(&store, selection.to_string()).await?;
        if let Some(known) = known()? {
            return Ok(known);
        }
        let items = self.items(op, source).await?;
        let content = blocking(move || stage::content(&items)).await?;
        let created = Timestamp::now();
        let fact = CacheRecord { snapshot: None, created, metadata: content.to_string() };
        store.cache().put(&selection.into(), &fact)?;
        self.build.ledger.fact(self.node.id, selection, content);
        Ok(content)
    }

    /// The name of the file that a node downloads.
    fn download(&self, node: NodeId) -> &str {
        match &self.build.job.graph.node(node).op {
            Op::Http(source) => &source.name,
            other => unreachable!("{other:?} is no download"),
        }
    }

    /// The files of a group.
    async fn items(&self, op: &CopyOp, source: &CopySource) -> Result<Vec<SourceItem>, StepError> {
        match source {
            CopySource::Context { context, paths } => {
                let (snapshot, picks) = (self.context(context), pick::picks(op, paths));
                blocking(move || context::select(&snapshot, picks)).await
            }
            CopySource::Inline { files } => Ok(files.iter().map(inline::item).collect()),
            CopySource::Node { node, paths } => {
                let view = Arc::new(self.input(*node).rootfs.view(&self.build.engine.store).await?);
                let (picks, from) = (pick::picks(op, paths), self.describe(*node));
                blocking(move || stage::select(&view, &picks, &from)).await
            }
            CopySource::Download { node, unpack } => {
                let view = Arc::new(self.input(*node).rootfs.view(&self.build.engine.store).await?);
                let (name, unpack) = (self.download(*node).to_owned(), *unpack);
                let mut item = blocking(move || stage::file(&view, &name)).await?;
                item.unpack = Some(unpack);
                Ok(vec![item])
            }
        }
    }

    fn context(&self, name: &ContextName) -> Arc<archway_source::Snapshot> {
        let context = self.build.job.contexts.get(name).cloned();
        context.expect("the caller gives every context that the graph copies from")
    }

    fn context_directory(&self, name: &ContextName) -> &std::path::Path {
        let context = self.build.job.contexts.get(name);
        context.expect("the caller gives every context that the graph copies from").directory()
    }

    /// How a message names the root file system of a node.
    pub(crate) fn describe(&self, node: NodeId) -> String {
        let node = self.build.job.graph.node(node);
        match (&node.op, &node.label) {
            (Op::Image(image), _) => format!("image {}", image.name),
            (Op::Git(source), _) => source.describe(),
            (Op::Http(source), _) => source.describe(),
            (_, Some(label)) => format!("stage {}", label.stage),
            (_, None) => "scratch".to_owned(),
        }
    }

    async fn write(&self, op: &CopyOp, base: &RootFs, copied: Copied) -> Result<Delta, StepError> {
        let Copied { key, content, attributes, items } = copied;
        let store = &self.build.engine.store;
        let (lowers, view) = match op.link {
            true => (Arc::default(), None),
            false => (base.materialize(store).await?, Some(base.view(store).await?)),
        };
        self.begin();
        let (destination, unpacks) = (op.destination.clone(), op.unpack);
        let (sources, placement) = blocking(move || {
            let sources = Sources::of(items, unpacks)?;
            let base: &dyn Tree = view.as_ref().map_or(&tree::Empty, |view| view);
            let placement = placement::place(base, &destination, &sources.described())?;
            Ok((sources, placement))
        })
        .await?;
        self.tell_replaced(&sources, &placement);
        // Unpacking follows the base's own symlinks, so its result belongs to this base only.
        let owner = attributes.owner.map(|owner| (owner.uid, owner.gid));
        let delta_key = match sources.has_archives() {
            false => key::copy_delta(&placement, owner, attributes.mode.as_ref(), content),
            true => key,
        };
        // Other platforms may be about to make the same delta: one of them does.
        let _lock = image::lock(store, delta_key.to_string()).await?;
        let delta = match self.cached(delta_key)? {
            Some(shared) => Delta { cached: false, ..shared },
            None => {
                let kept = self.build.engine.ownership;
                let (store, destination) = (store.clone(), op.destination.clone());
                let lineage = Lineage::of(op, &sources.items, |name| self.context_directory(name));
                blocking(move || {
                    let pending = store.snapshots().begin()?;
                    let earlier = lineage.map(|lineage| lineage.earlier(&store)).transpose()?.flatten();
                    let mut writer = Writer::open(pending.delta())?.taking_from(earlier);
                    // All are made for what comes first.
                    let created = attributes.parent(sources.archives.first() == Some(&true));
                    writer.parents(&placement, &sources.items, created)?;
                    for (index, item) in sources.items.iter().enumerate() {
                        if sources.archives[index] {
                            let root = View::open_writable(&lowers, pending.delta(), pending.work())?;
                            unpack(item, &root, &destination, attributes.owner, kept)?;
                        } else {
                            writer.item(item, &placement.targets[index], &placement, &attributes)?;
                        }
                    }
                    let files = writer.finish()?;
                    let delta = Delta::made(delta_key);
                    store.snapshots().commit(pending, &delta.key)?;
                    if let Some(lineage) = lineage.filter(|_| !files.is_empty()) {
                        lineage.remember(&store, delta.key, files)?;
                    }
                    Ok(delta)
                })
                .await?
            }
        };
        self.remember(delta_key, &delta)?;
        self.remember(key, &delta)?;
        Ok(delta)
    }

    /// Tells that files were copied to one name, of which only the last is left.
    fn tell_replaced(&self, sources: &Sources, placement: &Placement) {
        let files = sources.items.iter().zip(&placement.targets).filter(|(item, _)| !item.is_directory());
        let names: Vec<(&str, &String)> = files.map(|(item, target)| (item.name.as_str(), target)).collect();
        for pair in names.windows(2) {
            let [(first, target), (second, same)] = pair else { continue };
            if target == same && first != second {
                let message = format!(
                    "`{first}` and `{second}` were both copied to the file `{target}`, and the second is what is \
                     left; end the destination with `/` to copy into a directory"
                );
                self.build.job.events.send(Event::Warning { message });
            }
        }
    }
}

/// What a COPY writes, once it is known that it has to.
struct Copied {
    key: Key,
    content: Key,
    attributes: Attributes,
    items: Vec<SourceItem>,
}

/// What is copied, in order.
struct Sources {
    items: Vec<SourceItem>,
    /// Which of them are unpacked.
    archives: Vec<bool>,
}

impl Sources {
    /// Finds the archives if they are to be unpacked.
    fn of(items: Vec<SourceItem>, unpack: bool) -> Result<Self, StepError> {
        let mut archives = Vec::with_capacity(items.len());
        for item in &items {
            archives.push(match item.entries.as_slice() {
                [entry] if item.unpack.unwrap_or(unpack) && matches!(entry.kind, EntryKind::File { .. }) => {
                    extract::is_archive(item.open.open(entry)?)
                }
                _ => false,
            });
        }
        Ok(Self { items, archives })
    }

    fn has_archives(&self) -> bool {
        self.archives.contains(&true)
    }

    fn described(&self) -> Vec<Item<'_>> {
        let items = self.items.iter().zip(&self.archives);
        items
            .map(|(item, is_archive)| match is_archive {
                true => Item { name: &item.name, directories: Some(Vec::new()), files: Vec::new() },
                false => describe(item),
            })
            .collect()
    }
}

fn describe(item: &SourceItem) -> Item<'_> {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in item.entries.iter().skip(1) {
        let path = entry.path.as_str();
        if entry.kind == EntryKind::Directory {
            directories.push(SubDirectory { path, implied: entry.implied.then_some(entry.mode) });
        } else {
            files.push(path);
        }
    }
    Item { name: &item.name, directories: item.is_directory().then_some(directories), files }
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
