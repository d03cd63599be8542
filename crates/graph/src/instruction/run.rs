//! `RUN`

use archway_dockerfile::ast::{Command, Heredoc, Run, Word};

use crate::{
    error::{LowerError, LowerProblem},
    nearest::nearest,
    op::{InlineFile, Network, Op, RunOp},
    path,
    selection::Step,
    stage::{Layer, StageBuilder},
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
        files,
    };
    builder.advance(step, Op::Run(op), &name(&step.instruction.line, run));
    builder.state.record(created_by, Layer::Made);
    Ok(())
}

/// What is executed, and the files it needs. Here-documents are never expanded here: where their
/// text goes to a shell, the shell does it.
fn command(builder: &StageBuilder<'_>, run: &Run) -> Result<(Vec<String>, Vec<InlineFile>), LowerError> {
    let text = match &run.command {
        Command::Exec(argv) => return Ok((argv.clone(), Vec::new())),
        Command::Shell(text) => text,
    };
    match run.heredocs.as_slice() {
        [] => Ok((builder.in_shell(text), Vec::new())),
        [script] if is_only_heredoc(text) => {
            if builder.state.platform.os == "windows" || !script.body.starts_with("#!") {
                return Ok((builder.in_shell(&script.body), Vec::new()));
            }
            let file = script_file(script)?;
            Ok((builder.in_shell(&file.name), vec![file]))
        }
        heredocs => {
            let mut script = text.clone();
            for heredoc in heredocs {
                script.push('\n');
                script.push_str(&heredoc.body);
                script.push_str(&heredoc.name);
            }
            Ok((builder.in_shell(&script), Vec::new()))
        }
    }
}

/// Whether the command is a here-document and nothing else: `<<EOF`, `<<-"EOF"`, `3<<EOF`.
fn is_only_heredoc(text: &str) -> bool {
    let text = text.trim().trim_start_matches(|c: char| c.is_ascii_digit());
    text.strip_prefix("<<").is_some_and(|rest| !rest.contains(['<', ' ', '\t', ';', '|', '&', '>']))
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
        other => {
            let nearest = nearest(other, ["default", "none", "host"]).map(str::to_owned);
            let problem = LowerProblem::UnknownNetwork { value: other.to_owned(), nearest };
            Err(LowerError { problem, span: word.span })
        }
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

#[cfg(test)]
mod tests {
    use super::is_only_heredoc;

    #[test]
    fn a_lone_heredoc_is_a_script() {
        for text in ["<<EOF", "<<-EOF", "<<'EOF'", "<<-\"EOF\"", " 3<<EOF "] {
            assert!(is_only_heredoc(text), "{text}");
        }
        for text in ["cat <<EOF", "<<EOF cat", "<<A <<B", "<<EOF > /x", "make"] {
            assert!(!is_only_heredoc(text), "{text}");
        }
    }
}
