//! `RUN`

use archway_dockerfile::ast::{Heredoc, Run, Script, Word};

use crate::{
    error::{LowerError, LowerProblem},
    op::{InlineFile, Network, Op, RunOp},
    path,
    selection::Step,
    stage::{Layer, StageBuilder},
    support,
};

/// Where the script of a `#!` here-document is shown.
const SCRIPTS: &str = "/dev/pipes";

/// Runs the command with all variables of the stage.
pub(crate) fn run(builder: &mut StageBuilder<'_>, step: &Step<'_>, run: &Run) -> Result<(), LowerError> {
    let (argv, files) = command(builder, run)?;
    let network = match &run.network {
        Some(mode) => network(mode, builder.inputs.network)?,
        None => builder.inputs.network,
    };
    let created_by = created_by(builder, &argv);
    let state = &builder.state;
    let op = RunOp {
        base: state.node,
        platform: state.platform.clone(),
        argv,
        env: state.variables.assignments(),
        cwd: state.workdir.clone(),
        user: state.image.config.user.clone(),
        network,
        no_cache: builder.no_cache,
        files,
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
