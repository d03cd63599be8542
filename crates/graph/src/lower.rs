//! From a Dockerfile to a graph.

use crate::{
    error::LowerError,
    inputs::{Inputs, Lowering},
};

/// Makes the graph of all requested platforms, or says which base images have to be known first.
pub fn lower(_inputs: &Inputs<'_>) -> Result<Lowering, LowerError> {
    Ok(Lowering::Needs(Vec::new()))
}
