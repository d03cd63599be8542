//! `archway cache`

mod mounts;
mod prune;
mod text;
mod usage;

use archway_oci::Platform;
pub(crate) use prune::collect_if_due;

use crate::{args::CacheCommand, error::CliError};

pub(crate) fn run(command: &CacheCommand) -> Result<(), CliError> {
    match command {
        CacheCommand::Du(args) => usage::usage(args),
        CacheCommand::Ls(args) => usage::list(args),
        CacheCommand::Prune(args) => prune::run(args),
        CacheCommand::Export(args) => mounts::export(args),
        CacheCommand::Import(args) => mounts::import(args),
        CacheCommand::Rm(args) => mounts::remove(args),
    }
}

/// `--platform`
fn platform(text: Option<&str>) -> Result<Option<Platform>, CliError> {
    let platform = text.map(str::parse::<Platform>).transpose();
    platform.map_err(|error| CliError::platform("--platform", &error))
}
