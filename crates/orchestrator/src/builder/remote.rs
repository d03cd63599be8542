//! One platform at the daemons of a pool.
//!
//! A daemon that cannot be reached, or that is gone in the middle of a build, is no failure as long as another one may
//! build the platform. Everything else is the platform's failure, and tried again if the request says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use archway_buildkit::{
    ConnectError, Daemon, Lent, SolveError,
    pool::{self, Ability},
    session::{Directory, Receiver, Secret},
    solve::{Entry, Steps},
};
use archway_engine::{AgentSocket, Built};
use archway_graph::{ContextName, Graph, Op};
use archway_oci::{Digest, Reference, reference::ImageLocation};
use archway_report::{Event, PlatformPlan};
use archway_source::Snapshot;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;

use super::{
    adopt::{self, Wanted},
    fleet::Member,
    solve,
};
use crate::{
    Context, Error,
    failure::{Failure, RemoteError},
    request::BuildRequest,
    resolve::Bases,
};

/// A platform that daemons build.
pub(crate) struct RemotePlatform {
    /// Its place in the request.
    pub(crate) index: usize,
    pub(crate) plan: PlatformPlan,
    /// The builder's name.
    pub(crate) builder: String,
    /// Daemons that may build it.
    pub(crate) members: Vec<Arc<Member>>,
    /// Whether nothing of the platform is executed.
    pub(crate) is_cross: bool,
    /// The Dockerfile as these daemons understand it.
    pub(crate) graph: Arc<Graph>,
}

/// What all platforms at daemons share.
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) request: BuildRequest,
    /// The text of the Dockerfile.
    pub(crate) dockerfile: Arc<str>,
    pub(crate) contexts: BTreeMap<ContextName, Arc<Snapshot>>,
    pub(crate) bases: Arc<Bases>,
    /// Where daemons push to; `None`: nothing is pushed, and images come here.
    pub(crate) repository: Option<Reference>,
    /// Whether anybody here reads the layers that daemons make.
    pub(crate) reads_layers: bool,
    /// The number of the next step that is found.
    pub(crate) next_step: Arc<AtomicU32>,
    /// Names the source, for daemons that have seen it before.
    pub(crate) source: String,
    /// Values of `--secret`, by id.
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// SSH agents by id, each behind a socket that allows what a step may do.
    pub(crate) agents: BTreeMap<String, AgentSocket>,
    /// Where images that are not pushed arrive.
    pub(crate) scratch: tempfile::TempDir,
}

/// A platform that daemons are building.
pub(crate) struct RemoteRun {
    platform: RemotePlatform,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    /// How often it was started.
    attempts: AtomicU32,
}

impl RemoteRun {
    pub(crate) fn new(platform: RemotePlatform, shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        Self { platform, shared, cancel, attempts: AtomicU32::new(0) }
    }

