//! `RUN`

use archway_dockerfile::ast::{Heredoc, Run, Script, Word};

use super::mount::{self, Lowered};
use crate::{
    error::{LowerError, LowerProblem},
    op::{InlineFile, Network, Op, RunOp},
    path,
    run_settings::{Entitlement, RunSettings, Security},
    selection::Step,
    stage::{Layer, StageBuilder},
    support,
};

/// Where the script of a `#!` here-document is shown.
const SCRIPTS: &str = "/dev/pipes";

/// The build argument that names the machine, as in BuildKit.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// Runs the command with all variables of the stage.
pub(crate) fn run(builder: &mut StageBuilder<'_>, step: &Step<'_>, run: &Run) -> Result<(), LowerError> {
    let (argv, files) = command(builder, run)?;
    let network = match &run.network {
        Some(mode) => network(mode, builder.inputs.network)?,
        None => builder.inputs.network,
    };
    let security = security(builder, run)?;
    let Lowered { mounts, secret_env, ssh_socket } = mount::lower(builder, step, run)?;
    let created_by = created_by(builder, &argv);
    let state = &builder.state;
    let op = RunOp {
        base: state.node,
        platform: state.platform.clone(),
        argv,
        env: environment(builder, ssh_socket),
        cwd: state.workdir.clone(),
        user: state.image.config.user.clone(),
        network,
        no_cache: builder.no_cache,
        files,
        mounts,
        secret_env,
        security,
        settings: settings(builder),
    };
    builder.advance(step, Op::Run(op), &name(&step.instruction.line, run));
    builder.state.record(created_by, Layer::Made);
    Ok(())
}

/// What is executed, and the files it needs. Here-documents are not expanded here: where their text
/// goes to a shell, the shell does it.
fn command(builder: &StageBuilder<'_>, run: &Run) -> Result<(Vec<String>, Vec<InlineFile>), LowerError> {
    let is_windows = builder.state.platform.os == "windows";
    match run.script() {
        None => Ok((builder.argv(&run.command), Vec::new())),
        Some(Script::Shell(script)) => Ok((builder.in_shell(&script), Vec::new())),
        Some(Script::Program(script)) if is_windows => Ok((builder.in_shell(&script.body), Vec::new())),
        Some(Script::Program(script)) => {
            let file = script_file(script)?;
            Ok((builder.in_shell(&file.name), vec![file]))
        }
    }
}

fn script_file(script: &Heredoc) -> Result<InlineFile, LowerError> {
    if !path::is_file_name(&script.name) {
        let problem = LowerProblem::BadInlineName { name: script.name.clone() };
        return Err(LowerError { problem, span: script.span });
    }
    Ok(InlineFile { name: format!("{SCRIPTS}/{}", script.name), content: script.body.clone() })
}

fn network(word: &Word, default: Network) -> Result<Network, LowerError> {
    match word.value.as_str() {
        "default" => Ok(default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(support::not_yet(format!("RUN --network={other}"), word.span)),
    }
}

/// The variables of the stage, and where the ssh agent listens.
fn environment(builder: &StageBuilder<'_>, ssh_socket: Option<String>) -> Vec<String> {
    const SOCKET: &str = "SSH_AUTH_SOCK";
    let variables = &builder.state.variables;
    let mut env = variables.assignments();
    if let Some(path) = ssh_socket.filter(|_| variables.value(SOCKET).is_none()) {
        env.push(format!("{SOCKET}={path}"));
    }
    env
}

fn security(builder: &StageBuilder<'_>, run: &Run) -> Result<Security, LowerError> {
    match &run.security {
        Some(word) if word.value == "insecure" => {
            let entitlement = Entitlement::SecurityInsecure;
            if builder.inputs.allowed.contains(&entitlement) {
                return Ok(Security::Insecure);
            }
            let problem = LowerProblem::NotAllowed { entitlement: "security.insecure" };
            Err(LowerError { problem, span: word.span })
        }
        _ => Ok(Security::Sandbox),
    }
}

fn settings(builder: &StageBuilder<'_>) -> RunSettings {
    let hostname = builder.inputs.build_args.get(HOSTNAME).filter(|name| !name.is_empty());
    RunSettings { hostname: hostname.map(str::to_owned), ..builder.inputs.run_settings.clone() }
}

/// `RUN |2 A=1 B=2 /bin/sh -c make # buildkit`: the arguments in scope, with the values they have
/// now, each once.
fn created_by(builder: &StageBuilder<'_>, argv: &[String]) -> String {
    let mut arguments: Vec<(&str, &str)> = Vec::new();
    for (name, value) in &builder.state.arguments {
        if arguments.iter().all(|(known, _)| known != name) {
            let current = builder.state.variables.value(name).or(value.as_deref());
            arguments.push((name, current.unwrap_or_default()));
        }
    }
    let mut words = vec!["RUN".to_owned()];
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
    }
    words.extend(arguments.into_iter().map(|(name, value)| format!("{name}={value}")));
    words.extend_from_slice(argv);
    format!("{} # buildkit", words.join(" "))
}

/// The line, and for a script its first line, as it would otherwise be anybody's guess.
fn name(line: &str, run: &Run) -> String {
    let Some(script) = run.heredocs.first() else { return line.to_owned() };
    let body = script.body.trim();
    let (first, more) = body.split_once('\n').map_or((body, ""), |(first, _)| (first.trim_end(), "..."));
    format!("{line} ({first}{more})")
}
