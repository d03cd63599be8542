//! `archway plan`.

use archway_graph::explain;
use archway_report::Events;

use crate::{
    args::{PlanArgs, PlanFormat, RegistryArgs},
    error::CliError,
    session::Session,
};

pub(crate) fn run(args: &PlanArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    let prepared = session.runtime.block_on(archway_orchestrator::prepare(&context, &request))?;
    let plan = explain(&prepared.graph, &prepared.dockerfile.source);
    match args.format {
        PlanFormat::Json => {
            anstream::println!("{}", serde_json::to_string_pretty(&plan).expect("plain data"))
        }
        PlanFormat::Text => anstream::print!("{}", plan.render()),
    }
    Ok(())
}
