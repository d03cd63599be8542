//! `archway kube render buildkit-pool`.

use archway_kubernetes::{manifest, pool};

use crate::{args::BuildkitPoolArgs, error::CliError};

pub(super) fn render(args: &BuildkitPoolArgs) -> Result<(), CliError> {
    let manifests = pool::manifests(&args.spec()?).map_err(|error| args.refuse(&error))?;
    anstream::print!("{}", manifest::to_yaml(&manifests)?);
    Ok(())
}
