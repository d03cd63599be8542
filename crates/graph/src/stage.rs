//! A stage while its instructions are applied one after the other.

use std::collections::BTreeMap;

use archway_dockerfile::ast::{Kind, Span, Stage};
use archway_oci::{History, ImageConfig, Platform};

use crate::{
    contexts::NamedContext,
    error::{LowerError, LowerProblem},
    inputs::{Bases, Inputs, ResolvedBase},
    instruction,
    nodes::Nodes,
    op::{ContextName, CopyOp, CopySource, ImageOp, Label, NodeId, Op, Warning},
    path,
    selection::{Author, ImageUse, Origin, SelectedStage, Selection, Step},
    variables::{Expander, Variables},
};

/// What BuildKit notes in the history as the author of an entry; tools look for it.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
/// The search path of an image that has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the histories, values and scripts of all stages and platforms may come to. Variables that
/// contain one another, or stages that start from one another, would otherwise let a small Dockerfile
/// fill the memory.
const MAX_GRAPH_BYTES: usize = 64 << 20;

/// Where a stage stands: what the next instruction starts from.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// The root file system so far.
    pub(crate) node: NodeId,
    /// The image at the bottom.
    pub(crate) base: Option<NodeId>,
    /// The platform of the root file system.
    pub(crate) platform: Platform,
    /// ENV and ARG alike: of one name, what was set last counts.
    pub(crate) variables: Variables,
    /// Declared ARGs and their values, for the history.
    pub(crate) arguments: Vec<(String, Option<String>)>,
    pub(crate) image: ImageConfig,
    /// WORKDIR with slashes, never empty.
    pub(crate) workdir: String,
    /// Whether this stage, not its base, has a CMD.
    pub(crate) has_cmd: bool,
}

/// Whether an instruction adds a layer, as the history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Made,
    None,
}

impl StageState {
    fn scratch(node: NodeId, platform: &Platform) -> Self {
        let mut image = ImageConfig { platform: platform.clone(), ..ImageConfig::default() };
        image.config.working_dir = "/".to_owned();
        Self::new(node, None, platform.clone(), image)
    }

    fn of_image(node: NodeId, base: &ResolvedBase, platform: &Platform) -> Self {
        let mut image = base.config.clone();
        image.created = None;
        // They are run by this build.
        image.config.on_build.clear();
        Self::new(node, Some(node), platform.clone(), image)
    }

    fn new(node: NodeId, base: Option<NodeId>, platform: Platform, mut image: ImageConfig) -> Self {
        let config = &mut image.config;
        // Windows finds its programs by itself.
        let has_path = config.env.iter().any(|entry| entry.starts_with("PATH="));
        if !has_path && platform.os != "windows" {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let variables = Variables::from_assignments(&config.env);
        let workdir = match config.working_dir.as_str() {
            "" => "/".to_owned(),
            directory => {
                let directory = path::slashed(directory, &platform.os).unwrap_or_default();
                path::absolute("/", &directory)
            }
        };
        if platform.os == "windows" && !config.working_dir.is_empty() {
            config.working_dir = workdir.replace('/', "\\");
        }
        let arguments = Vec::new();
        Self { node, base, platform, variables, arguments, image, workdir, has_cmd: false }
    }

    /// What a stage that starts from this one starts with. ARGs stay in scope, but what the image's ENV says
    /// is true again.
    fn child(&self) -> Self {
        let mut child = self.clone();
        child.image.config.on_build.clear();
        child.has_cmd = false;
        child.variables.assign(&child.image.config.env);
        child
    }

    pub(crate) fn record(&mut self, created_by: String, layer: Layer) {
        self.image.history.push(History {
            created_by: Some(created_by),
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer: layer == Layer::None,
            ..History::default()
        });
    }

    /// Sets the stage's directory, as written, with slashes, and cleaned. Returns how it is called from now
    /// on: as on BuildKit, an absolute path stays as it was written, and one that was seen from the
    /// directory before, or that is Windows', is clean.
    pub(crate) fn enter(&mut self, written: &str, workdir: String) -> String {
        let is_windows = self.platform.os == "windows";
        let name = match written {
            "" if !is_windows && !self.image.config.working_dir.is_empty() => {
                self.image.config.working_dir.clone()
            }
            absolute if !is_windows && absolute.starts_with('/') => absolute.to_owned(),
            _ => workdir.clone(),
        };
        self.image.config.working_dir = if is_windows { name.replace('/', "\\") } else { name.clone() };
        self.workdir = workdir;
        name
    }
}

/// Applies the instructions of one stage.
#[derive(Debug)]
pub(crate) struct StageBuilder<'a> {
    pub(crate) inputs: &'a Inputs<'a>,
    /// The requested platform that the stage is built for, whatever its own platform is.
    pub(crate) target: &'a Platform,
    pub(crate) globals: &'a Variables,
    pub(crate) state: StageState,
    /// Whether RUN steps run even if their results are known.
    pub(crate) no_cache: bool,
    earlier: &'a BTreeMap<usize, StageState>,
    steps: Steps<'a>,
    warnings: Vec<Warning>,
}

