//! One Dockerfile and many platforms become one graph in which every operation stands once.
//!
//! Pure: nothing is read, downloaded or run. [`lower()`] asks for the base images it has to know and is
//! called again with them; [`explain()`] shows the graph to people.
//!
//! | module | holds |
//! |---|---|
//! | [`op`] | the graph: the contract with whoever executes it |
//! | [`contexts`] | names that mean something else |
//! | [`inputs`] | what decides what the graph looks like, and how lowering answers |
//! | [`mount`], [`run_settings`] | what a RUN mounts, and what a request says about all of them |
//! | `selection` | which stages a platform needs, on which images |
//! | `stage`, `instruction` | what each instruction does to a root file system and a config |
//! | [`file_mode`] | what `--chmod` does to a mode |
//! | [`build_args`] | `--build-arg`, for all platforms or for one |
//! | `nodes` | hash-consing: what is the same on several platforms is one node |
//! | `strategy` | native, cross or emulated, and why |
//! | [`explain`](mod@explain) | the plan as data and as text |
//! | [`error`] | what is refused |

mod arguments;
pub mod build_args;
mod builder_arguments;
pub mod contexts;
mod diagnostic;
mod epoch;
pub mod error;
pub mod explain;
pub mod file_mode;
mod history;
pub mod inputs;
mod instruction;
mod lower;
pub mod mount;
mod nearest;
mod nodes;
pub mod op;
mod path;
pub mod run_settings;
mod selection;
pub mod size;
mod stage;
mod strategy;
mod support;
mod variables;

pub use arguments::is_proxy;
pub use build_args::BuildArgs;
pub use contexts::{ContextNameError, NamedContext, NamedContexts};
pub use error::{LowerError, LowerProblem};
pub use explain::{Plan, explain};
pub use file_mode::FileMode;
pub use inputs::{BaseRequest, Bases, Inputs, Lowering, NoCache, ResolvedBase};
pub use lower::lower;
pub use mount::{Access, CacheMount, Mount, MountProblem, MountSource, NodePath, SecretVariable, Sharing};
pub use op::{
    ContextName, CopyOp, CopySource, Graph, ImageOp, InlineFile, Label, MkdirOp, Network, Node, NodeId, Op,
    Output, RunOp, Warning,
};
pub use run_settings::{Entitlement, ExtraHost, ResourceLimit, RunSettings, Security};
