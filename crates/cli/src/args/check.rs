//! `archway check`.

use std::path::PathBuf;

use archway_orchestrator::{check::CheckRequest, request::BuildRequest, source::named::NamedContextSpecs};
use clap::{Args, ValueEnum};

use super::{build::platforms, build_arg};
use crate::error::CliError;

/// `archway check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Directory of the build context, or `-` for a Dockerfile on standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,

    /// Dockerfile [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Platforms the image is for; base images are then looked up [default: none]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// Set a build argument; without a value, from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,

    /// Only look at what this stage needs [default: at all stages]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Look base images up at their registry, even if the local store has them
    #[arg(long, requires = "platform")]
    pull: bool,

    /// How the findings are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: CheckFormat,

    /// Say what a rule is about, with an example, and check nothing
    #[arg(long, value_name = "RULE", conflicts_with_all = ["list", "format", "platform", "file", "target"])]
    pub(crate) explain: Option<String>,

    /// List all rules, and check nothing
    #[arg(long, conflicts_with_all = ["format", "platform", "file", "target"])]
    pub(crate) list: bool,
}

/// How findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people
    Text,
    /// As `docker buildx build --call=check,format=json`, with exact places and fixes
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
}

/// What is checked.
#[derive(Debug)]
pub(crate) struct Checking {
    pub(crate) input: Input,
    pub(crate) request: CheckRequest,
}

/// Where a Dockerfile comes from.
#[derive(Debug)]
pub(crate) enum Input {
    /// Files of this machine.
    Local { context: PathBuf, dockerfile: Option<PathBuf> },
    /// Standard input is the Dockerfile.
    Stdin,
    /// What this build fetches or unpacks.
    Fetched(Box<BuildRequest>),
}

impl CheckArgs {
    /// What these arguments ask for.
    pub(crate) fn checking(&self) -> Result<Checking, CliError> {
        let platforms = if self.platform.is_empty() { Vec::new() } else { platforms(&self.platform)? };
        let request = CheckRequest {
            build_args: build_arg::parse(&self.build_arg, &platforms)?,
            platforms,
            named_contexts: NamedContextSpecs::default(),
            target: self.target.clone(),
            pull: self.pull,
        };
        Ok(Checking { input: self.input()?, request })
    }

    fn input(&self) -> Result<Input, CliError> {
        if self.context.as_os_str() != "-" {
            return Ok(Input::Local { context: self.context.clone(), dockerfile: self.file.clone() });
        }
        match &self.file {
            None => Ok(Input::Stdin),
            Some(_) => {
                Err(CliError::usage("--file", "the Dockerfile is read from standard input (`-`) already"))
            }
        }
    }
}
