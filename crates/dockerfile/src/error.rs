//! Why a Dockerfile was refused.

use thiserror::Error;

use crate::ast::Span;
use crate::diagnostic::Diagnostic;
use crate::keyword::Keyword;
use crate::mount::MountKey;

/// The first error of a Dockerfile and its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct ParseError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, in bytes of [`crate::ast::SourceText::text`].
    pub span: Span,
}

/// What can be wrong with a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is beyond the bound.
    #[error("the Dockerfile is longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// More instructions than the bound.
    #[error("the Dockerfile has more than {limit} instructions")]
    TooManyInstructions {
        /// The bound.
        limit: usize,
    },
    /// More here-documents in one instruction than the bound.
    #[error("{keyword} has more than {limit} here-documents")]
    TooManyHeredocs {
        /// The instruction.
        keyword: Keyword,
        /// The bound.
        limit: usize,
    },
    /// Neither instruction nor stage.
    #[error("the Dockerfile has no instructions")]
    NoInstructions,
    /// Only `ARG`s.
    #[error("the Dockerfile has no FROM")]
    NoStage,
    /// An instruction other than `ARG` before the first `FROM`.
    #[error("{keyword} before the first FROM")]
    BeforeFrom {
        /// The instruction.
        keyword: Keyword,
    },
    /// The same directive twice.
    #[error("the {name} directive is given twice")]
    DuplicateDirective {
        /// Its name.
        name: String,
    },
    /// An `escape` directive with something else than `\` or a backtick.
    #[error("'{value}' cannot be the escape character")]
    InvalidEscape {
        /// The value.
        value: String,
    },
    /// A line continuation at the end of the file that continues nothing.
    #[error("a line continuation without an instruction")]
    DanglingContinuation,
    /// No such instruction.
    #[error("unknown instruction '{word}'")]
    UnknownInstruction {
        /// As written.
        word: String,
        /// A known one that looks like it.
        nearest: Option<&'static str>,
    },
    /// No such flag.
    #[error("{keyword} has no flag --{flag}")]
    UnknownFlag {
        /// The instruction.
        keyword: Keyword,
        /// As written, without dashes.
        flag: String,
        /// A known one that looks like it.
        nearest: Option<&'static str>,
    },
    /// A flag that can be given once was given twice.
    #[error("--{flag} is given twice")]
    DuplicateFlag {
        /// Without dashes.
        flag: &'static str,
    },
    /// A flag without its value.
    #[error("--{flag} needs a value")]
    MissingFlagValue {
        /// Without dashes.
        flag: &'static str,
    },
    /// A value that the flag does not take.
    #[error("--{flag} cannot be '{value}'")]
    InvalidFlagValue {
        /// Without dashes.
        flag: &'static str,
        /// As written.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// No such option of a mount.
    #[error("--mount has no option '{key}'")]
    UnknownMountOption {
        /// As written.
        key: String,
        /// A known one that looks like it.
        nearest: Option<&'static str>,
    },
    /// An option of a mount without its value.
    #[error("the mount option '{key}' needs a value")]
    MissingMountValue {
        /// Which.
        key: MountKey,
    },
    /// Two options of a mount that say something about the same thing.
    #[error("the mount option '{key}' is given after '{given}'")]
    DuplicateMountOption {
        /// The second.
        key: MountKey,
        /// The first.
        given: MountKey,
    },
    /// A mount that is no CSV.
    #[error("the quotes in --mount do not match")]
    MalformedMount,
    /// An instruction without its arguments.
    #[error("{keyword} needs {expected}")]
    MissingArguments {
        /// The instruction.
        keyword: Keyword,
        /// What is missing.
        expected: &'static str,
    },
    /// `COPY` or `ADD` of which the last argument is a here-document.
    #[error("a here-document cannot be the destination of {keyword}")]
    HeredocDestination {
        /// The instruction.
        keyword: Keyword,
    },
    /// A JSON array with something else than strings.
    #[error("the JSON array of {keyword} holds something else than strings")]
    NotStrings {
        /// The instruction.
        keyword: Keyword,
    },
    /// `SHELL` with a command that is no JSON array.
    #[error("{keyword} needs a JSON array")]
    NotExecForm {
        /// The instruction.
        keyword: Keyword,
    },
    /// `ENV a=b c`.
    #[error("'{word}' lacks a '='")]
    MissingEquals {
        /// The word without one.
        word: String,
    },
    /// `ENV =value`, `ARG =value`.
    #[error("{keyword} needs a name before '='")]
    EmptyName {
        /// The instruction.
        keyword: Keyword,
    },
    /// An empty path.
    #[error("a path of {keyword} is empty")]
    EmptyPath {
        /// The instruction.
        keyword: Keyword,
    },
    /// `FROM` with something else than an image, or an image and `AS name`.
    #[error("FROM takes 'image' or 'image AS name'")]
    FromArguments,
    /// A stage name with characters that it must not have.
    #[error("'{name}' cannot be the name of a stage")]
    InvalidStageName {
        /// As written.
        name: String,
    },
    /// An instruction that cannot be a trigger.
    #[error("{keyword} cannot be an ONBUILD trigger")]
    ForbiddenTrigger {
        /// The instruction.
        keyword: Keyword,
    },
    /// A base image's trigger that is not exactly one instruction.
    #[error("an ONBUILD trigger must be exactly one instruction")]
    NotOneTrigger,
    /// A here-document without its end.
    #[error("the here-document '{name}' does not end")]
    UnterminatedHeredoc {
        /// Its delimiter.
        name: String,
    },
    /// `HEALTHCHECK` with something else than `CMD` or `NONE`.
    #[error("HEALTHCHECK takes CMD or NONE, not '{word}'")]
    UnknownHealthcheck {
        /// As written.
        word: String,
    },
    /// `HEALTHCHECK NONE` with options or arguments.
    #[error("HEALTHCHECK NONE takes nothing else")]
    HealthcheckNoneArguments,
}

