//! One task per node of the graph; a platform ends when the task of its node has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use archway_cache::{Entry, document::INLINE};
use archway_graph::{NodeId, Output};
use archway_layer::Layout;
use archway_oci::Platform;
use archway_remote::git::Revision;
use archway_report::{Event, StepOutcome};
use archway_store::SnapshotKey;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, try_join_all},
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    Built, BuiltImage, Engine, Failure, Job, Layer, PlatformRun, Results, Scope, StepError, assemble,
    assemble::MadeLayer,
    attempt::Attempts,
    cancel::Cancel,
    layers::LayerMaker,
    origin::DirectoryHash,
    portable::{self, Ledger},
    remote::Remote,
    slots::Slots,
    step::{Step, StepResult},
    step_id,
};

/// The end of a node's task, for everyone who waits for it.
pub(crate) type NodeEnd = Shared<BoxFuture<'static, Result<Arc<StepResult>, Failure>>>;

/// What all tasks of one build share.
pub(crate) struct Build {
    pub(crate) engine: Engine,
    pub(crate) job: Job,
    pub(crate) layers: LayerMaker,
    /// For steps that execute.
    pub(crate) slots: Arc<Slots>,
    /// What other machines know.
    pub(crate) remote: Arc<Remote>,
    /// What other machines may know of this build.
    pub(crate) ledger: Ledger,
    /// What the refs of repositories turned out to be.
    pub(crate) revisions: Mutex<BTreeMap<NodeId, Revision>>,
    /// What is known of the files that were copied.
    pub(crate) directory_hashes: tokio::sync::Mutex<Vec<DirectoryHash>>,
}

impl Engine {
    /// Starts every node as soon as its inputs are done, and returns at once: one run per
    /// requested platform, in request order.
    pub fn start(&self, job: Job) -> Vec<PlatformRun> {
        let (store, events) = (self.store.clone(), job.events.clone());
        let remote = Arc::new(Remote::new(job.remote.clone(), store, self.ownership, events));
        let build = Arc::new(Build {
            slots: Slots::new(job.jobs, &job.graph, &Platform::host_processor()),
            layers: LayerMaker::new(self.store.clone(), &job, remote.clone()),
            engine: self.clone(),
            ledger: Ledger::default(),
            revisions: Mutex::default(),
            directory_hashes: tokio::sync::Mutex::default(),
            remote,
            job,
        });
        let outputs = &build.job.graph.outputs;
        let platforms: Vec<CancellationToken> = outputs.iter().map(|_| CancellationToken::new()).collect();
        let attempts = Arc::new(Attempts::start(build.clone(), platforms.clone()));
        outputs
            .iter()
            .zip(platforms)
            .enumerate()
            .map(|(index, (output, cancel))| {
                let again = attempts.clone();
                PlatformRun {
                    platform: output.platform.clone(),
                    result: attempts.clone().finish(index).boxed(),
                    again: Arc::new(move || again.clone().again(index).boxed()),
                    cancel,
                }
            })
            .collect()
    }
}

pub(crate) fn spawn_node(
    build: Arc<Build>,
    id: NodeId,
    inputs: Vec<(NodeId, NodeEnd)>,
    cancel: Cancel,
) -> NodeEnd {
    let failure = move |error: StepError| Failure { node: id, error: Arc::new(error), log_tail: Vec::new() };
    let task = tokio::spawn(async move {
        let _ended = Ended { build: build.clone(), node: id };
        // The first input that fails is enough: the others may take long.
        let results =
            try_join_all(inputs.into_iter().map(|(id, end)| async move { Ok((id, end.await?)) })).await?;
        if cancel.is_cancelled() {
            return Err(failure(StepError::Cancelled));
        }
        let result = Step::new(&build, build.job.graph.node(id), &results, &cancel).execute().await?;
        if let Some(delta) = &result.delta {
            build.start_layers(id, delta);
        }
        Ok(Arc::new(result))
    });
    async move { task.await.unwrap_or_else(|panic| Err(failure(StepError::Panicked(panic.to_string())))) }
        .boxed()
        .shared()
}

/// Tells, when it is dropped, that a node has ended.
struct Ended {
    build: Arc<Build>,
    node: NodeId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.build.slots.ended(self.node);
    }
}

