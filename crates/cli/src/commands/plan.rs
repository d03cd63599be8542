//! `archway plan`.

use archway_graph::{
    Warning,
    explain::{Plan, PlannedStep, Totals, explain},
};
use archway_report::{Events, PlatformPlan};
use serde::Serialize;

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
    let source = &prepared.dockerfile.source;
    let here = explain(&prepared.graph, source);
    let elsewhere: Vec<Elsewhere<'_>> = prepared
        .elsewhere()
        .into_iter()
        .map(|(builder, graph)| Elsewhere { builder, plan: explain(graph, source) })
        .collect();
    match args.format {
        PlanFormat::Json => {
            let document = Document {
                platforms: &prepared.platforms,
                steps: &here.steps,
                totals: &here.totals,
                warnings: prepared.warnings(),
                elsewhere: &elsewhere,
            };
            anstream::println!("{}", serde_json::to_string_pretty(&document).expect("plain data"));
        }
        PlanFormat::Text if elsewhere.is_empty() => anstream::print!("{}", here.render()),
        PlanFormat::Text => {
            let all = Plan { platforms: prepared.platforms.clone(), ..here };
            match all.steps.is_empty() {
                true => anstream::print!("{}", all.render_platforms()),
                false => anstream::print!("{}", all.render()),
            }
            for Elsewhere { builder, plan } in &elsewhere {
                let bold = anstyle::Style::new().bold();
                anstream::print!("\n{bold}builder {builder}{bold:#}\n{}", plan.render_steps());
            }
        }
    }
    Ok(())
}

/// What a builder elsewhere does.
#[derive(Serialize)]
struct Elsewhere<'a> {
    builder: &'a str,
    #[serde(flatten)]
    plan: Plan,
}

/// `--format json`: what this machine does, and what is done elsewhere.
#[derive(Serialize)]
struct Document<'a> {
    platforms: &'a [PlatformPlan],
    steps: &'a [PlannedStep],
    totals: &'a Totals,
    warnings: Vec<Warning>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    elsewhere: &'a [Elsewhere<'a>],
}
