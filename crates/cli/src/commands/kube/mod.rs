//! `archway kube`.

mod buildkit_pool;

use crate::{
    args::{KubeCommand, RenderCommand},
    error::CliError,
};

pub(crate) fn run(command: &KubeCommand) -> Result<(), CliError> {
    match command {
        KubeCommand::Render(RenderCommand::BuildkitPool(args)) => buildkit_pool::render(args),
    }
}
