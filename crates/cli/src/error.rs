//! Errors at the edge: kind to exit code, causes and hints to text. Nothing else prints errors.

mod builder;

use std::{fmt::Display, io, path::PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use archway_buildkit::{
    ConnectError,
    certs::CertsError,
    config::{ConfigError, EditError},
};
use archway_cache::CacheError;
use archway_dockerfile::{ast::SourceText, diagnostic::Diagnostic};
use archway_engine::StepError;
use archway_oci::{Platform, platform::PlatformError};
use archway_orchestrator::scan::ScanError;
use archway_orchestrator::{
    Error, cache::StorageError, error::DockerfileConflict, index_tools::AnnotateError,
};
use archway_sandbox::CgroupError;
use archway_source::SourceError;

pub(crate) use builder::{connect_hint, remote_hint};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A flag or argument.
    #[error("{flag}: {message}")]
    Usage { flag: &'static str, message: String, hint: Option<String> },
    /// An operation.
    #[error(transparent)]
    Operation(#[from] Error),
    /// A registry, outside of a build.
    #[error(transparent)]
    Registry(#[from] archway_registry::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] archway_store::StoreError),
    /// The sandbox could not be prepared.
    #[error(transparent)]
    Sandbox(#[from] archway_sandbox::SandboxError),
    /// No user namespace.
    #[error(transparent)]
    Rootless(#[from] archway_sandbox::rootless::RootlessError),
    /// A file of the user's.
    #[error("cannot {action} `{path}`")]
    File { action: &'static str, path: String, source: io::Error },
    /// A file of values for Kubernetes.
    #[error("cannot use the values in `{path}`")]
    Values { path: String, source: Box<archway_kubernetes::pool::spec::ValuesError> },
    /// Objects of Kubernetes could not be written as text.
    #[error("cannot write the manifests as YAML")]
    Yaml(#[from] archway_kubernetes::manifest::YamlError),
    /// The Dockerfile was checked, and says that findings are errors.
    #[error("the checks found {rules}, and `check=error=true` makes this an error")]
    Checks { report: String, rules: String },
    /// Nothing in the build cache is called so.
    #[error("nothing in the build cache is called `{id}`")]
    NotInCache { id: String },
    /// Cache mounts that were to be removed are in use.
    #[error("{kept} of the cache mounts are in use, and stay")]
    InUse { kept: usize },
    /// The file of builders.
    #[error("{} is not a file of builders: {source}", place(.path, .source))]
    Builders { path: PathBuf, source: ConfigError },
    /// No builder is called so.
    #[error("there is no builder `{name}`")]
    NoSuchBuilder { name: String, known: Vec<String> },
    /// A builder is in a file that is not the user's.
    #[error("builder `{name}` is in {}, which is not changed here", .path.display())]
    MachinesBuilder { name: String, path: PathBuf },
    /// A change to a builder.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A connection to a daemon.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Certificates.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// An image is not what it says it is; what is wrong was said.
    #[error("{name} is not what it says it is: {errors} of the findings are errors")]
    NotVerified { name: String, errors: usize },
    /// The build ended without success; everything was said already.
    #[error("the build failed")]
    Reported(Exit),
}

/// Exit codes, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// Failed.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Published, and some of the platforms are missing as they failed.
    Partial = 3,
    /// What was built, or what is there, is not what was promised.
    Verification = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

impl CliError {
    /// A flag whose value is wrong.
    pub(crate) fn usage(flag: &'static str, message: impl Display) -> Self {
        Self::Usage { flag, message: message.to_string(), hint: None }
    }

    /// A value of `--platform` or the like.
    pub(crate) fn platform(flag: &'static str, error: &PlatformError) -> Self {
        let hint = error.suggestion.as_ref().map(|near| format!("did you mean `{near}`?"));
        Self::Usage { flag, message: error.to_string(), hint }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Values { .. } => Exit::Usage,
            Self::Certs(CertsError::Validity) => Exit::Usage,
            Self::NotVerified { .. } => Exit::Verification,
            Self::Operation(error) => exit_of_operation(error),
            Self::Reported(exit) => *exit,
            _ => Exit::Failure,
        }
    }

    /// The whole text for standard error; empty if everything was said.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Reported(_) => String::new(),
            Self::Checks { report, .. } => format!("{report}\n\n{}", plain(&self.to_string(), &[], None)),
            Self::Operation(
                Error::Dockerfile { text, diagnostic } | Error::DockerIgnore { text, diagnostic },
            ) => in_source(text, diagnostic),
            Self::Operation(error @ Error::Base { place, .. }) => {
                let (source, span) = place.as_ref();
                let label = cause_line(error);
                let diagnostic =
                    Diagnostic { message: error.to_string(), span: *span, label, hint: hint(self) };
                in_source(source, &diagnostic)
            }
            _ => plain(&self.to_string(), &chain(self), hint(self).as_deref()),
        }
    }
}

/// `FILE:LINE:COLUMN`, as far as it is known.
fn place(path: &std::path::Path, error: &ConfigError) -> String {
    match error.place {
        Some((line, column)) => format!("{}:{line}:{column}", path.display()),
        None => path.display().to_string(),
    }
}

/// The exit code of an operation that failed.
pub(crate) fn exit_of_operation(error: &Error) -> Exit {
    match error {
        Error::Output { .. } | Error::Frontend(_) | Error::DockerfileConflict(_) => Exit::Usage,
        Error::Unverified { .. }
        | Error::ForeignFiles(_)
        | Error::Vulnerable(_)
        | Error::Blob(_)
        | Error::TagMoved { .. }
        | Error::Overtaken { .. } => Exit::Verification,
        Error::Annotate(_) => Exit::Usage,
        Error::Shared { source } => exit_of_operation(source),
        _ => Exit::Failure,
    }
}

/// An error with the line of the Dockerfile it is about.
pub(crate) fn in_source(source: &SourceText, diagnostic: &Diagnostic) -> String {
    let span = visible(&source.text, diagnostic.span.start, diagnostic.span.end);
    let mut annotation = AnnotationKind::Primary.span(span);
    if !diagnostic.label.is_empty() {
        annotation = annotation.label(diagnostic.label.as_str());
    }
    let snippet = Snippet::source(&*source.text).path(source.name.as_str()).annotation(annotation);
    let mut report = vec![Level::ERROR.primary_title(diagnostic.message.as_str()).element(snippet)];
    if let Some(hint) = &diagnostic.hint {
        report.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
    }
    Renderer::styled().render(&report)
}

/// An error without a place.
pub(crate) fn plain(message: &str, causes: &[String], hint: Option<&str>) -> String {
    use std::fmt::Write as _;

    let (error, help) = (style(anstyle::AnsiColor::BrightRed), style(anstyle::AnsiColor::BrightCyan));
    let mut text = format!("{error}error{error:#}: {}", printable(message));
    for cause in causes {
        let _ = write!(text, "\n  caused by: {}", printable(cause));
    }
    if let Some(hint) = hint {
        let _ = write!(text, "\n{help}help{help:#}: {hint}");
    }
    text
}

/// Something that went otherwise than it could have, and does no harm.
pub(crate) fn note(message: &str, causes: &[String]) -> String {
    let cyan = style(anstyle::AnsiColor::BrightGreen);
    let causes: String = causes.iter().map(|cause| format!("\n  caused by: {}", printable(cause))).collect();
    format!("{cyan}note{cyan:#}: {}{causes}", printable(message))
}

/// Text that may quote an untrusted file or a registry, made safe for a terminal: control characters
/// could move the cursor, and line breaks could pretend to be another message.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn style(color: anstyle::AnsiColor) -> anstyle::Style {
    color.on_default().bold()
}

/// Only the first line of a span, and something to stand on at the end of a line.
pub(crate) fn visible(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(start);
    let end = text.floor_char_boundary(end).max(start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    start..end.min(line_end).max(start)
}

/// The text for an operation that failed.
pub(crate) fn render_operation(error: &Error) -> String {
    plain(&error.to_string(), &chain(error), operation_hint(error).as_deref())
}

/// Every error below the first, without repeating what its parent says already.
pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.ends_with(&text) {
            causes.push(text.clone());
        }
        said = text;
        next = cause.source();
    }
    causes
}

/// An error and what is below it.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    causes.extend(chain(error));
    causes
}

/// The innermost cause, for the label below a marked place.
fn cause_line(error: &Error) -> String {
    chain(error).pop().unwrap_or_default()
}

/// What to do about it.
fn hint(error: &CliError) -> Option<String> {
    match error {
        CliError::Usage { hint, .. } => hint.clone(),
        CliError::Operation(error) => operation_hint(error),
        CliError::Registry(error) => error.hint(),
        CliError::Store(error) => store_hint(error),
        CliError::Builders { source, .. } => builder::config_hint(source),
        CliError::NoSuchBuilder { name, known } => Some(builder::no_builder_hint(name, known)),
        CliError::MachinesBuilder { .. } => Some(
            "an administrator can; a builder of the same name in your own file comes before it".to_owned(),
        ),
        CliError::Edit(error) => builder::edit_hint(error),
        CliError::Connect(error) => connect_hint(error),
        CliError::Certs(error) => builder::certs_hint(error).map(str::to_owned),
        CliError::NotInCache { .. } => Some("`archway cache ls` lists what is there".to_owned()),
        _ => None,
    }
}

fn operation_hint(error: &Error) -> Option<String> {
    match error {
        Error::ContextMissing { .. } => {
            Some("give a directory, a git URL, the URL of an archive, or `-` for standard input".to_owned())
        }
        Error::Fetch { source, .. } => fetch_hint(source),
        Error::ContextIsPage { .. } => {
            Some("the URL of a git repository ends with `.git`, that of an archive with its file".to_owned())
        }
        Error::NotABundle { .. } => Some("`archway source` writes one".to_owned()),
        Error::EmptyContext { .. } => Some(
            "pipe something into it: `tar c . | archway build -`, `archway build - < Dockerfile`".to_owned(),
        ),
        Error::DockerfileConflict(conflict) => Some(conflict_hint(*conflict).to_owned()),
        Error::ReadDockerfile { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some("name it with `-f PATH`, or make a file called `Dockerfile` in the context".to_owned())
        }
        Error::Frontend(unknown) => Some(unknown.hint()),
        Error::Base { hint, cause, .. } => hint.clone().or_else(|| operation_hint(cause)),
        Error::NoSuchCacheMount { nearest, .. } => Some(match nearest {
            Some(id) => format!("did you mean `{id}`?"),
            None => "`archway cache ls` lists what is there".to_owned(),
        }),
        Error::NoSuchImage { nearest, .. } => match nearest {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None => Some("`archway images` lists what is there".to_owned()),
        },
        Error::NoSuchPlatform { offered, .. } => Some(format!("it offers {}", platforms(offered))),
        Error::NoSuchPlatforms(missing) => Some(format!("there is {}", platforms(&missing.offered))),
        Error::Annotate(error) => annotate_hint(error),
        Error::Unverified { .. } => Some("nothing was published".to_owned()),
        Error::TagMoved { .. } => Some(
            "somebody else has moved it, and no tag was moved here; look at what is there now, and run this again \
             with its digest as the expected one"
                .to_owned(),
        ),
        Error::Overtaken { .. } => {
            Some("two publications ran at the same time; look at which of them is to stay".to_owned())
        }
        Error::ForeignFiles(_) => Some(
            "nothing was published; --audit-allow PATTERN excuses files, --verify off all of them".to_owned(),
        ),
        Error::Output { hint, .. } => hint.clone(),
        Error::Registry { source, .. } => source.hint(),
        Error::Scan(error) => scan_hint(error),
        Error::Vulnerable(_) => Some(
            "nothing was published; take versions that are fixed, or accept one with --scan-ignore ID"
                .to_owned(),
        ),
        Error::CacheExport { source, .. } => Some(cache_hint(source)),
        Error::Shared { source } => operation_hint(source),
        Error::Daemon { .. } => Some(
            "start Docker or set DOCKER_HOST; `-t NAME` alone keeps the image in archway's own store".into(),
        ),
        Error::Store(error) => store_hint(error),
        Error::Cgroup(error) => cgroup_hint(error).map(str::to_owned),
        _ => None,
    }
}

fn annotate_hint(error: &AnnotateError) -> Option<String> {
    match error {
        AnnotateError::NoSuchKey { present, .. } if present.is_empty() => Some("there are none".to_owned()),
        AnnotateError::NoSuchKey { present, .. } => Some(format!("there is {}", present.join(", "))),
        AnnotateError::NotAnIndex { name } => {
            Some(format!("make it one: `archway index create -t {name} {name}`, which takes `--annotation`"))
        }
        AnnotateError::NotAName { name } => Some(format!(
            "annotate a tag or a layout; a new index of it: `archway index create -t NAME --annotation … {name}`"
        )),
    }
}

/// What to do where an image could not be scanned.
fn scan_hint(error: &ScanError) -> Option<String> {
    match error {
        ScanError::Empty { .. } => Some(
            "put the `all.zip` of each ecosystem there, or what is in them: one record a file, `*.json`"
                .to_owned(),
        ),
        ScanError::Record { .. } | ScanError::TooLarge { .. } => Some(
            "a directory for `osv:` holds nothing but OSV records as `*.json`, in archives as well"
                .to_owned(),
        ),
        ScanError::Start { program, .. } => {
            Some(format!("install {program}, or use a directory of OSV records: osv:DIR"))
        }
        ScanError::Failed { program, .. } => {
            Some(format!("run `{program}` by itself to see whether it works and has its database"))
        }
        _ => None,
    }
}

/// What to do where steps cannot be limited.
fn cgroup_hint(error: &CgroupError) -> Option<&'static str> {
    match error {
        CgroupError::NotDelegated { .. } | CgroupError::HasProcesses { .. } => Some(
            "start it in a control group of your own: `systemd-run --user --scope -p Delegate=yes archway …`, \
             or build as root",
        ),
        CgroupError::NoController { .. } => {
            Some("an administrator can enable it; for users of systemd with `Delegate=` of user@.service")
        }
        CgroupError::Refused { .. } | CgroupError::Create { .. } => None,
    }
}

