//! `archway copy`

use archway_orchestrator::index_tools::CopyRequest;
use clap::{ArgAction, Args};

use super::{build, publication::PublishingArgs, value};
use crate::error::CliError;

/// `archway copy`
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Image: a reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    source: String,

    /// Where it is to be: the same forms
    destination: String,

    /// Copy only these platforms, comma-separated or repeated: the copy is then an index of its own
    #[arg(short, long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// Whether to copy what refers to the image, such as signatures
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    referrers: bool,

    #[command(flatten)]
    pub(crate) publishing: PublishingArgs,
}

impl CopyArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<CopyRequest, CliError> {
        Ok(CopyRequest {
            source: value::location("SOURCE", &self.source)?,
            destination: value::location("DESTINATION", &self.destination)?,
            platforms: build::platforms(&self.platform)?,
            referrers: self.referrers,
            publication: self.publishing.publication.rules()?,
        })
    }
}
