//! One node of the graph: found in the cache, or executed.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use archway_graph::{Label, Node, NodeId, Op};
use archway_layer::extract::Ownership;
use archway_report::{Event, Reason, StepOutcome};
use archway_store::{About, CacheRecord, SnapshotKey, SnapshotKind, Store};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    Failure, StepError, build::Build, cancel::Cancel, copy::apply::Owner, image::LazyImage, key::Key,
    rootfs::RootFs, step_id,
};

/// What a node gives to those that depend on it.
#[derive(Debug)]
pub(crate) struct StepResult {
    pub(crate) rootfs: RootFs,
    /// What it added on top of its base.
    pub(crate) delta: Option<SnapshotKey>,
    /// When that was made.
    pub(crate) created: Timestamp,
}

/// A node about to be executed, its inputs done.
pub(crate) struct Step<'a> {
    pub(crate) build: &'a Arc<Build>,
    pub(crate) node: &'a Node,
    pub(crate) inputs: &'a [(NodeId, Arc<StepResult>)],
    pub(crate) cancel: &'a Cancel,
    /// When its own work began.
    began: OnceLock<Instant>,
}

/// A delta that was found or made.
pub(crate) struct Delta {
    pub(crate) key: SnapshotKey,
    pub(crate) created: Timestamp,
    /// Whether nothing had to be done for it.
    pub(crate) cached: bool,
}

/// An error and the output that came before it.
pub(crate) struct StepFailure {
    pub(crate) error: StepError,
    pub(crate) log_tail: Vec<String>,
}

