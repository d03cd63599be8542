//! `archway source`.

use archway_graph::BuildArgs;
use archway_orchestrator::source::{Wanted, bundle};
use archway_report::Events;

use crate::{
    args::{Bundling, RegistryArgs, SourceBundleArgs},
    error::CliError,
    session::Session,
};

pub(crate) fn run(args: &SourceBundleArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let Bundling { context, dockerfile, destination, credentials } = args.bundling()?;
    let session = Session::start(registries)?;
    let build_args = BuildArgs::default();
    let wanted = Wanted {
        context: &context,
        dockerfile: &dockerfile,
        build_args: &build_args,
        credentials: &credentials,
    };
    let operation = session.context(Events::ignored());
    let written = super::until_interrupted(&session, bundle::write(&operation, wanted, &destination))?;
    anstream::println!("{}", written.digest);
    Ok(())
}
