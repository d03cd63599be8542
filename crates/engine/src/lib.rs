//! The embedded build engine: executes a build graph on this machine.
//!
//! One task per graph node, each waiting for its inputs; a node runs once however many platforms
//! need it. Every node is first looked up by its content key ([`key`]); what has to run ends as an
//! immutable *delta* in the store (one overlayfs upper directory), from which a layer blob is made
//! while other steps go on. The engine knows nothing of tags, registries to push to, or policies: it
//! hands out one future per platform and one way to cancel each.
//!
//! | module | does |
//! |---|---|
//! | [`build`](Engine::start) | one task per node, cancellation, events |
//! | `cancel` | when a shared step stops |
//! | `slots` | whose turn it is |
//! | `step` | looks a node up in the cache, or executes it |
//! | `image`, `run`, `copy`, `directory`, `fetch` | the operations |
//! | `mount`, `ssh` | what a RUN mounts |
//! | `attempt` | what is looked up anew when a result of another machine turns out to be gone |
//! | [`remote`] | results of other machines, brought here when they are read |
//! | [`portable`] | results of this build, for other machines |
//! | `origin` | what an image was made from, by digest |
//! | `stack` | how the layers of a base image lie on one another |
//! | [`key`] | content keys |
//! | [`tree`], [`view`] | paths inside a root file system |
//! | `layers` | deltas to layer blobs |
//! | `assemble` | layers and config to one platform's image |

use std::{collections::BTreeMap, sync::Arc};

use archway_graph::{ContextName, Graph, NodeId};
use archway_layer::{Compression, extract::Ownership};
use archway_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference};
use archway_registry::{Client, GrowingBlob};
use archway_remote::Credentials;
use archway_report::{Events, StepId};
use archway_sandbox::{Cgroups, Sandbox};
use archway_store::Store;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

mod assemble;
mod attempt;
mod build;
mod cancel;
mod copy;
mod directory;
mod error;
mod fetch;
mod image;
pub mod key;
mod layers;
mod lent;
mod log;
mod mount;
mod origin;
pub mod portable;
mod pull;
pub mod remote;
pub mod rootfs;
mod run;
mod slots;
mod ssh;
mod stack;
mod step;
mod stubs;
pub mod tree;
pub mod user;
pub mod view;

pub use copy::placement::PlacementError;
pub use error::{Failure, StepError};
pub use fetch::Fetched;
pub use image::BaseImage;
pub use lent::{Lent, NotGiven};
pub use origin::Pinned;
pub use portable::{ExportSettings, Portable, Results, Scope};
pub use remote::{LayerSource, RemoteResults, SourceError};
pub use rootfs::RootFs;
pub use ssh::{AgentSocket, KeyAgent, KeyAgentError, SshAgent};

/// What the engine works with. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// Blobs, deltas and cache.
    pub store: Store,
    /// Where base images come from.
    pub registry: Client,
    /// Where processes run.
    pub sandbox: Arc<Sandbox>,
    /// Who owns the files of base images: `Squash` where this process has a single user id.
    pub ownership: Ownership,
}

impl Engine {
    /// The root file system of an image, for running it. Its layers are fetched when it is mounted.
    pub fn rootfs(&self, image: Arc<BaseImage>, events: &Events) -> Result<RootFs, StepError> {
        let lazy = image::LazyImage::new(self, image, events.clone(), None)?;
        Ok(RootFs::of_image(Arc::new(lazy)))
    }

    /// Brings the blob of a base layer into the store, if it is not there.
    pub async fn fetch_blob(&self, events: &Events, layer: &Layer) -> Result<(), StepError> {
        let image = layer.origin.as_ref().map(ToString::to_string).unwrap_or_default();
        pull::blob(&self.store, &self.registry, events, &image, layer).await
    }
}