/// Waits for a platform's node and puts its image together.
pub(crate) async fn finish(
    build: &Arc<Build>,
    index: usize,
    ends: &Arc<[NodeEnd]>,
) -> Result<Built, Failure> {
    let output = &build.job.graph.outputs[index];
    let result = ends[output.node.0 as usize].clone().await?;
    let failure = |error| Failure { node: output.node, error: Arc::new(error), log_tail: Vec::new() };

    let form = build.layers.form(build.layout(output));
    let (mut made, mut entry) = (Vec::new(), Entry::default());
    for node in &output.layers {
        // The node is an ancestor of the output's node, so it ended before it.
        let step = ends[node.0 as usize].clone().await?;
        let (Some(delta), Some(form)) = (&step.delta, form) else { continue };
        let Some(layer) = build.layers.wait(delta, form).await.map_err(failure)? else { continue };
        entry.records.extend(build.ledger.inline(*node, delta));
        entry.forms.insert((*delta, form.id()), portable::form(&layer));
        made.push(MadeLayer { layer, created: step.created });
    }
    let mut annotations = build.job.annotations.get(index).cloned().unwrap_or_default();
    if build.job.inline && !entry.forms.is_empty() {
        annotations.insert(INLINE.to_owned(), entry.to_inline());
    }
    let image = match build.job.layers {
        Some(_) => Some(store_image(build, index, made, annotations).await.map_err(failure)?),
        None => None,
    };
    Ok(Built {
        platform: output.platform.clone(),
        rootfs: result.rootfs.clone(),
        image,
        mtime: build.job.source_date_epoch,
        results: Some(Results { build: build.clone(), ends: ends.clone(), output: index }),
    })
}

async fn store_image(
    build: &Arc<Build>,
    index: usize,
    made: Vec<MadeLayer>,
    annotations: BTreeMap<String, String>,
) -> Result<BuiltImage, StepError> {
    let output = &build.job.graph.outputs[index];
    let base = build.base_of(output);
    let base_layers: Vec<Layer> = base.as_ref().map(|base| base.layers()).unwrap_or_default();
    let epoch = build.job.source_date_epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let documents = assemble::documents(
        output,
        base.as_ref().map(|base| &base.config),
        base_layers,
        made,
        epoch,
        annotations,
    );
    let store = build.engine.store.clone();
    let (config_bytes, manifest_bytes) = (documents.config_bytes, documents.manifest_bytes);
    let manifest_bytes = tokio::task::spawn_blocking(move || {
        store.blobs().put(&config_bytes)?;
        store.blobs().put(&manifest_bytes)?;
        Ok::<_, StepError>(manifest_bytes)
    })
    .await
    .map_err(|panic| StepError::Panicked(panic.to_string()))??;
    let mut descriptor = archway_oci::Descriptor::of(archway_oci::media_type::OCI_MANIFEST, &manifest_bytes);
    descriptor.platform = Some(documents.config.platform.clone());
    Ok(BuiltImage {
        platform: output.platform.clone(),
        layers: documents.layers,
        config: documents.config,
        config_descriptor: documents.manifest.config.clone(),
        manifest: documents.manifest,
        descriptor,
    })
}

impl Build {
    /// Begins to make the layers of a node's delta: those of images, and one for other machines.
    fn start_layers(&self, node: NodeId, delta: &SnapshotKey) {
        let layouts = self.layouts(node);
        for form in layouts.iter().filter_map(|layout| self.layers.form(*layout)) {
            self.layers.start(delta, form);
        }
        // What came from another machine may stay there.
        if layouts.is_empty()
            && self.job.exported == Scope::Everything
            && self.ledger.has(node)
            && let Some(form) = self.layers.form(Layout::Unix)
            && self.engine.store.snapshots().path(delta).is_ok_and(|path| path.is_some())
        {
            self.layers.start_apart(delta, form);
        }
    }

    /// The layouts in which images have the node's delta as a layer. Deltas of stages that are only
    /// copied from stay on this machine.
    fn layouts(&self, node: NodeId) -> BTreeSet<Layout> {
        let outputs = self.job.graph.outputs.iter().filter(|output| output.layers.contains(&node));
        outputs.map(|output| self.layout(output)).collect()
    }

    /// The layout of the layers of an output: that of its base image.
    pub(crate) fn layout(&self, output: &Output) -> Layout {
        self.base_of(output).map_or(Layout::Unix, |base| base.layout())
    }

    /// The base image of an output.
    fn base_of(&self, output: &Output) -> Option<Arc<crate::BaseImage>> {
        match &self.job.graph.node(output.base?).op {
            archway_graph::Op::Image(image) => self.job.bases.get(&image.manifest).cloned(),
            _ => None,
        }
    }

    /// Tells that a node started.
    pub(crate) fn started(&self, node: NodeId) {
        self.job.events.send(Event::StepStarted { step: step_id(node) });
    }

    /// Tells that a node ended.
    pub(crate) fn finished(&self, node: NodeId, outcome: StepOutcome, duration: Duration) {
        self.job.events.send(Event::StepFinished { step: step_id(node), outcome, duration });
    }
}
