//! `archway cache`

use std::{path::PathBuf, time::Duration};

use archway_graph::size;
use archway_store::{ItemKind, Rule};
use clap::{Args, Subcommand};

use super::{
    cache_filter::{self, Filter},
    image::Format,
    value,
};
use crate::error::CliError;

/// `archway cache`
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show what takes disk space
    Du(UsageArgs),
    /// List what the build cache holds
    Ls(CacheListArgs),
    /// Remove what is not needed
    Prune(PruneArgs),
    /// Write cache mounts to a tar archive
    Export(ExportArgs),
    /// Put the cache mounts of an archive in the place of those there are
    Import(ImportArgs),
    /// Remove cache mounts that no step uses
    Rm(RemoveArgs),
}

/// What is meant, in buildx's words.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only what fits: until=24h, type=cache-mount, description~=golang, …; repeat for several
    #[arg(long, value_name = "KEY[=VALUE]")]
    filter: Vec<String>,
}

impl FilterArgs {
    /// The filter.
    pub(crate) fn parse(&self) -> Result<Filter, CliError> {
        Filter::parse(&self.filter)
    }
}

/// `archway cache du`
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// List everything, too
    #[arg(long, conflicts_with = "format")]
    pub(crate) verbose: bool,

    /// How it is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `archway cache ls`
#[derive(Debug, Args)]
pub(crate) struct CacheListArgs {
    /// Only these: cache mounts by their ids, anything by the beginning of its key
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,

    /// Only this type: step, base-layer, blob, cache-mount, git-checkout, git-repository, download, file-hashes
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,

    /// Only those of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// How they are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

impl CacheListArgs {
    /// `--type`; all if it is not given.
    pub(crate) fn kinds(&self) -> Result<Vec<ItemKind>, CliError> {
        if self.kinds.is_empty() {
            return Ok(ItemKind::ALL.into());
        }
        let kinds = self.kinds.iter().map(|name| cache_filter::known_kinds("--type", name));
        Ok(kinds.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// `archway cache prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Also packed layers and documents of images without a name, hashes of files, and what is known of the
    /// files of named images
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Remove the least recently used until this much is left (20GB)
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_used_space: Option<u64>,

    /// Remove the least recently used until this much of the disk is free
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    min_free_space: Option<u64>,

    /// Keep this much whatever the other limits are; alone, remove the rest
    #[arg(long, value_name = "BYTES", value_parser = bytes, visible_alias = "keep-storage")]
    reserved_space: Option<u64>,

    /// Remove nothing, and show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,

    /// List what is removed
    #[arg(long)]
    pub(crate) verbose: bool,
}

impl PruneArgs {
    /// The rule these arguments make.
    pub(crate) fn rule(&self) -> Rule {
        // buildx's zero is no limit.
        let limit = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0);
        Rule {
            all: self.all,
            unused_for: None,
            reserved_space: limit(self.reserved_space),
            max_used_space: limit(self.max_used_space),
            min_free_space: limit(self.min_free_space),
        }
    }
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

/// A size such as `500MB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    size::bytes(text).ok_or_else(|| format!("`{text}` is no size such as 500MB or 20GB"))
}