impl<'a> StageBuilder<'a> {
    /// Builds a stage on the stages in `earlier`. Gives what is to be told about it, too.
    pub(crate) fn build(
        inputs: &'a Inputs<'a>,
        selection: &'a Selection<'a>,
        selected: &SelectedStage<'_>,
        earlier: &'a BTreeMap<usize, StageState>,
        nodes: &'a mut Nodes,
    ) -> Result<(StageState, Vec<Warning>), LowerError> {
        let stage = selected.stage;
        let mut steps = Steps::new(stage, inputs, nodes);
        let state = match &selected.base {
            Origin::Scratch => StageState::scratch(steps.scratch(), selection.platform),
            Origin::Stage(index) => earlier[index].child(),
            Origin::Image(image) => {
                let node = steps.image(image, stage.span);
                StageState::of_image(node, steps.resolved(image), &image.platform)
            }
            files => {
                let node = steps.files(files, stage.span);
                let platform = selected.platform.as_ref().unwrap_or(selection.platform);
                let mut state = StageState::scratch(node, platform);
                state.record(format!("FROM {}", stage.base.value), Layer::Made);
                state
            }
        };
        steps.charge(&state.image.history, stage.span)?;
        let (globals, warnings) = (&selection.globals, Vec::new());
        let no_cache = inputs.no_cache.covers(stage);
        let target = selection.platform;
        let mut builder = StageBuilder { inputs, target, globals, state, no_cache, earlier, steps, warnings };
        for step in &selected.steps {
            builder.apply(step).map_err(|error| error.of(step.author, stage))?;
        }
        builder.steps.finish();
        Ok((builder.state, builder.warnings))
    }

    fn apply(&mut self, step: &Step<'_>) -> Result<(), LowerError> {
        let recorded = self.state.image.history.len();
        let warned = self.warnings.len();
        self.dispatch(step)?;
        if step.author == Author::BaseImage {
            // The trigger's own places mean nothing in this file.
            self.warnings[warned..].iter_mut().for_each(|warning| warning.span = None);
        }
        self.steps.charge(&self.state.image.history[recorded..], step.instruction.span)
    }

    fn dispatch(&mut self, step: &Step<'_>) -> Result<(), LowerError> {
        match &step.instruction.kind {
            Kind::Arg(declarations) => instruction::arg::declare(self, declarations),
            Kind::Env(pairs) => instruction::config::env(self, pairs),
            Kind::Label(pairs) => instruction::config::label(self, pairs),
            Kind::Run(run) => instruction::run::run(self, step, run),
            Kind::Copy(copy) => instruction::copy::copy(self, step, copy, "COPY"),
            Kind::Add(copy) => instruction::copy::copy(self, step, copy, "ADD"),
            Kind::Workdir(path) => instruction::workdir::workdir(self, step, path),
            Kind::User(user) => instruction::config::user(self, user),
            Kind::Entrypoint(command) => instruction::config::entrypoint(self, command),
            Kind::Cmd(command) => instruction::config::cmd(self, command),
            Kind::Expose(ports) => instruction::expose::expose(self, ports),
            Kind::Volume(paths) => instruction::config::volume(self, paths),
            Kind::StopSignal(signal) => instruction::signal::stop_signal(self, signal),
            Kind::Healthcheck(check) => instruction::config::healthcheck(self, check),
            Kind::Shell(shell) => instruction::config::shell(self, shell),
            Kind::OnBuild { text, .. } => instruction::config::on_build(self, text),
            Kind::Maintainer(name) => instruction::config::maintainer(self, name),
        }
    }

    /// Notes what the user should know although the build goes on.
    pub(crate) fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    pub(crate) fn expander(&self) -> Expander<'_> {
        Expander { escape: self.inputs.dockerfile.escape, variables: &self.state.variables }
    }

    /// Makes `op`, which stands on the current root file system, the current one.
    pub(crate) fn advance(&mut self, step: &Step<'_>, op: Op, name: &str) {
        let name = if step.is_trigger() { format!("ONBUILD {name}") } else { name.to_owned() };
        self.state.node = self.steps.add(op, step.span(), name);
    }

    /// The node of something that is fetched, which stands on nothing.
    pub(crate) fn fetch(&mut self, step: &Step<'_>, op: Op, name: String) -> NodeId {
        self.steps.add(op, step.span(), name)
    }

    /// Refuses a `user[:group]` with a name in it if no file system has accounts: the stage's is empty, or
    /// is not looked at because of `--link`.
    pub(crate) fn check_owner(&self, value: &str, linked: bool, span: Span) -> Result<(), LowerError> {
        let is_known = |id: &str| id.is_empty() || id == "root" || id.parse::<u32>().is_ok();
        let nowhere = linked || *self.steps.nodes.op(self.state.node) == Op::Scratch;
        if nowhere && !value.splitn(2, ':').all(is_known) {
            let problem = LowerProblem::OwnerWithoutAccounts { value: value.to_owned(), linked };
            return Err(LowerError { problem, span });
        }
        Ok(())
    }

    /// Adds a node that is not the root file system of this stage, but something an instruction needs.
    /// `span` is its place, if the step has one in this file.
    pub(crate) fn aside(&mut self, step: &Step<'_>, op: Op, span: Span, name: String) -> NodeId {
        self.steps.add(op, step.span().map(|_| span), name)
    }

    /// The empty root file system.
    pub(crate) fn scratch(&mut self) -> NodeId {
        self.steps.scratch()
    }

    /// What a COPY reads. Files of a directory are read where they are.
    pub(crate) fn source(&mut self, step: &Step<'_>, span: Span) -> Source {
        match &step.from {
            None => Source::Context(ContextName::Main),
            Some(Origin::Directory(name)) => Source::Context(ContextName::Named(name.clone())),
            Some(origin) => Source::Node(self.origin(origin, span)),
        }
    }

    /// The root file system that a name means.
    pub(crate) fn origin(&mut self, origin: &Origin, span: Span) -> NodeId {
        match origin {
            Origin::Scratch => self.steps.scratch(),
            Origin::Stage(index) => self.earlier[index].node,
            Origin::Image(image) => self.steps.image(image, span),
            Origin::Directory(_) => self.steps.files(origin, span),
            Origin::Fetched(name, context) => self.steps.fetched(name, context, span),
        }
    }
}

