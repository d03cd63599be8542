//! `archway cache`

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{image::Format, value};

/// `archway cache`
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the cache mounts of RUN steps
    Ls(CacheListArgs),
    /// Write cache mounts to a tar archive
    Export(ExportArgs),
    /// Put the cache mounts of an archive in the place of those there are
    Import(ImportArgs),
    /// Remove cache mounts that no step uses
    Rm(RemoveArgs),
}

/// `archway cache ls`
#[derive(Debug, Args)]
pub(crate) struct CacheListArgs {
    /// Only these, by id or by the beginning of the key
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,

    /// Only those of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,

    /// How they are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `archway cache export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Which, by id or by the beginning of the key
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,

    /// Only those of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,

    /// Where the archive goes; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// `archway cache import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An archive that `archway cache export` wrote, compressed or not; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) archive: PathBuf,
}

/// `archway cache rm`
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Which, by id or by the beginning of the key
    #[arg(value_name = "ID", required_unless_present_any = ["all", "unused_for"])]
    pub(crate) ids: Vec<String>,

    /// All of them
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,

    /// Only those of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,

    /// Only those that no step has used for this long (90m, 72h)
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) unused_for: Option<Duration>,
}
