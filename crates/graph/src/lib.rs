//! Dockerfile instructions x platforms -> one deduplicated build graph. Pure: no I/O.

mod diagnostic;
pub mod error;
pub mod explain;
pub mod inputs;
mod lower;
pub mod op;
pub mod trigger;

pub use error::LowerError;
pub use explain::{Plan, explain};
pub use inputs::{BaseRequest, Bases, Inputs, Lowering, ResolvedBase};
pub use lower::lower;
pub use op::{
    CopyOp, CopySource, Graph, ImageOp, InlineFile, Label, MkdirOp, Network, Node, NodeId, Op, Output, RunOp,
    Warning,
};