    /// Builds it, again if it was built before.
    pub(crate) fn attempt(self: &Arc<Self>) -> BoxFuture<'static, Result<Built, Failure>> {
        let run = self.clone();
        async move {
            let is_first = run.attempts.fetch_add(1, Ordering::Relaxed) == 0;
            tokio::select! {
                biased;
                () = run.cancel.cancelled() => Err(RemoteError::Solve(SolveError::Cancelled).into()),
                built = run.build(is_first) => built.map_err(Failure::from),
            }
        }
        .boxed()
    }

    async fn build(&self, is_first: bool) -> Result<Built, RemoteError> {
        let (mut daemons, mut last) = self.daemons(is_first).await;
        let mut lost = None;
        while let Some(daemon) = next(&mut daemons) {
            match self.build_at(&daemon).await {
                Err(RemoteError::Solve(error @ SolveError::Lost { .. })) if !self.cancel.is_cancelled() => {
                    if !daemons.is_empty() {
                        let message =
                            format!("{}: {error}; another daemon goes on", self.platform.plan.platform);
                        self.shared.context.events.send(Event::Warning { message });
                    }
                    lost = Some(error);
                }
                result => return result,
            }
        }
        Err(match lost {
            Some(error) => RemoteError::Solve(error),
            None => RemoteError::Unavailable { builder: self.platform.builder.clone(), source: last.take() },
        })
    }

    /// The daemons that can be reached, the one to ask first at the front; and why the last one that cannot be.
    async fn daemons(&self, is_first: bool) -> (Vec<Daemon>, Option<Arc<ConnectError>>) {
        let connecting = self.platform.members.iter().map(|member| async move {
            match &member.first {
                Ok(daemon) if is_first => Ok(daemon.clone()),
                Ok(_) | Err(_) => Daemon::connect(&member.node).await.map_err(Arc::new),
            }
        });
        let platform = &self.platform.plan.platform;
        let ability = |member: &Member, daemon: &Daemon| {
            let worker = daemon.workers().first()?;
            // What need not be executed, any of these builds.
            member
                .node
                .ability(&worker.platforms, platform)
                .or(self.platform.is_cross.then_some(Ability::Emulated))
        };
        let (mut reached, mut last) = (Vec::new(), None);
        for (member, result) in self.platform.members.iter().zip(join_all(connecting).await) {
            match result {
                Ok(daemon) => reached.extend(ability(member, &daemon).map(|ability| (ability, daemon))),
                Err(error) => last = Some(error),
            }
        }
        let has_choice = reached.len() > 1;
        let busy = join_all(reached.iter().map(|(_, daemon): &(Ability, Daemon)| async move {
            // A daemon that does not say is asked last, and its silence noticed then.
            if has_choice { daemon.running().await.unwrap_or(usize::MAX >> 1) } else { 0 }
        }));
        let busy = busy.await;
        let candidates: Vec<pool::Candidate> = reached
            .iter()
            .zip(busy)
            .map(|((ability, daemon), running)| pool::Candidate {
                endpoint: daemon.endpoint().clone(),
                ability: *ability,
                running,
            })
            .collect();
        let order = pool::order(&candidates, &self.shared.source);
        (order.into_iter().map(|index| reached[index].1.clone()).collect(), last)
    }

    async fn build_at(&self, daemon: &Daemon) -> Result<Built, RemoteError> {
        let Shared { context, request, .. } = &*self.shared;
        let platform = &self.platform.plan.platform;
        let endpoint = || daemon.endpoint().clone();
        if let Some(what) = solve::confidential(request).filter(|_| !daemon.is_private()) {
            return Err(RemoteError::InTheClear { endpoint: endpoint(), what });
        }
        let archive = self.shared.scratch.path().join(format!("{}.tar", self.platform.index));
        let exports = vec![match &self.shared.repository {
            Some(repository) => {
                let is_insecure = context.engine.registry.is_insecure(&repository.registry);
                solve::push(request, platform, repository, is_insecure)
            }
            None => solve::send(request, platform),
        }];
        let lent = self.lent(&exports, &archive);
        let solve = solve::solve(request, platform, &self.platform.graph, &self.shared.bases, exports);
        let steps = Steps::new(self.shared.next_step.clone(), platform.clone());
        let solved = daemon
            .solve(solve, lent, &self.shared.source, &steps, &context.events, &self.cancel)
            .await
            .map_err(RemoteError::Solve)?;
        let image = |source| RemoteError::Image { endpoint: endpoint(), source: Box::new(source) };
        let location = match &self.shared.repository {
            Some(repository) => {
                let repository = Reference { tag: None, ..repository.clone() };
                let digest = solved.digest().ok_or_else(|| image(Error::NoDigest))?;
                ImageLocation::Registry(repository.with_digest(digest))
            }
            None => ImageLocation::OciArchive(archive.clone()),
        };
        let mtime = self.platform.graph.source_date_epoch;
        let built = adopt::adopt(context, &location, platform, mtime, self.wanted()).await.map_err(image)?;
        match self.other_base(&built) {
            Some(base) => Err(RemoteError::OtherBase { endpoint: endpoint(), base }),
            None => Ok(built),
        }
    }

    /// The base image that an image should stand on, if it does not.
    fn other_base(&self, built: &Built) -> Option<String> {
        let Self { platform, shared, .. } = self;
        let output = platform.graph.outputs.iter().find(|output| output.platform == built.platform)?;
        let Op::Image(base) = &platform.graph.node(output.base?).op else { return None };
        let resolved = shared.bases.by_manifest.get(&base.manifest)?;
        let image = built.image.as_ref()?;
        let stands = image.config.rootfs.diff_ids.starts_with(&resolved.config.rootfs.diff_ids);
        (!stands).then(|| base.name.clone())
    }

    /// The layers that have to come here.
    fn wanted(&self) -> Wanted {
        if !self.shared.reads_layers {
            return Wanted::Nothing;
        }
        let configs = self.shared.bases.by_name.values().map(|base| &base.config);
        let known: BTreeSet<Digest> =
            configs.flat_map(|config| config.rootfs.diff_ids.iter().cloned()).collect();
        Wanted::AllBut(known)
    }

    fn lent(&self, exports: &[Entry], archive: &std::path::Path) -> Lent {
        let Shared { context, dockerfile, contexts, secrets, agents, .. } = &*self.shared;
        let none = Arc::<str>::from("# What is left out was left out before the files were sent.\n");
        let texts = BTreeMap::from([
            (solve::DOCKERFILE.to_owned(), dockerfile.clone()),
            (format!("{}.dockerignore", solve::DOCKERFILE), none),
        ]);
        let mut directories = BTreeMap::from([
            (solve::DOCKERFILE_DIRECTORY.to_owned(), Directory::Texts(texts)),
            (solve::CONTEXT_DIRECTORY.to_owned(), Directory::Texts(BTreeMap::new())),
        ]);
        for (name, snapshot) in contexts {
            let name = match name {
                ContextName::Main => solve::CONTEXT_DIRECTORY.to_owned(),
                ContextName::Named(name) => solve::named_directory(name),
            };
            directories.insert(name, Directory::Snapshot(snapshot.clone()));
        }
        let receives = exports.iter().position(|export| export.kind == "oci");
        let receiver = |index| (index, Arc::new(Archive(archive.to_owned())) as Arc<dyn Receiver>);
        Lent {
            directories,
            registry: Some(context.engine.registry.clone()),
            secrets: secrets.clone(),
            ssh: agents.iter().map(|(id, agent)| (id.clone(), agent.path().to_owned())).collect(),
            receivers: receives.map(receiver).into_iter().collect(),
            ..Lent::default()
        }
    }
}

fn next(daemons: &mut Vec<Daemon>) -> Option<Daemon> {
    (!daemons.is_empty()).then(|| daemons.remove(0))
}

/// The file that an image arrives in.
struct Archive(PathBuf);

impl Receiver for Archive {
    fn open(&self) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
        let file = std::fs::File::create(&self.0)?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }
}
