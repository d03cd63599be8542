//! What a build found and made, in the form in which other machines can use it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use archway_cache::{Entry, Form, Outcome, Record};
use archway_graph::NodeId;
use archway_layer::Layout;
use archway_store::{CacheKey, SnapshotKey};

use crate::{
    Layer, LayerSettings, StepError,
    build::{Build, NodeEnd},
    key::Key,
    layers,
    step::Delta,
};

/// Which results other machines are to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Scope {
    /// Those whose deltas are layers of the image (`mode=min`).
    #[default]
    Image,
    /// All, also those of stages that are only copied from (`mode=max`).
    Everything,
}

/// Results of one platform.
#[derive(Debug, Default)]
pub struct Portable {
    /// Records and forms.
    pub entry: Entry,
    /// The blobs that the forms name. Those without an origin are in the store.
    pub layers: Vec<Layer>,
}

/// How layers are made that nothing else needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSettings {
    /// How new layers are made.
    pub layers: LayerSettings,
    /// Whether layers of the image are made anew if they are made in another way.
    pub force: bool,
}

/// The results of one platform of a build.
#[derive(Clone)]
pub struct Results {
    pub(crate) build: Arc<Build>,
    pub(crate) ends: Arc<[NodeEnd]>,
    /// Its output in the graph.
    pub(crate) output: usize,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Results({})", self.output)
    }
}

impl Results {
    /// The results, used at a time in seconds since 1970. Layers that are missing are made.
    ///
    /// # Errors
    /// When a layer cannot be made or had.
    pub async fn portable(
        &self,
        scope: Scope,
        settings: &ExportSettings,
        used: i64,
    ) -> Result<Portable, StepError> {
        let graph = &self.build.job.graph;
        let output = &graph.outputs[self.output];
        let nodes: Vec<NodeId> = match scope {
            Scope::Image => output.layers.clone(),
            Scope::Everything => {
                let nodes = graph.nodes.iter().filter(|node| node.serves.contains(&self.output));
                nodes.map(|node| node.id).collect()
            }
        };
        let mut portable = Portable::default();
        for node in nodes {
            let is_of_image = output.layers.contains(&node);
            let layout = if is_of_image { self.build.layout(output) } else { Layout::Unix };
            self.add(&mut portable, node, is_of_image, layout, settings, used).await?;
        }
        portable.entry.tidy();
        Ok(portable)
    }

    async fn add(
        &self,
        portable: &mut Portable,
        node: NodeId,
        is_of_image: bool,
        layout: Layout,
        settings: &ExportSettings,
        used: i64,
    ) -> Result<(), StepError> {
        let end = self.ends[node.0 as usize].clone().await;
        let result = end.map_err(|failure| StepError::Shared(failure.error))?;
        let known = self.build.ledger.of(node);
        let is_found = known.values().any(|outcome| leads_to(outcome, result.delta));
        let current = known.into_iter().filter(|(_, outcome)| match outcome {
            Outcome::Fact(_) => true,
            Outcome::Delta { .. } => leads_to(outcome, result.delta),
        });
        portable.entry.records.extend(current.map(|(key, outcome)| (key, Record { outcome, used })));
        // What is found by no key, such as a download that may change, is of no use elsewhere.
        let Some(delta) = result.delta.filter(|_| is_found) else { return Ok(()) };
        let own = layers::Form { settings: settings.layers, layout };
        let of_image = self.build.layers.form(layout).filter(|_| is_of_image && !settings.force);
        let found = self.build.layers.any(&delta, of_image.unwrap_or(own)).await?;
        let Some((name, layer)) = found else { return Ok(()) };
        portable.entry.forms.insert((delta, name), form(&layer));
        portable.layers.push(layer);
        Ok(())
    }
}

fn leads_to(outcome: &Outcome, delta: Option<SnapshotKey>) -> bool {
    matches!(outcome, Outcome::Delta { snapshot, .. } if Some(*snapshot) == delta)
}

/// How a cache names a layer.
pub(crate) fn form(layer: &Layer) -> Form {
    Form {
        diff_id: layer.diff_id.clone(),
        digest: layer.descriptor.digest.clone(),
        size: layer.descriptor.size,
        media_type: layer.descriptor.media_type.clone(),
    }
}

/// What every node was looked up by, and what that led to.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<BTreeMap<NodeId, BTreeMap<CacheKey, Outcome>>>);

impl Ledger {
    pub(crate) fn delta(&self, node: NodeId, key: Key, delta: &Delta) {
        let (created, snapshot) = (delta.created.as_second(), delta.key);
        self.note(node, key, Outcome::Delta { created, snapshot });
    }

    pub(crate) fn fact(&self, node: NodeId, key: Key, fact: Key) {
        self.note(node, key, Outcome::Fact(fact.into()));
    }

    fn note(&self, node: NodeId, key: Key, outcome: Outcome) {
        self.0.lock().expect("no holder panics").entry(node).or_default().insert(key.into(), outcome);
    }

    pub(crate) fn of(&self, node: NodeId) -> BTreeMap<CacheKey, Outcome> {
        self.0.lock().expect("no holder panics").get(&node).cloned().unwrap_or_default()
    }

    /// Whether a node was found, or can be found the next time, under a key.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.0.lock().expect("no holder panics").contains_key(&node)
    }

    /// The record of the delta that a layer of an image is: the same however it was found and whenever it
    /// is exported, since it is a part of the image. The key that a copy has besides, which names its
    /// delta, is looked up only where the first one is not known.
    pub(crate) fn inline(&self, node: NodeId, snapshot: &SnapshotKey) -> BTreeMap<CacheKey, Record> {
        let mut own = self.of(node);
        own.retain(|_, outcome| leads_to(outcome, Some(*snapshot)));
        if own.len() > 1 {
            own.retain(|key, _| key.as_bytes() != snapshot.as_bytes());
        }
        own.into_iter().map(|(key, outcome)| (key, Record { outcome, used: 0 })).collect()
    }
}
