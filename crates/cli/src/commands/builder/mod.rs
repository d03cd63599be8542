//! `archway builder`
//!
//! | module | does |
//! |---|---|
//! | `change` | creates, chooses and removes builders |
//! | `survey` | asks daemons what they are |
//! | `show` | lists and inspects: what was found, as text and JSON |
//! | `prune` | makes daemons smaller |
//! | `certs` | makes and renews certificates |

mod certs;
mod change;
mod prune;
mod show;
mod survey;

use crate::{args::BuilderCommand, error::CliError};

pub(crate) fn run(command: &BuilderCommand) -> Result<(), CliError> {
    match command {
        BuilderCommand::Create(args) => change::create(args),
        BuilderCommand::Ls(args) => show::list(args),
        BuilderCommand::Inspect(args) => show::inspect(args),
        BuilderCommand::Use(args) => change::select(args),
        BuilderCommand::Rm(args) => change::remove(args),
        BuilderCommand::Prune(args) => prune::run(args),
        BuilderCommand::Certs(args) => certs::run(args),
    }
}
