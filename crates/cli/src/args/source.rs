//! Where a source comes from, and `archway source`.

use std::path::{Path, PathBuf};

use archway_oci::reference::{ImageLocation, TagOrDigest};
use archway_orchestrator::source::{ContextError, ContextSpec, DockerfileSpec, bundle::BundleDestination};
use archway_remote::Credentials;
use clap::Args;

use super::run_step::{self, LentArgs};
use crate::error::CliError;

/// `archway source`
#[derive(Debug, Args)]
pub(crate) struct SourceBundleArgs {
    /// Where the files are: a directory, a git URL, the URL of an archive, or - for an archive on standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,

    /// Dockerfile: a file, a URL, or - for standard input [default: Dockerfile in CONTEXT]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,

    #[command(flatten)]
    lent: LentArgs,

    /// Where the bundle goes: oci:DIR[:TAG], or a name in a registry
    #[arg(short, long, value_name = "DESTINATION")]
    output: String,
}

/// What is bundled, and where it goes.
pub(crate) struct Bundling {
    pub(crate) context: ContextSpec,
    pub(crate) dockerfile: DockerfileSpec,
    pub(crate) destination: BundleDestination,
    pub(crate) credentials: Credentials,
}

impl SourceBundleArgs {
    /// What these arguments ask for.
    pub(crate) fn bundling(&self) -> Result<Bundling, CliError> {
        Ok(Bundling {
            context: context(&self.context)?,
            dockerfile: DockerfileSpec::parse(self.file.as_deref()),
            destination: destination(&self.output)?,
            credentials: run_step::credentials(&self.lent.lent()?),
        })
    }
}

/// What a context on the command line means.
pub(super) fn context(text: &Path) -> Result<ContextSpec, CliError> {
    ContextSpec::parse(text, Path::is_dir).map_err(|error| CliError::Usage {
        flag: "CONTEXT",
        hint: match &error {
            ContextError::Git(error) => error.hint(),
            ContextError::Bundle(_) => Some(
                "a source bundle is oci:DIR[:TAG], oci-archive:FILE or oci-source://REFERENCE".to_owned(),
            ),
        },
        message: error.to_string(),
    })
}

fn destination(text: &str) -> Result<BundleDestination, CliError> {
    let refused = |message: String| CliError::usage("--output", message);
    let location: ImageLocation = text.parse().map_err(|error| refused(format!("{error}")))?;
    match location {
        ImageLocation::Registry(reference) if reference.digest.is_none() => {
            Ok(BundleDestination::Registry(reference))
        }
        ImageLocation::OciLayout { dir, tag_or_digest: None } => {
            Ok(BundleDestination::Layout { directory: dir, tag: None })
        }
        ImageLocation::OciLayout { dir, tag_or_digest: Some(TagOrDigest::Tag(tag)) } => {
            Ok(BundleDestination::Layout { directory: dir, tag: Some(tag) })
        }
        ImageLocation::Registry(_) | ImageLocation::OciLayout { .. } => {
            Err(refused(format!("`{text}` has a digest, which cannot be chosen")))
        }
        ImageLocation::OciArchive(_) | ImageLocation::DockerArchive(_) => {
            Err(refused("a bundle is written to a directory, `oci:DIR[:TAG]`, or to a registry".to_owned()))
        }
    }
}
