//! The command line. Spelling follows `docker buildx` wherever it has the concept.

use clap::{Parser, Subcommand};

mod annotation;
mod attest;
mod build;
mod build_arg;
mod build_builder;
mod build_cache;
mod build_context;
mod builder;
mod cache;
mod cache_filter;
pub(crate) mod cache_policy;
mod call;
mod check;
mod compression;
mod copy;
mod failure;
mod image;
mod index;
mod kube;
mod output;
mod publication;
mod resources;
mod run_step;
mod sbom;
mod scan;
mod source;
mod value;
mod verify;

pub(crate) use build::{BuildArgs, PlanArgs, PlanFormat, ProgressMode};
pub(crate) use builder::{
    BuilderCertsArgs, BuilderCommand, BuilderCreateArgs, BuilderInspectArgs, BuilderListArgs,
    BuilderPruneArgs, BuilderRemoveArgs, BuilderUseArgs,
};
pub(crate) use cache::{
    CacheCommand, CacheListArgs, ExportArgs, ImportArgs, PruneArgs, RemoveArgs, UsageArgs,
};
pub(crate) use call::{Call, Method};
pub(crate) use check::{CheckArgs, CheckFormat, Checking, Input};
pub(crate) use copy::CopyArgs;
pub(crate) use image::{Format, ImagesArgs, InspectArgs, LoginArgs, LogoutArgs, RmiArgs, RunArgs, TagArgs};
pub(crate) use index::{IndexAnnotateArgs, IndexCommand, IndexCreateArgs};
pub(crate) use kube::{BuildkitPoolArgs, KubeCommand, RenderCommand};
pub(crate) use publication::PublishingArgs;
pub(crate) use sbom::{SbomArgs, SbomFormat};
pub(crate) use scan::ScanArgs;
pub(crate) use source::{Bundling, SourceBundleArgs};
pub(crate) use value::{location, nearest, unknown};
pub(crate) use verify::{BuildAuditArgs, IndexVerifyArgs};

/// One build, every architecture.
///
/// Turns one source tree into one multi-architecture image index: native where it can, cross-compiled
/// where the Dockerfile says so, emulated elsewhere. No daemon.
#[derive(Debug, Parser)]
#[command(name = "archway", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) registries: RegistryArgs,
}

/// How registries are reached.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    /// Allow plain HTTP and unverified TLS for this registry host (loopback needs no flag)
    #[arg(long, global = true, value_name = "HOST[:PORT]", help_heading = "Registries")]
    pub(crate) insecure_registry: Vec<String>,

    /// Trust the certificate authorities in this PEM file, too
    #[arg(long, global = true, value_name = "FILE", help_heading = "Registries")]
    pub(crate) registry_ca: Vec<std::path::PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image for one or more platforms
    Build(Box<BuildArgs>),
    /// Show what a build would do, and why, without doing it
    Plan(Box<PlanArgs>),
    /// Check a Dockerfile without building it
    Check(Box<CheckArgs>),
    /// Write a build context and its Dockerfile as a source bundle, which `build` takes as a context
    Source(SourceBundleArgs),
    /// Run an image, on one platform or on all of them
    Run(RunArgs),
    /// Show an image: its platforms with sizes, layers and attestations, and what refers to it
    Inspect(InspectArgs),
    /// List the packages of an image: a software bill of materials
    Sbom(SbomArgs),
    /// Compare the packages of an image with known vulnerabilities
    Scan(ScanArgs),
    /// Copy an image between registries, layouts and archives, digests and all
    Copy(Box<CopyArgs>),
    /// Make, look at, annotate and verify indexes of images that exist already
    #[command(subcommand)]
    Index(IndexCommand),
    /// List the images in the local store
    Images(ImagesArgs),
    /// Give an image in the local store another name
    Tag(TagArgs),
    /// Remove names from the local store
    Rmi(RmiArgs),
    /// Look at the build cache, remove what is not needed, and move cache mounts
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Builders on Kubernetes
    #[command(subcommand)]
    Kube(KubeCommand),
    /// Manage builders: BuildKit daemons on other machines, and certificates for them
    #[command(subcommand)]
    Builder(BuilderCommand),
    /// Store credentials for a registry
    Login(LoginArgs),
    /// Remove credentials for a registry
    Logout(LogoutArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
