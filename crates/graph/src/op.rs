//! The build graph: operations over all requested platforms, each operation once.

use std::fmt;

use archway_dockerfile::ast::Span;
use archway_oci::{Digest, ImageConfig, Platform, Reference};
use archway_remote::{GitSource, HttpSource};
use archway_report::Strategy;
use serde::Serialize;

use crate::{
    file_mode::FileMode,
    mount::{Mount, SecretVariable},
    run_settings::{RunSettings, Security},
};

/// Index of a node in [`Graph::nodes`]. A node's inputs have smaller ids than the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

/// All operations, in an order in which inputs come first, and what each platform is made of.
#[derive(Debug, Clone, Serialize)]
pub struct Graph {
    /// Deduplicated operations.
    pub nodes: Vec<Node>,
    /// One per requested platform, in request order.
    pub outputs: Vec<Output>,
    /// Proxy settings, `NAME=value`, that every RUN process gets in addition to [`RunOp::env`], over
    /// variables of the same name. They are about this machine, may hold credentials, and so
    /// are no part of a step's identity and are never serialised.
    #[serde(skip)]
    pub proxy_env: Vec<String>,
    /// `SOURCE_DATE_EPOCH`: the time of the images, and of the files in their layers. Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_date_epoch: Option<i64>,
    /// What the user should know although the build goes on; each once.
    pub warnings: Vec<Warning>,
}

/// Something the user should know although the build goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// In one sentence, without a full stop.
    pub message: String,
    /// Its place in the Dockerfile, where it has one.
    #[serde(skip)]
    pub span: Option<Span>,
    /// What to do about it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Graph {
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

/// One operation and where it came from.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// Its own index.
    pub id: NodeId,
    /// What to do.
    pub op: Op,
    /// Indexes into [`Graph::outputs`] of the platforms that need it, ascending.
    pub serves: Vec<usize>,
    /// Where it stands in the Dockerfile; `None` for instructions that came from a base image's `ONBUILD`.
    #[serde(skip)]
    pub span: Option<Span>,
    /// How to show it; `None` for `scratch`.
    pub label: Option<Label>,
}

/// How a step is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Name of the stage, or its number.
    pub stage: String,
    /// Position among the steps of its stage, from 1.
    pub position: u32,
    /// Number of steps of its stage.
    pub total: u32,
    /// The instruction on one line.
    pub name: String,
}

/// `[build 3/7] RUN make`; a stage without a name is left out.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, position, total, name } = self;
        match stage.parse::<u32>() {
            Ok(_) => write!(f, "[{position}/{total}] {name}"),
            Err(_) => write!(f, "[{stage} {position}/{total}] {name}"),
        }
    }
}

/// What a node does. All values are expanded: no variable is left.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Op {
    /// An empty root file system.
    Scratch,
    /// The root file system of an image.
    Image(ImageOp),
    /// Run a process.
    Run(RunOp),
    /// Copy files.
    Copy(CopyOp),
    /// Make a directory and its parents, if missing.
    Mkdir(MkdirOp),
    /// The files of a git repository, and nothing else.
    Git(GitSource),
    /// The file behind a URL, under its name in the root, mode 0600, and nothing else.
    Http(HttpSource),
}

impl Op {
    /// The node whose file system this one changes.
    pub fn base(&self) -> Option<NodeId> {
        match self {
            Self::Scratch | Self::Image(_) | Self::Git(_) | Self::Http(_) => None,
            Self::Run(run) => Some(run.base),
            Self::Copy(copy) => Some(copy.base),
            Self::Mkdir(mkdir) => Some(mkdir.base),
        }
    }

    /// Every node this one needs, base first, each once.
    pub fn inputs(&self) -> Vec<NodeId> {
        let mut inputs: Vec<NodeId> = self.base().into_iter().collect();
        let mut add = |node: NodeId| {
            if !inputs.contains(&node) {
                inputs.push(node);
            }
        };
        match self {
            Self::Copy(copy) => {
                for group in &copy.sources {
                    match group {
                        CopySource::Node { node, .. } | CopySource::Download { node, .. } => add(*node),
                        CopySource::Context { .. } | CopySource::Inline { .. } => {}
                    }
                }
            }
            Self::Run(run) => run.mounts.iter().filter_map(|mount| mount.source.input()).for_each(add),
            _ => {}
        }
        inputs
    }
}

/// An image, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ImageOp {
    /// As written in the Dockerfile, expanded.
    pub name: String,
    /// Where its layers are.
    #[serde(serialize_with = "as_string")]
    pub reference: Reference,
    /// Digest of the one-platform manifest.
    pub manifest: Digest,
    /// Platform it was resolved for.
    pub platform: Platform,
}

