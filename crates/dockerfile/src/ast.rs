//! The syntax tree of a Dockerfile. Words are kept as written; [`crate::expand`] turns them into
//! values once the build arguments and the environment are known.

use std::borrow::Cow;
use std::sync::Arc;

use crate::mount::Mount;

/// A byte range of the Dockerfile, for error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// The text of a Dockerfile and the name to show for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// Path as the user named it.
    pub name: String,
    /// The whole text, BOM removed.
    pub text: Arc<str>,
}

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Where it came from.
    pub source: SourceText,
    /// The `# escape=` directive; `\` by default.
    pub escape: char,
    /// The image reference of the `# syntax=` directive, if any.
    pub syntax: Option<Spanned<String>>,
    /// The `# check=` directive, if any.
    pub check: Option<Spanned<String>>,
    /// `ARG`s before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

/// A word as written: quotes, escapes and variables not yet resolved.
pub type Word = Spanned<String>;

/// One `FROM` and the instructions up to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Position, from 0.
    pub index: usize,
    /// `AS name`, lower case.
    pub name: Option<Spanned<String>>,
    /// Base: an image reference, an earlier stage, or `scratch`. May hold variables.
    pub base: Word,
    /// `--platform=`.
    pub platform: Option<Word>,
    /// The `FROM` line.
    pub span: Span,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Its place, from the keyword to the last byte (heredocs included).
    pub span: Span,
    /// The instruction as one line, continuations joined and comments dropped, for progress and history:
    /// `RUN apt-get update && apt-get install -y curl`. Heredoc bodies are not part of it.
    pub line: String,
    /// What it says.
    pub kind: Kind,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `ARG name[=default] …`
    Arg(Vec<ArgDeclaration>),
    /// `ENV key=value …`, in order.
    Env(Vec<(Word, Word)>),
    /// `LABEL key=value …`, in order.
    Label(Vec<(Word, Word)>),
    /// `RUN`
    Run(Run),
    /// `COPY`
    Copy(Copy),
    /// `ADD`
    Add(Copy),
    /// `WORKDIR path`
    Workdir(Word),
    /// `USER name[:group]`
    User(Word),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `CMD`
    Cmd(Command),
    /// `EXPOSE port[-port][/protocol] …`
    Expose(Vec<Word>),
    /// `VOLUME path …`
    Volume(Vec<Word>),
    /// `STOPSIGNAL signal`
    StopSignal(Word),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `SHELL ["program", …]`
    Shell(Vec<String>),
    /// `ONBUILD instruction`, checked, and its text as the image config stores it.
    OnBuild {
        /// The instruction to run later.
        instruction: Box<Instruction>,
        /// Its text.
        text: String,
    },
    /// `MAINTAINER name` (deprecated).
    Maintainer(Word),
}

impl Kind {
    /// The here-documents of a `RUN`, `COPY` or `ADD`; none for others.
    pub fn heredocs(&self) -> &[Heredoc] {
        match self {
            Self::Run(run) => &run.heredocs,
            Self::Copy(copy) | Self::Add(copy) => &copy.heredocs,
            _ => &[],
        }
    }
}

/// `name[=default]` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name.
    pub name: Spanned<String>,
    /// The default, may hold variables.
    pub default: Option<Word>,
}

/// A command in shell form or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell, as written (continuations joined). Variables are the shell's business.
    Shell(String),
    /// Program and arguments, verbatim.
    Exec(Vec<String>),
}

/// A `RUN` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command. With heredocs in shell form: the text after `RUN`, without the bodies.
    pub command: Command,
    /// Here-documents, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--network=`
    pub network: Option<Word>,
    /// `--security=`
    pub security: Option<Word>,
    /// Each `--mount=`.
    pub mounts: Vec<Mount>,
    /// Each `--device=`, unparsed.
    pub devices: Vec<Word>,
}

/// A `COPY` or `ADD` instruction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// Sources, without the inline ones. May hold variables and wildcards.
    pub sources: Vec<Word>,
    /// Inline sources: here-documents, written to the destination under their delimiter's name.
    pub heredocs: Vec<Heredoc>,
    /// Destination.
    pub destination: Word,
    /// `--from=` (COPY only).
    pub from: Option<Word>,
    /// `--chown=`
    pub chown: Option<Word>,
    /// `--chmod=`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--parents` (COPY only).
    pub parents: bool,
    /// Each `--exclude=`.
    pub exclude: Vec<Word>,
    /// `--checksum=` (ADD only).
    pub checksum: Option<Word>,
    /// `--keep-git-dir` (ADD only).
    pub keep_git_dir: Option<bool>,
    /// `--unpack` (ADD only).
    pub unpack: Option<bool>,
}

impl Default for Word {
    fn default() -> Self {
        Self { value: String::new(), span: Span::default() }
    }
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, unquoted.
    pub name: String,
    /// The body, with `<<-` tabs already removed.
    pub body: String,
    /// Whether variables in the body are expanded (the delimiter was not quoted).
    pub expand: bool,
    /// The descriptor number before `<<`, 0 by default.
    pub fd: u32,
    /// Place of the body.
    pub span: Span,
}

/// A `HEALTHCHECK` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [options] CMD command`
    Cmd {
        /// The check.
        command: Command,
        /// `--interval=`, nanoseconds.
        interval: Option<u64>,
        /// `--timeout=`, nanoseconds.
        timeout: Option<u64>,
        /// `--start-period=`, nanoseconds.
        start_period: Option<u64>,
        /// `--start-interval=`, nanoseconds.
        start_interval: Option<u64>,
        /// `--retries=`
        retries: Option<u64>,
    },
}

/// What a `RUN` in shell form gives to the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script<'a> {
    /// Text for the shell. Here-documents that the command line merely uses are part of it.
    Shell(Cow<'a, str>),
    /// A file to execute: the command line is one here-document and nothing else, and its body
    /// starts with `#!`.
    Program(&'a Heredoc),
}
