//! Instructions that only change the image config.

use archway_dockerfile::ast::{self, Command, Word};
use archway_oci::Healthcheck;

use crate::{
    error::{LowerError, LowerProblem},
    history,
    stage::{Layer, StageBuilder},
};

/// `ENV`. All values see the variables as they were before the instruction.
pub(crate) fn env(builder: &mut StageBuilder<'_>, pairs: &[(Word, Word)]) -> Result<(), LowerError> {
    let pairs = expand_pairs(builder, pairs)?;
    for (name, value) in &pairs {
        builder.state.variables.set(name, value);
        set(&mut builder.state.image.config.env, name, value);
    }
    builder.state.record(format!("ENV{}", assignments(&pairs)), Layer::None);
    Ok(())
}

/// Changes `NAME=value` where it is, else appends it.
fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let assignment = format!("{name}={value}");
    let is_name = |entry: &String| entry.split('=').next() == Some(name);
    match env.iter_mut().find(|entry| is_name(entry)) {
        Some(entry) => *entry = assignment,
        None => env.push(assignment),
    }
}

/// `LABEL`
pub(crate) fn label(builder: &mut StageBuilder<'_>, pairs: &[(Word, Word)]) -> Result<(), LowerError> {
    let pairs = expand_pairs(builder, pairs)?;
    builder.state.record(format!("LABEL{}", assignments(&pairs)), Layer::None);
    builder.state.image.config.labels.extend(pairs);
    Ok(())
}

fn expand_pairs(
    builder: &StageBuilder<'_>,
    pairs: &[(Word, Word)],
) -> Result<Vec<(String, String)>, LowerError> {
    let expander = builder.expander();
    pairs.iter().map(|(name, value)| Ok((expander.word(name)?, expander.word(value)?))).collect()
}

fn assignments(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!(" {name}={value}")).collect()
}

/// `USER`. Empty is root again. What the text means is up to the image, and matters only where something
/// is run.
pub(crate) fn user(builder: &mut StageBuilder<'_>, word: &Word) -> Result<(), LowerError> {
    let user = builder.expander().word(word)?;
    builder.state.record(format!("USER {user}"), Layer::None);
    builder.state.image.config.user = user;
    Ok(())
}

/// `CMD`
pub(crate) fn cmd(builder: &mut StageBuilder<'_>, command: &Command) -> Result<(), LowerError> {
    let argv = builder.argv(command);
    builder.state.record(format!("CMD {}", history::quoted_list(&argv)), Layer::None);
    let config = &mut builder.state.image.config;
    config.cmd = Some(argv).filter(|argv| !argv.is_empty());
    // Means nothing but on Windows; BuildKit has always set it, and tools compare.
    config.args_escaped = true;
    builder.state.has_cmd = true;
    Ok(())
}

/// `ENTRYPOINT`. Arguments that the base meant for its own program go.
pub(crate) fn entrypoint(builder: &mut StageBuilder<'_>, command: &Command) -> Result<(), LowerError> {
    let argv = builder.argv(command);
    builder.state.record(format!("ENTRYPOINT {}", history::quoted_list(&argv)), Layer::None);
    let has_cmd = builder.state.has_cmd;
    let config = &mut builder.state.image.config;
    config.entrypoint = Some(argv).filter(|argv| !argv.is_empty());
    if !has_cmd {
        config.cmd = None;
    }
    Ok(())
}

/// `VOLUME`
pub(crate) fn volume(builder: &mut StageBuilder<'_>, words: &[Word]) -> Result<(), LowerError> {
    let mut volumes = Vec::with_capacity(words.len());
    for word in words {
        let volume = builder.expander().word(word)?;
        if volume.is_empty() {
            let problem = LowerProblem::EmptyVolume { expression: word.value.clone() };
            return Err(LowerError { problem, span: word.span });
        }
        volumes.push(volume);
    }
    builder.state.record(format!("VOLUME {}", history::list(&volumes)), Layer::None);
    add_to_set(&mut builder.state.image.config.volumes, volumes);
    Ok(())
}

/// Sets of the config are sorted lists.
pub(crate) fn add_to_set(set: &mut Vec<String>, items: Vec<String>) {
    set.extend(items);
    set.sort();
    set.dedup();
}

/// `HEALTHCHECK`
pub(crate) fn healthcheck(
    builder: &mut StageBuilder<'_>,
    check: &ast::Healthcheck,
) -> Result<(), LowerError> {
    let check = match check {
        ast::Healthcheck::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
        ast::Healthcheck::Cmd { command, interval, timeout, start_period, start_interval, retries } => {
            let (kind, arguments) = match command {
                Command::Shell(text) => ("CMD-SHELL", vec![text.clone()]),
                Command::Exec(argv) => ("CMD", argv.clone()),
            };
            Healthcheck {
                test: std::iter::once(kind.to_owned()).chain(arguments).collect(),
                interval: interval.unwrap_or(0),
                timeout: timeout.unwrap_or(0),
                start_period: start_period.unwrap_or(0),
                start_interval: start_interval.unwrap_or(0),
                retries: retries.unwrap_or(0),
            }
        }
    };
    builder.state.record(format!("HEALTHCHECK {}", history::healthcheck(&check)), Layer::None);
    builder.state.image.config.healthcheck = Some(check);
    Ok(())
}

/// `SHELL`
pub(crate) fn shell(builder: &mut StageBuilder<'_>, shell: &[String]) -> Result<(), LowerError> {
    builder.state.record(format!("SHELL {}", history::list(shell)), Layer::None);
    builder.state.image.config.shell = Some(shell.to_vec());
    Ok(())
}

/// `ONBUILD`: kept for builds that start from this image. BuildKit writes no history for it.
pub(crate) fn on_build(builder: &mut StageBuilder<'_>, text: &str) -> Result<(), LowerError> {
    builder.state.image.config.on_build.push(text.to_owned());
    Ok(())
}

/// `MAINTAINER`, which is not expanded.
pub(crate) fn maintainer(builder: &mut StageBuilder<'_>, name: &Word) -> Result<(), LowerError> {
    builder.state.record(format!("MAINTAINER {}", name.value), Layer::None);
    builder.state.image.author = Some(name.value.clone());
    Ok(())
}

impl StageBuilder<'_> {
    /// Program and arguments of a command: the shell form is one argument of the stage's shell.
    pub(crate) fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Shell(text) => self.in_shell(text),
            Command::Exec(argv) => argv.clone(),
        }
    }

    pub(crate) fn in_shell(&self, script: &str) -> Vec<String> {
        let shell = match &self.state.image.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ if self.state.platform.os == "windows" => ["cmd", "/S", "/C"].map(str::to_owned).to_vec(),
            _ => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
        };
        shell.into_iter().chain([script.to_owned()]).collect()
    }
}
