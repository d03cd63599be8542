//! An engine with a store of its own, and base images made entry by entry.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
};

use archway_dockerfile::ignore::IgnorePatterns;
use archway_engine::{
    BaseImage, Built, Engine, Failure, Job, LayerSettings, Lent, PlatformRun, Scope, view::View,
};
use archway_graph::{
    ContextName, Inputs, Lowering, NamedContexts, Network, NoCache, ResolvedBase, RunSettings, inputs::Bases,
    lower,
};
use archway_layer::{Compression, extract::Ownership};
use archway_oci::{
    ContainerConfig, Descriptor, Digest, ImageConfig, Manifest, Platform, RootFs, layout::Layout, media_type,
};
use archway_registry::{Client, ClientOptions};
use archway_remote::Credentials;
use archway_report::{Event, Events};
use archway_sandbox::Sandbox;
use archway_source::Snapshot;
use archway_store::Store;
use archway_testkit::{BaseImages, image::Layer, tools};
use tempfile::TempDir;

/// Whether this process may mount.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root() || tools::skip("the engine's tests need root")
}

pub(crate) struct Workshop {
    pub(crate) engine: Engine,
    /// What steps may mount.
    pub(crate) lent: Lent,
    directory: TempDir,
    bases: Bases,
    images: BTreeMap<Digest, Arc<BaseImage>>,
    events: Mutex<Receiver<Event>>,
    sender: Events,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("context")).unwrap();
        let (sender, events) = channel();
        let engine = Engine {
            sandbox: Arc::new(Sandbox::start().unwrap()),
            store: Store::open(directory.path().join("store")).unwrap(),
            registry: Client::new(ClientOptions::default()),
            ownership: Ownership::Keep,
        };
        Self {
            engine,
            lent: Lent::default(),
            directory,
            bases: Bases::new(),
            images: BTreeMap::new(),
            events: Mutex::new(events),
            sender: Events::new(move |event| drop(sender.send(event))),
        }
    }

    /// The build context.
    pub(crate) fn context(&self) -> std::path::PathBuf {
        self.directory.path().join("context")
    }

    pub(crate) fn store_directory(&self) -> std::path::PathBuf {
        self.directory.path().join("store")
    }

    /// Makes `name` a base image of these layers.
    pub(crate) fn base(&mut self, name: &str, platform: &Platform, layers: &[Layer]) {
        for layer in layers {
            self.engine.store.blobs().put(&layer.bytes).unwrap();
        }
        self.unreadable_base(name, platform, layers);
    }

    /// As [`Self::base`], but nobody has the layers.
    pub(crate) fn unreadable_base(&mut self, name: &str, platform: &Platform, layers: &[Layer]) {
        let config = ImageConfig {
            platform: platform.clone(),
            rootfs: RootFs {
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
                ..RootFs::default()
            },
            ..ImageConfig::default()
        };
        let layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
        self.image(
            name,
            platform,
            Manifest::new(Descriptor::of(media_type::OCI_CONFIG, name.as_bytes()), layers),
            config,
        );
    }

    /// Makes `busybox` a base image for this machine.
    pub(crate) fn busybox(&mut self) {
        let image = BaseImages::open().unwrap().busybox().unwrap();
        let layout = Layout::open(&image.directory).unwrap();
        let platform = Platform::host();
        let index = archway_oci::Index::parse(&layout.read_blob(&image.descriptor).unwrap()).unwrap();
        let child = index.manifests.iter().find(|child| child.platform.as_ref() == Some(&platform)).unwrap();
        let manifest = Manifest::parse(&layout.read_blob(child).unwrap()).unwrap();
        let config = ImageConfig::parse(&layout.read_blob(&manifest.config).unwrap()).unwrap();
        for layer in &manifest.layers {
            let bytes = std::fs::read(layout.blob_path(&layer.digest)).unwrap();
            self.engine.store.blobs().put(&bytes).unwrap();
        }
        self.image(
            "busybox",
            &platform,
            manifest,
            ImageConfig { config: ContainerConfig::default(), ..config },
        );
    }

    fn image(&mut self, name: &str, platform: &Platform, manifest: Manifest, config: ImageConfig) {
        let digest = Digest::sha256(&archway_oci::json::to_vec(&manifest));
        let base = ResolvedBase {
            reference: name.parse().unwrap(),
            manifest: digest.clone(),
            config: config.clone(),
        };
        self.bases.insert((name.to_owned(), platform.clone()), base);
        let image = BaseImage::new(name.to_owned(), None, manifest, config).unwrap();
        self.images.insert(digest, Arc::new(image));
    }

    /// Starts a build.
    pub(crate) fn start(&self, dockerfile: &str, platforms: &[Platform]) -> Vec<PlatformRun> {
        let dockerfile = archway_dockerfile::parse("Dockerfile", dockerfile).unwrap();
        let (host, processor) = (Platform::host(), Platform::host_processor());
        let lowering = lower(&Inputs {
            contexts: &NamedContexts::default(),
            dockerfile: &dockerfile,
            platforms,
            build_platform: &host,
            processor: &processor,
            build_args: &archway_graph::BuildArgs::default(),
            target: None,
            no_cache: &NoCache::default(),
            labels: &BTreeMap::new(),
            network: Network::None,
            run_settings: &RunSettings::default(),
            allowed: &BTreeSet::new(),
            strategies: &BTreeMap::new(),
            bases: &self.bases,
        });
        let Lowering::Ready(graph) = lowering.unwrap() else { panic!("a base image is missing") };
        let context = Snapshot::scan(&self.context(), &IgnorePatterns::default()).unwrap();
        self.engine.start(Job {
            graph: Arc::new(graph),
            contexts: BTreeMap::from([(ContextName::Main, Arc::new(context))]),
            lent: self.lent.clone(),
            credentials: Credentials::default(),
            bases: self.images.clone(),
            jobs: 4,
            cgroups: None,
            layers: Some(LayerSettings { compression: Compression::gzip(), mtime: None }),
            remote: Arc::default(),
            exported: Scope::Image,
            inline: false,
            source_date_epoch: None,
            annotations: Vec::new(),
            events: self.sender.clone(),
            on_layer: Arc::new(|_| {}),
            on_growing: Arc::new(|_| {}),
        })
    }

    /// Builds for this machine, to the end.
    pub(crate) async fn build(&self, dockerfile: &str) -> Result<Built, Failure> {
        let mut runs = self.start(dockerfile, &[Platform::host()]);
        runs.pop().unwrap().result.await
    }

    pub(crate) async fn view(&self, built: &Built) -> View {
        built.rootfs.view(&self.engine.store).await.unwrap()
    }

    /// What was told so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let texts = events.try_iter().filter_map(|event| match event {
            Event::Warning { message } => Some(message),
            _ => None,
        });
        texts.collect()
    }

    /// Waits for the first output of a step.
    pub(crate) fn wait_for_output(&self) {
        let events = self.events.lock().unwrap();
        while !matches!(events.recv().unwrap(), Event::StepLog { .. }) {}
    }
}

/// Permission bits and owner of what is at `path`.
pub(crate) fn attributes(view: &View, path: &str) -> (u32, u32, u32) {
    let stat = view.stat(path).unwrap().unwrap_or_else(|| panic!("{path} is missing"));
    (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
}

pub(crate) fn write(path: impl AsRef<Path>, content: &str) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub(crate) fn read(view: &View, path: &str) -> Option<String> {
    let file = view.open_file(path).unwrap()?;
    Some(std::io::read_to_string(file).unwrap())
}
