//! The tasks of all nodes, and those that replace some of them.
//!
//! A result of another machine is taken for what its record says, and its layer is read much later, if
//! at all. Should that fail, everything that stands on it is wrong: the delta is forgotten, and the node
//! that had it and all nodes above it get new tasks, which look their keys up anew. All others keep
//! theirs, finished or not. What was made meanwhile is in the store. In the same way a platform that failed
//! is tried again, if whoever builds wants it.

use std::sync::{Arc, Mutex};

use archway_graph::NodeId;
use archway_store::SnapshotKey;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::{
    Built, Failure,
    build::{Build, NodeEnd, finish, spawn_node},
    cancel::Cancel,
};

/// The nodes' tasks as they are now.
pub(crate) struct Attempts {
    build: Arc<Build>,
    /// What cancels each platform.
    platforms: Vec<CancellationToken>,
    ends: Mutex<Arc<[NodeEnd]>>,
}

impl Attempts {
    /// Starts every node.
    pub(crate) fn start(build: Arc<Build>, platforms: Vec<CancellationToken>) -> Self {
        let ends = spawn(&build, &platforms, |_, _| None);
        Self { build, platforms, ends: Mutex::new(ends) }
    }

    /// The end of a platform, by its output in the graph.
    pub(crate) async fn finish(self: Arc<Self>, output: usize) -> Result<Built, Failure> {
        // A node comes to a delta of its own, and to another one if that is forgotten.
        let most = 2 * self.build.job.graph.nodes.len() + 1;
        for attempt in 0.. {
            let ends = self.ends();
            let failure = match finish(&self.build, output, &ends).await {
                Ok(built) => return Ok(built),
                Err(failure) => failure,
            };
            let Some(delta) = failure.error.remote_delta() else { return Err(failure) };
            if self.platforms[output].is_cancelled() || attempt == most {
                return Err(failure);
            }
            self.build.remote.forget(delta, &failure.error);
            self.replace(&ends, delta);
        }
        unreachable!("the last attempt returned")
    }

    /// The end of a platform that failed before: nodes that failed get new tasks, unless another platform
    /// that failed with them has seen to that already.
    pub(crate) async fn again(self: Arc<Self>, output: usize) -> Result<Built, Failure> {
        self.build.layers.forget_failed();
        {
            let mut current = self.ends.lock().expect("no holder panics");
            let node = self.build.job.graph.outputs[output].node;
            if has_failed(&current[node.0 as usize]) {
                let failed = current.clone();
                *current = spawn(&self.build, &self.platforms, |id, inputs_are_kept| {
                    let end = &failed[id.0 as usize];
                    (inputs_are_kept && !has_failed(end)).then(|| end.clone())
                });
            }
        }
        self.finish(output).await
    }

    fn ends(&self) -> Arc<[NodeEnd]> {
        self.ends.lock().expect("no holder panics").clone()
    }

    /// Starts anew what came to `delta`, what failed, and all above. Whoever saw `failed` first does it.
    fn replace(&self, failed: &Arc<[NodeEnd]>, delta: SnapshotKey) {
        let mut current = self.ends.lock().expect("no holder panics");
        if !Arc::ptr_eq(&current, failed) {
            return;
        }
        // A copy is named by its content: made here, its delta has the name of the one that is gone.
        self.build.layers.forget(&delta);
        let is_sound = |end: &NodeEnd| match end.peek() {
            // It has not come to anything yet; it will not come to what is forgotten.
            None => true,
            Some(Ok(result)) => result.delta != Some(delta),
            Some(Err(_)) => false,
        };
        *current = spawn(&self.build, &self.platforms, |id, inputs_are_kept| {
            let end = &failed[id.0 as usize];
            (inputs_are_kept && is_sound(end)).then(|| end.clone())
        });
    }
}

/// Whether a node's task has failed, also if nobody has waited for it: whoever needs several nodes stops
/// waiting at the first that fails.
fn has_failed(end: &NodeEnd) -> bool {
    matches!(end.clone().now_or_never(), Some(Err(_)))
}

/// A task for each node, in graph order, inputs first. `kept` gives the one that a node has already, told
/// whether its inputs keep theirs.
fn spawn(
    build: &Arc<Build>,
    platforms: &[CancellationToken],
    kept: impl Fn(NodeId, bool) -> Option<NodeEnd>,
) -> Arc<[NodeEnd]> {
    let nodes = &build.job.graph.nodes;
    let mut ends: Vec<NodeEnd> = Vec::with_capacity(nodes.len());
    let mut is_kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        let inputs = node.op.inputs();
        let known = kept(node.id, inputs.iter().all(|id| is_kept[id.0 as usize]));
        is_kept.push(known.is_some());
        let end = known.unwrap_or_else(|| {
            let inputs = inputs.into_iter().map(|id| (id, ends[id.0 as usize].clone())).collect();
            let served = node.serves.iter().map(|index| platforms[*index].clone()).collect();
            spawn_node(build.clone(), node.id, inputs, Cancel::new(served))
        });
        ends.push(end);
    }
    ends.into()
}