impl ParseError {
    pub(crate) fn new(problem: Problem, span: Span) -> Self {
        Self { problem, span }
    }

    /// The error as a renderer shows it.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            message: self.to_string(),
            span: self.span,
            label: self.problem.label(),
            hint: Some(self.problem.hint()),
        }
    }
}

impl Problem {
    fn label(&self) -> String {
        match self {
            Self::TooLarge { .. } | Self::TooManyInstructions { .. } | Self::TooManyHeredocs { .. } => {
                "beyond the limit".to_owned()
            }
            Self::NoInstructions | Self::NoStage => "expected FROM".to_owned(),
            Self::BeforeFrom { .. } => "not in a stage yet".to_owned(),
            Self::DuplicateDirective { .. } | Self::DuplicateFlag { .. } => "given again here".to_owned(),
            Self::InvalidEscape { .. } => "expected \\ or `".to_owned(),
            Self::DanglingContinuation => "nothing follows".to_owned(),
            Self::UnknownInstruction { .. } => "not an instruction".to_owned(),
            Self::UnknownFlag { .. } => "unknown flag".to_owned(),
            Self::MissingFlagValue { flag } => format!("expected --{flag}=…"),
            Self::UnknownMountOption { .. } => "unknown option".to_owned(),
            Self::MissingMountValue { key } => format!("expected {key}=…"),
            Self::DuplicateMountOption { .. } => "only one of them counts".to_owned(),
            Self::MalformedMount => "expected key=value,…".to_owned(),
            Self::InvalidFlagValue { expected, .. } | Self::MissingArguments { expected, .. } => {
                format!("expected {expected}")
            }
            Self::HeredocDestination { .. } | Self::EmptyPath { .. } => "expected a path".to_owned(),
            Self::NotStrings { .. } | Self::NotExecForm { .. } => "expected [\"…\", …]".to_owned(),
            Self::MissingEquals { .. } => "expected name=value".to_owned(),
            Self::EmptyName { .. } => "expected a name".to_owned(),
            Self::FromArguments => "expected an image, or an image and a name".to_owned(),
            Self::InvalidStageName { .. } => "invalid name".to_owned(),
            Self::ForbiddenTrigger { .. } => "not allowed here".to_owned(),
            Self::NotOneTrigger => "expected one instruction".to_owned(),
            Self::UnterminatedHeredoc { .. } => "starts here".to_owned(),
            Self::UnknownHealthcheck { .. } => "expected CMD or NONE".to_owned(),
            Self::HealthcheckNoneArguments => "unexpected".to_owned(),
        }
    }
}
