//! Commands about images and registries.

use archway_orchestrator::inspect::InspectRequest;
use clap::{ArgAction, Args, ValueEnum};

use super::{build, value};
use crate::error::CliError;

/// `archway run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Platform to run, or `all` of the image's, one after the other [default: this machine's]
    #[arg(long, value_name = "PLATFORM|all")]
    pub(crate) platform: Option<String>,

    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// Run as this user
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Directory to start in
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Program to run instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,

    /// Look the image up at its registry, even if the local store has it
    #[arg(long)]
    pub(crate) pull: bool,

    /// Image: a reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    pub(crate) image: String,

    /// Command instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `archway inspect`, `archway index inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Image: a reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    pub(crate) image: String,

    /// Show only these platforms, comma-separated or repeated
    #[arg(short, long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<String>,

    /// Print the index or manifest as it is stored; with --platform, that platform's manifest
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,

    /// How it is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// Look at the registry, even if the local store has the name
    #[arg(long)]
    pub(crate) pull: bool,

    /// Whether to ask what refers to the image, such as signatures
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) referrers: bool,
}

impl InspectArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<InspectRequest, CliError> {
        Ok(InspectRequest {
            image: value::location("IMAGE", &self.image)?,
            pull: self.pull,
            platforms: build::platforms(&self.platform)?,
            referrers: self.referrers,
        })
    }
}

/// Text for people or JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// `archway images`
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// How they are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `archway tag`
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Name in the local store
    pub(crate) source: String,
    /// New name
    pub(crate) target: String,
}

/// `archway rmi`
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Names in the local store
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `archway login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Registry host
    #[arg(value_name = "HOST[:PORT]", default_value = "docker.io")]
    pub(crate) registry: String,

    /// User name; asked for if it is not given
    #[arg(short, long)]
    pub(crate) username: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// `archway logout`
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Registry host
    #[arg(value_name = "HOST[:PORT]", default_value = "docker.io")]
    pub(crate) registry: String,
}
