//! `archway sbom`

use std::path::PathBuf;

use archway_oci::Platform;
use clap::{Args, ValueEnum};

use super::build;
use crate::error::CliError;

/// `archway sbom`
#[derive(Debug, Args)]
pub(crate) struct SbomArgs {
    /// Image: a reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    pub(crate) image: String,

    /// Platforms to list the packages of, comma-separated or repeated [default: all that the image has]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// A table for people, or a document, which is about one platform
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: SbomFormat,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Look at the registry, even if the local store has the name
    #[arg(long)]
    pub(crate) pull: bool,
}

/// How packages are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomFormat {
    Table,
    /// SPDX 2.3 as JSON
    Spdx,
    /// CycloneDX 1.6 as JSON
    Cyclonedx,
}

impl SbomArgs {
    /// The platforms that are asked for; empty: all.
    pub(crate) fn platforms(&self) -> Result<Vec<Platform>, CliError> {
        build::platforms(&self.platform)
    }
}