/// What to do about a build cache that could not be written.
fn cache_hint(error: &StorageError) -> String {
    let hint = match error {
        StorageError::Registry(error) => error.hint(),
        StorageError::Layer(error) => operation_hint(error),
        StorageError::Cache(CacheError::NotACache { .. }) => {
            Some("give the cache a name of its own".to_owned())
        }
        _ => None,
    };
    hint.unwrap_or_else(|| "with `ignore-error=true` in --cache-to this is a warning".to_owned())
}

fn platforms(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}

/// What to do about something that could not be fetched.
pub(crate) fn fetch_hint(error: &StepError) -> Option<String> {
    match error {
        StepError::Git(error) => error.hint(),
        StepError::Download(error) => error.hint(),
        StepError::Store(error) => store_hint(error),
        _ => None,
    }
}

fn conflict_hint(conflict: DockerfileConflict) -> &'static str {
    match conflict {
        DockerfileConflict::BothStdin => "give a directory as the context, or leave `-f` out",
        DockerfileConflict::ContextIsDockerfile => "leave `-f` out",
        DockerfileConflict::StdinIsArchive => "to build from the archive, give `-` as the context",
    }
}

/// What to do when the store's disk is full.
pub(crate) const FULL_DISK: &str = "free some space, or put the store elsewhere: ARCHWAY_ROOT=DIR archway …";

