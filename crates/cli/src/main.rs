//! One build, every architecture.

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Cli, Command},
    error::{CliError, Exit},
};

mod args;
mod builders;
mod commands;
mod error;
mod findings;
mod progress;
mod session;
mod table;
mod tree;

fn main() -> ExitCode {
    // A closed pipe (`archway images | head`) ends the program quietly, as in any other tool.
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            let text = error.render();
            if !text.is_empty() {
                anstream::eprintln!("{text}");
            }
            ExitCode::from(error.exit() as u8)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, CliError> {
    let registries = &cli.registries;
    match &cli.command {
        Command::Build(args) => commands::build::run(args, registries),
        Command::Plan(args) => commands::plan::run(args, registries),
        Command::Check(args) => commands::check::run(args, registries),
        Command::Source(args) => commands::source::run(args, registries),
        Command::Run(args) => commands::run::run(args, registries),
        Command::Inspect(args) => commands::inspect::run(args, registries),
        Command::Sbom(args) => commands::sbom::run(args, registries),
        Command::Scan(args) => commands::scan::run(args, registries),
        Command::Copy(args) => commands::copy::run(args, registries),
        Command::Index(command) => commands::index::run(command, registries),
        Command::Images(args) => commands::images::list(args),
        Command::Tag(args) => commands::images::tag(args),
        Command::Rmi(args) => commands::images::remove(args),
        Command::Cache(command) => commands::cache::run(command),
        Command::Kube(command) => commands::kube::run(command),
        Command::Builder(command) => commands::builder::run(command),
        Command::Login(args) => commands::login::login(args, registries),
        Command::Logout(args) => commands::login::logout(args, registries),
    }?;
    Ok(ExitCode::from(Exit::Success as u8))
}