impl<E: Into<StepError>> From<E> for StepFailure {
    fn from(error: E) -> Self {
        Self { error: error.into(), log_tail: Vec::new() }
    }
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        build: &'a Arc<Build>,
        node: &'a Node,
        inputs: &'a [(NodeId, Arc<StepResult>)],
        cancel: &'a Cancel,
    ) -> Self {
        Self { build, node, inputs, cancel, began: OnceLock::new() }
    }

    /// Tells, once, that the step's own work begins: its inputs are there, and the cache has no result.
    pub(crate) fn begin(&self) -> Instant {
        *self.began.get_or_init(|| {
            self.build.started(self.node.id);
            Instant::now()
        })
    }

    /// The node's result. Tells the start and the end of it.
    pub(crate) async fn execute(&self) -> Result<StepResult, Failure> {
        match &self.node.op {
            Op::Scratch => Ok(self.without_delta(self.scratch())),
            Op::Image(image) => {
                let rootfs = self.image(&image.manifest).map_err(|error| Failure {
                    node: self.node.id,
                    error: Arc::new(error),
                    log_tail: Vec::new(),
                })?;
                Ok(self.without_delta(rootfs))
            }
            Op::Run(op) => self.with_delta(Some(op.base), self.run(op)).await,
            Op::Copy(op) => self.with_delta(Some(op.base), self.until_cancelled(self.copy(op))).await,
            Op::Mkdir(op) => self.with_delta(Some(op.base), self.until_cancelled(self.mkdir(op))).await,
            Op::Git(source) => self.with_delta(None, self.until_cancelled(self.git(source))).await,
            Op::Http(source) => self.with_delta(None, self.until_cancelled(self.http(source))).await,
        }
    }

    fn without_delta(&self, rootfs: RootFs) -> StepResult {
        StepResult { rootfs, delta: None, created: Timestamp::UNIX_EPOCH }
    }

    /// Nothing is fetched yet: a later step that misses the cache does that.
    fn image(&self, manifest: &archway_oci::Digest) -> Result<RootFs, StepError> {
        let image = LazyImage::new(
            &self.build.engine,
            self.build.job.bases[manifest].clone(),
            self.build.job.events.clone(),
            Some(step_id(self.node.id)),
        )?;
        if image.is_here()? {
            self.build.started(self.node.id);
            self.build.finished(self.node.id, StepOutcome::Cached, Duration::ZERO);
        }
        Ok(RootFs::of_image(Arc::new(image)).with_remote(&self.build.remote))
    }

    fn scratch(&self) -> RootFs {
        RootFs::scratch(self.build.engine.ownership).with_remote(&self.build.remote)
    }

    /// Drops `work` when the step is cancelled.
    pub(crate) async fn until_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, StepFailure>>,
    ) -> Result<T, StepFailure> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(StepError::Cancelled.into()),
            result = work => result,
        }
    }

    /// The result of `work` on a base, or on nothing.
    async fn with_delta(
        &self,
        base: Option<NodeId>,
        work: impl Future<Output = Result<Delta, StepFailure>>,
    ) -> Result<StepResult, Failure> {
        let result = work.await;
        let outcome = match &result {
            Ok(delta) if delta.cached => StepOutcome::Cached,
            Ok(_) => StepOutcome::Done,
            Err(failure) if failure.error.reason() == Reason::Cancelled => StepOutcome::Cancelled,
            // It did not fail: it is looked up anew.
            Err(failure) if failure.error.remote_delta().is_some() => StepOutcome::Cancelled,
            Err(failure) => StepOutcome::Failed { message: failure.error.to_string() },
        };
        let began = self.begin();
        self.build.finished(self.node.id, outcome, began.elapsed());
        match result {
            Ok(delta) => {
                let rootfs = match base {
                    Some(base) => self.input(base).rootfs.with(delta.key),
                    None => self.scratch().with(delta.key),
                };
                Ok(StepResult { rootfs, delta: Some(delta.key), created: delta.created })
            }
            Err(StepFailure { error, log_tail }) => {
                Err(Failure { node: self.node.id, error: Arc::new(error), log_tail })
            }
        }
    }

    /// The owner to give to files: the only one, where a single user id is all there is.
    pub(crate) fn owner(&self, uid: u32, gid: u32) -> Owner {
        match self.build.engine.ownership {
            Ownership::Squash => Owner::default(),
            Ownership::Keep | Ownership::Set { .. } => Owner { uid, gid },
        }
    }

    /// The owner of files that `text`, of `--chown` or USER, means in `rootfs`. Tells what it does not mean.
    pub(crate) async fn file_owner(&self, rootfs: &RootFs, text: &str) -> Result<Owner, StepError> {
        let owner = rootfs.file_owner(&self.build.engine.store, text).await?;
        for (name, file) in &owner.unknown {
            let message = format!("`{name}` is not in the image's {file}: the files are root's instead");
            self.build.job.events.send(Event::Warning { message });
        }
        Ok(self.owner(owner.uid, owner.gid))
    }

    /// The result of one of the node's inputs.
    pub(crate) fn input(&self, id: NodeId) -> &StepResult {
        let found = self.inputs.iter().find(|(input, _)| *input == id);
        &found.expect("a node's inputs are done before it starts").1
    }

    /// What the cache has for `key`: this machine's, if its delta is still there, or another's.
    pub(crate) fn cached(&self, key: Key) -> Result<Option<Delta>, StepError> {
        let here = Delta::find(&self.build.engine.store, key)?;
        let found = here.or_else(|| self.build.remote.find(key));
        if let Some(delta) = &found {
            self.build.ledger.delta(self.node.id, key, delta);
        }
        Ok(found)
    }

    /// Remembers `delta` under `key`.
    pub(crate) fn remember(&self, key: Key, delta: &Delta) -> Result<(), StepError> {
        self.build.ledger.delta(self.node.id, key, delta);
        if self.build.engine.store.snapshots().path(&delta.key)?.is_none() {
            // Of another machine: its record is enough until it is brought here.
            return Ok(());
        }
        let record =
            CacheRecord { snapshot: Some(delta.key), created: delta.created, metadata: String::new() };
        Ok(self.build.engine.store.cache().put_about(&key.into(), &record, &self.about())?)
    }

    /// What the step's delta is, for people who look at the store.
    fn about(&self) -> About {
        About {
            kind: SnapshotKind::Step,
            description: self.node.label.as_ref().map(Label::to_string).unwrap_or_default(),
            platform: match &self.node.op {
                Op::Run(op) => Some(op.platform.to_string()),
                _ => None,
            },
            parent: self.node.op.base().and_then(|base| self.input(base).rootfs.top()),
        }
    }
}

impl Delta {
    /// A delta made now. Times of results have whole seconds, in the cache as in the image.
    pub(crate) fn made(key: Key) -> Self {
        let now = Timestamp::now().as_second();
        let created = Timestamp::from_second(now).expect("the present is in range");
        Self { key: key.into(), created, cached: false }
    }

    /// The delta that the cache has for `key`.
    pub(crate) fn find(store: &Store, key: Key) -> Result<Option<Self>, StepError> {
        let Some(record) = store.cache().get(&key.into())? else { return Ok(None) };
        Ok(record.snapshot.map(|delta| Self { key: delta, created: record.created, cached: true }))
    }
}