fn as_string<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RunOp {
    /// Root file system to start from.
    pub base: NodeId,
    /// Platform of the root file system, and so of the process.
    pub platform: Platform,
    /// Program and arguments; the shell is already in it.
    pub argv: Vec<String>,
    /// `NAME=value`, each name once: the stage's ENVs and the ARGs in scope, in the order in which the
    /// names first got a value. Includes PATH (but on Windows, whose default is the system's).
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `user[:group]` as written; empty is root. Names are looked up in the root file system.
    pub user: String,
    /// Network.
    pub network: Network,
    /// Run it even if its result is known. Says nothing about the result.
    pub no_cache: bool,
    /// Executable scripts (mode 0755, owner root) to show read-only inside the root file system
    /// (`#!` here-documents).
    pub files: Vec<InlineFile>,
    /// What it mounts, parents before what is in them, each target once.
    pub mounts: Vec<Mount>,
    /// Secrets that become environment variables, over those of [`RunOp::env`].
    pub secret_env: Vec<SecretVariable>,
    /// What it may do.
    pub security: Security,
    /// What the request says about every RUN.
    pub settings: RunSettings,
}

/// What network a process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's.
    Host,
    /// Only its own loopback.
    None,
}

/// A file that stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct InlineFile {
    /// For RUN: absolute path to show it at. For COPY: file name.
    pub name: String,
    /// Its bytes.
    pub content: String,
}

/// Files to copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct CopyOp {
    /// Root file system to copy into.
    pub base: NodeId,
    /// Where from; in order.
    pub sources: Vec<CopySource>,
    /// Absolute destination, cleaned, with a trailing `/` if it was written with one (or `.`).
    pub destination: String,
    /// `user[:group]`, by name or number; `None`: 0:0 (or, for ADD of an archive, as in the archive).
    /// With `link` numbers and `root` only.
    pub chown: Option<String>,
    /// The mode of every file and directory copied.
    pub chmod: Option<FileMode>,
    /// ADD: tar archives among the files are unpacked; inline files never are.
    pub unpack: bool,
    /// `--link`: placed as on an empty root file system, whatever the base has there.
    pub link: bool,
    /// `--parents`: paths are `ROOT/./PATTERN`. Of what ROOT means, a directory as a rule, that is taken
    /// which PATTERN matches, below the destination as below ROOT. PATTERN has the wildcards of
    /// `.dockerignore`; without any, it must match.
    pub parents: bool,
    /// `--exclude`: what is left out of copied directories, as in `.dockerignore` and relative to them.
    pub exclude: Vec<String>,
}

impl CopyOp {
    /// A copy without any flags.
    pub fn plain(base: NodeId, sources: Vec<CopySource>, destination: &str) -> Self {
        Self {
            base,
            sources,
            destination: destination.to_owned(),
            chown: None,
            chmod: None,
            unpack: false,
            link: false,
            parents: false,
            exclude: Vec::new(),
        }
    }
}

/// A directory of the user's that files are copied from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextName {
    /// The build context.
    Main,
    /// A directory given with `--build-context`, by its name.
    Named(String),
}

/// One group of sources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum CopySource {
    /// Files of a build context; slash-separated, relative to its root, which is its own parent, may hold
    /// wildcards.
    Context {
        /// Which.
        context: ContextName,
        /// Patterns, in order.
        paths: Vec<String>,
    },
    /// Files of another node's root file system.
    Node {
        /// Which.
        node: NodeId,
        /// Patterns, in order, relative to its root.
        paths: Vec<String>,
    },
    /// The file of a [`Op::Http`] node.
    Download {
        /// Which.
        node: NodeId,
        /// Whether it is unpacked if it is a tar archive.
        unpack: bool,
    },
    /// Files that stand in the Dockerfile.
    Inline {
        /// Which.
        files: Vec<InlineFile>,
    },
}

/// A directory to make.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct MkdirOp {
    /// Root file system to make it in.
    pub base: NodeId,
    /// Absolute path, cleaned.
    pub path: String,
    /// Owner, as in `USER`; empty is root.
    pub user: String,
}

/// What one requested platform is made of.
#[derive(Debug, Clone, Serialize)]
pub struct Output {
    /// The platform.
    pub platform: Platform,
    /// The node that holds its root file system.
    pub node: NodeId,
    /// The base image at the bottom, `None` for `scratch`.
    pub base: Option<NodeId>,
    /// The nodes that each add one layer on top of the base image, in order.
    pub layers: Vec<NodeId>,
    /// The image config: base's values, then what the instructions changed; `history` is complete
    /// (its non-empty entries above the base's are `layers`, in order). `rootfs` holds the base's
    /// diffIDs; the builder appends those of `layers`, and fills in `created`.
    pub config: ImageConfig,
    /// How it is built.
    pub strategy: Strategy,
    /// Why that way, in one line.
    pub reason: String,
}
