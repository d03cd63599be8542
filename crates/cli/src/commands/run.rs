//! `archway run`.

use std::process;

use archway_oci::{
    Platform,
    platform::{best_match, parse_list},
};
use archway_orchestrator::{
    Context,
    run::{Overrides, Runnable},
};
use archway_report::Events;
use archway_sandbox::{Exit as ProcessExit, Stdio};

use crate::{
    args::{self, RegistryArgs, RunArgs},
    error::{CliError, Exit},
    session::Session,
};

/// What a shell adds to the number of the signal that ended a program.
const SIGNAL_EXIT: i32 = 128;

pub(crate) fn run(args: &RunArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let location = args::location("IMAGE", &args.image)?;
    let overrides = Overrides {
        command: args.command.clone(),
        entrypoint: args.entrypoint.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        workdir: args.workdir.clone(),
    };
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    let code = session.runtime.block_on(async {
        let interrupt = super::interrupt();
        let image = Runnable::find(&context, &location, args.pull).await?;
        let platforms = platforms(args, &image)?;
        let mut worst = 0;
        for platform in &platforms {
            if platforms.len() > 1 {
                anstream::eprintln!("{}", heading(platform));
            }
            let code = run_one(&context, &image, platform, &overrides, &interrupt).await?;
            worst = worst.max(code);
            if interrupt.is_cancelled() {
                return Err(CliError::Reported(Exit::Interrupted));
            }
        }
        Ok(worst)
    })?;
    // The store's leases are freed before the process ends.
    drop((context, session));
    match code {
        0 => Ok(()),
        code => process::exit(code),
    }
}

async fn run_one(
    context: &Context,
    image: &Runnable,
    platform: &Platform,
    overrides: &Overrides,
    interrupt: &tokio_util::sync::CancellationToken,
) -> Result<i32, CliError> {
    let stdio = Stdio::inherit().map_err(|source| CliError::File {
        action: "use",
        path: "standard input and output".into(),
        source,
    })?;
    Ok(match image.run(context, platform, overrides, stdio, interrupt).await? {
        ProcessExit::Code(code) => code,
        ProcessExit::Signal(signal) => SIGNAL_EXIT + signal,
    })
}

/// The platforms asked for; by default this machine's, or the only one there is.
fn platforms(args: &RunArgs, image: &Runnable) -> Result<Vec<Platform>, CliError> {
    match args.platform.as_deref() {
        Some("all") => Ok(image.platforms().to_vec()),
        Some(text) => parse_list(&[text]).map_err(|error| CliError::platform("--platform", &error)),
        None => Ok(match (best_match(&Platform::host(), image.platforms().iter()), image.platforms()) {
            (Some(best), platforms) => vec![platforms[best].clone()],
            (None, [only]) => vec![only.clone()],
            (None, _) => vec![Platform::host()],
        }),
    }
}

fn heading(platform: &Platform) -> String {
    let bold = anstyle::Style::new().bold();
    format!("{bold}── {platform}{bold:#}")
}