/// One build.
#[derive(Clone)]
pub struct Job {
    /// What to do.
    pub graph: Arc<Graph>,
    /// The directories that nodes copy from.
    pub contexts: BTreeMap<ContextName, Arc<archway_source::Snapshot>>,
    /// Secrets and ssh agents for RUN steps.
    pub lent: Lent,
    /// Secrets and agent for repositories and downloads.
    pub credentials: Credentials,
    /// The manifests of the base images, by the digest their graph nodes name.
    pub bases: BTreeMap<Digest, Arc<BaseImage>>,
    /// Steps that run at the same time.
    pub jobs: usize,
    /// What limits each RUN step; `None`: nothing does.
    pub cgroups: Option<Arc<Cgroups>>,
    /// How layers are made; `None` if no output needs layers.
    pub layers: Option<LayerSettings>,
    /// What other machines know.
    pub remote: Arc<RemoteResults>,
    /// Which results are wanted elsewhere, beyond the layers of images: their layers are made at once.
    pub exported: Scope,
    /// Whether images hold the records of their own layers, and so are build caches.
    pub inline: bool,
    /// Image times, seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<i64>,
    /// Annotations for the manifest of each output of the graph, in order.
    pub annotations: Vec<BTreeMap<String, String>>,
    /// Who is told.
    pub events: Events,
    /// Told of each layer that is made, as soon as its blob is in the store, so that pushing overlaps building.
    pub on_layer: Arc<dyn Fn(&Layer) + Send + Sync>,
    /// Told of each layer that is being made, once it is large enough for an upload before its end to pay.
    pub on_growing: Arc<dyn Fn(GrowingBlob) + Send + Sync>,
}

/// How layers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerSettings {
    /// Compression.
    pub compression: Compression,
    /// The time of all files in new layers, seconds since 1970; `None`: each has its own.
    pub mtime: Option<i64>,
}

/// How a platform ends.
pub type PlatformEnd = BoxFuture<'static, Result<Built, Failure>>;

/// A platform that is being built.
pub struct PlatformRun {
    /// The platform.
    pub platform: Platform,
    /// Its end. Dropping the future does not stop the platform's steps; `cancel` does.
    pub result: PlatformEnd,
    /// Tries again, after `result` was a failure: steps that failed are started anew, with those that stand
    /// on them; all others keep their results.
    pub again: Arc<dyn Fn() -> PlatformEnd + Send + Sync>,
    /// Stops the steps that no other platform needs.
    pub cancel: CancellationToken,
}

/// One layer of a built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The repository the layer was resolved in, for layers of bases and of build caches. Their blob need
    /// not be in the store.
    pub origin: Option<Reference>,
}

/// What became of one platform.
#[derive(Debug, Clone)]
pub struct Built {
    /// Requested platform.
    pub platform: Platform,
    /// Its root file system.
    pub rootfs: RootFs,
    /// Its image; `None` if the job makes no layers.
    pub image: Option<BuiltImage>,
    /// The time that its files are to have where they are written, in seconds since 1970
    /// (`SOURCE_DATE_EPOCH`).
    pub mtime: Option<i64>,
    /// What it takes to find these results on another machine; `None` if another builder made them.
    pub results: Option<Results>,
}

/// The image of one platform. Config and manifest blobs are in the store; so are layers without an origin.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// Requested platform.
    pub platform: Platform,
    /// Layers, base first.
    pub layers: Vec<Layer>,
    /// The config.
    pub config: ImageConfig,
    /// Descriptor of the config blob.
    pub config_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// Descriptor of the manifest blob, its platform set.
    pub descriptor: Descriptor,
}

impl BuiltImage {
    /// Bytes of config and compressed layers.
    pub fn size(&self) -> u64 {
        self.config_descriptor.size + self.layers.iter().map(|layer| layer.descriptor.size).sum::<u64>()
    }
}

/// The step people see for a node.
pub fn step_id(node: NodeId) -> StepId {
    StepId(node.0)
}
