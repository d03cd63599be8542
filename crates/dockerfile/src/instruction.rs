//! The meaning of one instruction, once its text is taken apart.

mod file;
mod healthcheck;
mod pair;

use std::ops::Range;

use crate::ast::{Command, Heredoc, Kind, Run, Word};
use crate::error::{ParseError, Problem};
use crate::flag::Flags;
use crate::keyword::Keyword;
use crate::line::Fragment;
use crate::mount;

/// An instruction taken apart.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) keyword: Keyword,
    /// The keyword as written.
    pub(crate) name: Fragment<'a>,
    pub(crate) flags: Flags,
    /// What follows the flags.
    pub(crate) arguments: Fragment<'a>,
    /// The arguments if they are a JSON array and the instruction has an exec form.
    pub(crate) exec: Option<Vec<Word>>,
    pub(crate) documents: Vec<Document>,
    pub(crate) escape: char,
    /// Where the instruction ends in the file, with its here-documents.
    pub(crate) end: usize,
}

/// A here-document and where its operator stands.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) heredoc: Heredoc,
    /// Byte offsets in the arguments.
    pub(crate) operator: Range<usize>,
    /// Where its delimiter ends in the file.
    pub(crate) end: usize,
}

impl Statement<'_> {
    pub(crate) fn error(&self, problem: Problem) -> ParseError {
        let place = if self.arguments.is_empty() { &self.name } else { &self.arguments };
        ParseError::new(problem, place.span())
    }

    pub(crate) fn missing(&self, expected: &'static str) -> ParseError {
        self.error(Problem::MissingArguments { keyword: self.keyword, expected })
    }

    fn require(&self, expected: &'static str) -> Result<(), ParseError> {
        if self.arguments.is_empty() { Err(self.missing(expected)) } else { Ok(()) }
    }

    /// The arguments as one word.
    fn single(&self, expected: &'static str) -> Result<Word, ParseError> {
        self.require(expected)?;
        Ok(self.arguments.word())
    }

    /// The arguments as words: the elements of the exec form, or what stands between blanks.
    fn list(&mut self) -> Vec<Word> {
        self.exec.take().unwrap_or_else(|| self.arguments.split_blanks().iter().map(Fragment::word).collect())
    }

    /// As in BuildKit, no command at all is an empty text for the shell.
    fn command(&mut self) -> Command {
        match self.exec.take() {
            Some(words) => Command::Exec(words.into_iter().map(|word| word.value).collect()),
            None => Command::Shell(self.arguments.text().to_owned()),
        }
    }
}

/// What the instruction says. `FROM` and `ONBUILD` are no instructions by themselves: one opens a
/// stage, the other holds an instruction.
pub(crate) fn kind(mut statement: Statement<'_>) -> Result<Kind, ParseError> {
    Ok(match statement.keyword {
        Keyword::Add => Kind::Add(file::copy(statement)?),
        Keyword::Copy => Kind::Copy(file::copy(statement)?),
        Keyword::Arg => Kind::Arg(pair::arguments(&statement)?),
        Keyword::Env => Kind::Env(pair::pairs(&statement)?),
        Keyword::Label => Kind::Label(pair::pairs(&statement)?),
        Keyword::Cmd => Kind::Cmd(statement.command()),
        Keyword::Entrypoint => Kind::Entrypoint(statement.command()),
        Keyword::Run => Kind::Run(run(statement)?),
        Keyword::Shell => Kind::Shell(shell(statement)?),
        Keyword::Healthcheck => Kind::Healthcheck(healthcheck::healthcheck(&statement)?),
        Keyword::Expose => {
            statement.require("a port")?;
            Kind::Expose(statement.list())
        }
        Keyword::Volume => Kind::Volume(volume(statement)?),
        Keyword::Workdir => Kind::Workdir(statement.single("a path")?),
        Keyword::User => Kind::User(statement.single("a user")?),
        Keyword::StopSignal => Kind::StopSignal(statement.single("a signal")?),
        Keyword::Maintainer => Kind::Maintainer(statement.single("a name")?),
        keyword @ (Keyword::From | Keyword::OnBuild) => {
            return Err(statement.error(Problem::ForbiddenTrigger { keyword }));
        }
    })
}

fn run(mut statement: Statement<'_>) -> Result<Run, ParseError> {
    let command = statement.command();
    if command == Command::Exec(Vec::new()) {
        return Err(statement.missing("a program"));
    }
    let network = one_of(&statement, "network", &["default", "none", "host"], "default, none or host")?;
    let security = one_of(&statement, "security", &["sandbox", "insecure"], "sandbox or insecure")?;
    let mounts = statement.flags.values("mount").iter().map(mount::parse).collect::<Result<_, _>>()?;
    Ok(Run {
        command,
        heredocs: statement.documents.into_iter().map(|document| document.heredoc).collect(),
        network,
        security,
        mounts,
        devices: statement.flags.values("device"),
    })
}

/// A flag whose values are fixed; variables are not expanded in it.
fn one_of(
    statement: &Statement<'_>,
    flag: &'static str,
    values: &[&str],
    expected: &'static str,
) -> Result<Option<Word>, ParseError> {
    let Some(word) = statement.flags.value(flag) else { return Ok(None) };
    if values.contains(&word.value.as_str()) {
        return Ok(Some(word));
    }
    let problem = Problem::InvalidFlagValue { flag, value: word.value, expected };
    Err(ParseError::new(problem, word.span))
}

fn shell(mut statement: Statement<'_>) -> Result<Vec<String>, ParseError> {
    statement.require("a program")?;
    match statement.command() {
        Command::Shell(_) => Err(statement.error(Problem::NotExecForm { keyword: statement.keyword })),
        Command::Exec(words) if words.is_empty() => Err(statement.missing("a program")),
        Command::Exec(words) => Ok(words),
    }
}

fn volume(mut statement: Statement<'_>) -> Result<Vec<Word>, ParseError> {
    let mut paths = statement.list();
    if paths.is_empty() {
        return Err(statement.missing("a path"));
    }
    for path in &mut paths {
        path.value = path.value.trim().to_owned();
        if path.value.is_empty() {
            return Err(ParseError::new(Problem::EmptyPath { keyword: statement.keyword }, path.span));
        }
    }
    Ok(paths)
}
