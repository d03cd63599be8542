//! Dockerfile instructions x platforms -> one deduplicated build graph. Pure: no I/O.

pub mod op;

pub use op::{CopyOp, CopySource, Graph, ImageOp, InlineFile, Label, MkdirOp, Network, Node, NodeId, Op, Output, RunOp};