/// Whether the cause of an error is that a disk is full.
pub(crate) fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let full =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(full) {
            return true;
        }
        next = error.source();
    }
    false
}

pub(crate) fn store_hint(error: &archway_store::StoreError) -> Option<String> {
    use archway_store::StoreError;
    match error {
        StoreError::NoSpace { .. } => Some(FULL_DISK.to_owned()),
        StoreError::ReadOnly { .. } | StoreError::PermissionDenied { .. } => {
            Some("choose another place for the store: ARCHWAY_ROOT=DIR archway …".to_owned())
        }
        _ => None,
    }
}

/// What an exit code says by itself.
pub(crate) fn exit_hint(code: i32) -> Option<String> {
    let text = match code {
        126 => "126: the shell found the program but may not execute it",
        127 => "127: the shell did not find the program",
        137 => "something killed the process; often the machine was out of memory",
        _ => return None,
    };
    Some(text.to_owned())
}

pub(crate) fn source_hint(error: &SourceError) -> Option<String> {
    match error {
        SourceError::SourceMissing { similar, .. } => Some(format!("did you mean `{}`?", similar.first()?)),
        SourceError::SourceIgnored { .. } => {
            Some("add an exception, `!PATTERN`, after the pattern that excludes it".to_owned())
        }
        SourceError::SourceEscapes { .. } | SourceError::LinkEscapes { .. } => {
            Some("only files below the build context can be copied; build from a directory above".to_owned())
        }
        SourceError::SourceChanged { .. } => {
            Some("build again when nothing writes to the context".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use archway_dockerfile::ast::Span;

    use super::*;

    fn strip(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_place_in_the_dockerfile_has_line_caret_and_hint() {
        let text = "FROM busybox\nRUNN make\n";
        let source = SourceText { name: "Dockerfile".into(), text: text.into() };
        let diagnostic = Diagnostic {
            message: "unknown instruction 'RUNN'".into(),
            span: Span { start: 13, end: 17 },
            label: "not an instruction".into(),
            hint: Some("did you mean RUN?".into()),
        };
        insta::assert_snapshot!(strip(&in_source(&source, &diagnostic)));
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let inner = io::Error::from(io::ErrorKind::NotFound);
        let error = CliError::File { action: "write", path: "x".into(), source: inner };
        assert_eq!(strip(&error.render()), "error: cannot write `x`\n  caused by: entity not found");
    }

    #[test]
    fn a_message_cannot_write_on_the_terminal() {
        let text = strip(&plain("bad \u{1b}[2J name", &["line\nerror: other".into()], None));
        assert!(!text.contains(['\u{1b}', '\r']) && text.lines().count() == 2, "{text:?}");
    }

    #[test]
    fn spans_stay_on_their_line_and_on_characters() {
        assert_eq!(visible("ab\ncd", 1, 5), 1..2);
        assert_eq!(visible("é", 1, 9), 0..2);
        assert_eq!(visible("ab", 9, 12), 2..2);
    }
}
