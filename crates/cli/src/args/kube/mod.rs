//! `archway kube`

mod buildkit_pool;

use clap::Subcommand;

pub(crate) use buildkit_pool::BuildkitPoolArgs;

/// `archway kube`
#[derive(Debug, Subcommand)]
pub(crate) enum KubeCommand {
    /// Print manifests for `kubectl apply -f -`
    #[command(subcommand)]
    Render(RenderCommand),
}

/// `archway kube render`
#[derive(Debug, Subcommand)]
pub(crate) enum RenderCommand {
    /// A pool of persistent rootless BuildKit daemons, native on each architecture
    BuildkitPool(Box<BuildkitPoolArgs>),
}
