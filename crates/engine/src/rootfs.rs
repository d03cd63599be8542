//! A root file system as the engine handles it: a stack of deltas, not mounted until someone looks.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use archway_layer::extract::Ownership;
use archway_store::{SnapshotKey, Store};

use crate::{
    error::StepError,
    image::LazyImage,
    key::{self, Key},
    remote::Remote,
    stack,
    user::{self, FileOwner, User, UserError},
    view::View,
};

/// A stack of deltas. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RootFs {
    /// Content identity; see [`key`].
    pub identity: Key,
    /// The deltas above the image, bottom first.
    deltas: Arc<[SnapshotKey]>,
    /// The image at the bottom, whose layers may not be on disk yet.
    image: Option<Arc<LazyImage>>,
    /// Who has deltas that are not here.
    remote: Option<Arc<Remote>>,
    /// What is mounted, once somebody asked.
    paths: Paths,
    /// The same of the root file system below the topmost delta.
    paths_below: Option<Paths>,
}

type Paths = Arc<OnceLock<Arc<[PathBuf]>>>;

impl RootFs {
    /// Nothing at all.
    pub(crate) fn scratch(ownership: Ownership) -> Self {
        Self {
            identity: key::scratch(ownership),
            deltas: Arc::new([]),
            image: None,
            remote: None,
            paths: Paths::default(),
            paths_below: None,
        }
    }

    /// An image's layers.
    pub(crate) fn of_image(image: Arc<LazyImage>) -> Self {
        Self {
            identity: image.identity(),
            deltas: Arc::new([]),
            image: Some(image),
            remote: None,
            paths: Paths::default(),
            paths_below: None,
        }
    }

    /// The same, whose deltas may be elsewhere.
    pub(crate) fn with_remote(self, remote: &Arc<Remote>) -> Self {
        Self { remote: Some(remote.clone()), ..self }
    }

    /// This root file system with one more delta.
    pub(crate) fn with(&self, delta: SnapshotKey) -> Self {
        let identity = key::stacked(self.identity, delta);
        let deltas = self.deltas.iter().copied().chain([delta]).collect();
        let (paths, paths_below) = (Paths::default(), Some(self.paths.clone()));
        let (image, remote) = (self.image.clone(), self.remote.clone());
        Self { identity, deltas, image, remote, paths, paths_below }
    }

    /// The topmost delta that is no layer of the image.
    pub(crate) fn top(&self) -> Option<SnapshotKey> {
        self.deltas.last().copied()
    }

    /// The directories to mount, bottom first, each once, without those that change nothing; fetches and
    /// unpacks the image's layers if they are not here.
    pub async fn materialize(&self, store: &Store) -> Result<Arc<[PathBuf]>, StepError> {
        if let Some(paths) = self.paths.get() {
            return Ok(paths.clone());
        }
        // A build of many steps looks at each delta once, not once for every step above it.
        let below = self.paths_below.as_ref().and_then(|below| below.get());
        let (mut paths, above) = match (below, self.deltas.split_last()) {
            (Some(below), Some((top, _))) => (below.to_vec(), std::slice::from_ref(top)),
            _ => (self.image_paths().await?, &self.deltas[..]),
        };
        if let Some(remote) = &self.remote {
            remote.bring(above).await?;
        }
        for key in above {
            let delta = stack::path_of(store, *key)?;
            stack::cover(&mut paths, delta).map_err(StepError::io(store.root()))?;
        }
        Ok(self.paths.get_or_init(|| paths.into()).clone())
    }

    async fn image_paths(&self) -> Result<Vec<PathBuf>, StepError> {
        let Some(image) = &self.image else { return Ok(Vec::new()) };
        Ok(stack::without_repeats(&image.materialize().await?))
    }

    /// A view of it.
    pub async fn view(&self, store: &Store) -> Result<View, StepError> {
        let deltas = self.materialize(store).await?;
        View::open(&deltas)
    }

    /// The account a process of it runs as (`USER`, or the config's user).
    pub async fn process_user(&self, store: &Store, text: &str) -> Result<User, StepError> {
        let view = self.view(store).await?;
        Ok(user::for_process(text, &|path| view.open_file(path))?)
    }

    /// The owner that `--chown` names, or the one of a directory that WORKDIR makes.
    pub(crate) async fn file_owner(&self, store: &Store, text: &str) -> Result<FileOwner, StepError> {
        let nobody = |_: &str| Ok(None);
        let numbers = user::for_files(text, &nobody)?;
        if numbers.unknown.is_empty() {
            return Ok(numbers);
        }
        let view = self.view(store).await?;
        let owner: Result<_, UserError> = user::for_files(text, &|path| view.open_file(path));
        Ok(owner?)
    }
}