/// What a COPY reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Context(ContextName),
    Node(NodeId),
}

/// The steps of one stage as they become nodes.
#[derive(Debug)]
struct Steps<'a> {
    bases: &'a Bases,
    nodes: &'a mut Nodes,
    stage: String,
    count: u32,
    /// Those that no other stage or platform has.
    new: Vec<NodeId>,
}

impl<'a> Steps<'a> {
    fn new(stage: &Stage, inputs: &'a Inputs<'a>, nodes: &'a mut Nodes) -> Self {
        let name = stage.name.as_ref().map_or_else(|| stage.index.to_string(), |name| name.value.clone());
        Self { bases: inputs.bases, nodes, stage: name, count: 0, new: Vec::new() }
    }

    fn scratch(&mut self) -> NodeId {
        self.nodes.add(Op::Scratch, None, None).0
    }

    fn image(&mut self, image: &ImageUse, span: Span) -> NodeId {
        let base = self.resolved(image);
        let op = ImageOp {
            name: image.name.clone(),
            reference: base.reference.clone(),
            manifest: base.manifest.clone(),
            platform: image.platform.clone(),
        };
        self.add(Op::Image(op), Some(span), format!("FROM {}", image.name))
    }

    /// The node of a repository or download.
    fn fetched(&mut self, name: &str, context: &NamedContext, span: Span) -> NodeId {
        let (op, what) = match context {
            NamedContext::Git(source) => (Op::Git(source.clone()), source.describe()),
            NamedContext::Http(source) => (Op::Http(source.clone()), source.describe()),
            other => unreachable!("{other:?} is not fetched"),
        };
        self.add(op, Some(span), format!("context {name}: {what}"))
    }

    /// A root file system of a context's files.
    fn files(&mut self, origin: &Origin, span: Span) -> NodeId {
        let paths = vec![".".to_owned()];
        let (name, source) = match origin {
            Origin::Directory(name) => {
                (name, CopySource::Context { context: ContextName::Named(name.clone()), paths })
            }
            Origin::Fetched(name, context) => {
                (name, CopySource::Node { node: self.fetched(name, context, span), paths })
            }
            other => unreachable!("{other:?} is no context"),
        };
        let op = CopyOp::plain(self.scratch(), vec![source], "/");
        self.add(Op::Copy(op), Some(span), format!("context {name}"))
    }

    /// Selection asked for every image, and lowering starts when all of them are known.
    fn resolved(&self, image: &ImageUse) -> &'a ResolvedBase {
        &self.bases[&(image.name.clone(), image.platform.clone())]
    }

    fn add(&mut self, op: Op, span: Option<Span>, name: String) -> NodeId {
        self.count += 1;
        // One line, however the instruction was laid out.
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let label = Label { stage: self.stage.clone(), position: self.count, total: 0, name };
        let (id, is_new) = self.nodes.add(op, span, Some(label));
        if is_new {
            self.new.push(id);
        }
        id
    }

    /// Counts history that was copied or written, and refuses what goes beyond the bound.
    fn charge(&mut self, history: &[History], span: Span) -> Result<(), LowerError> {
        let text = |entry: &History| entry.created_by.as_ref().map_or(0, String::len);
        let bytes = history.iter().map(|entry| text(entry) + size_of::<History>()).sum();
        if self.nodes.spend(bytes) <= MAX_GRAPH_BYTES {
            return Ok(());
        }
        Err(LowerError { problem: LowerProblem::TooLarge { limit: MAX_GRAPH_BYTES }, span })
    }

    /// Now it is known how many there are.
    fn finish(self) {
        for id in self.new {
            self.nodes.set_total(id, self.count);
        }
    }
}
