//! Dockerfile instructions x platforms -> one deduplicated build graph. Pure: no I/O.

mod arguments;
mod diagnostic;
pub mod error;
pub mod explain;
mod history;
pub mod inputs;
mod instruction;
mod lower;
mod nearest;
mod nodes;
pub mod op;
mod path;
mod selection;
mod stage;
mod strategy;
mod support;
mod variables;

pub use error::{LowerError, LowerProblem};
pub use explain::{Plan, explain};
pub use inputs::{BaseRequest, Bases, Inputs, Lowering, ResolvedBase};
pub use lower::lower;
pub use op::{
    CopyOp, CopySource, Graph, ImageOp, InlineFile, Label, MkdirOp, Network, Node, NodeId, Op, Output, RunOp,
    Warning,
};
