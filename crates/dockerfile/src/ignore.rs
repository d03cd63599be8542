//! `.dockerignore`: which files of a build context are left out. The rules are those of Docker's
//! `patternmatcher`: patterns are tried in order, the last one that matches the path or a directory
//! above it decides, `!` makes an exception, `**` stands for any number of directories.

mod pattern;

use thiserror::Error;

use crate::ast::Span;
use crate::diagnostic::Diagnostic;
use crate::wildcard::{MAX_TOKENS, Malformed};
use pattern::{Pattern, clean};

/// Most patterns in one list.
pub const MAX_PATTERNS: usize = 10_000;

/// Why a list of patterns was refused, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct IgnoreError {
    /// What is wrong.
    pub problem: IgnoreProblem,
    /// The pattern. A leading byte order mark counts.
    pub span: Span,
}

/// What can be wrong with a list of patterns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IgnoreProblem {
    /// `!` alone.
    #[error("'!' needs a pattern")]
    EmptyException,
    /// `[` without `]`, an empty class or range, or an escape at the end.
    #[error("malformed pattern '{pattern}'")]
    Malformed {
        /// The pattern.
        pattern: String,
    },
    /// Beyond the bound on the length.
    #[error("the pattern is longer than {} characters", MAX_TOKENS)]
    TooLong,
    /// More than [`MAX_PATTERNS`].
    #[error("more than {} patterns", MAX_PATTERNS)]
    TooMany,
}

impl IgnoreError {
    /// The error as a renderer shows it.
    pub fn diagnostic(&self) -> Diagnostic {
        let (label, hint) = match self.problem {
            IgnoreProblem::EmptyException => ("no pattern", "name what to keep, as in '!docs/README.md'"),
            IgnoreProblem::Malformed { .. } => {
                ("this pattern", "close '[' with ']'; '\\[' and '\\\\' stand for the characters")
            }
            IgnoreProblem::TooLong | IgnoreProblem::TooMany => {
                ("beyond the limit", "match directories instead of single files, or use '**'")
            }
        };
        Diagnostic {
            message: self.to_string(),
            span: self.span,
            label: label.to_owned(),
            hint: Some(hint.to_owned()),
        }
    }
}

/// A compiled list of patterns. Paths are relative to the context root, with `/`, and without `.`,
/// `..` or empty components.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnorePatterns {
    patterns: Vec<Pattern>,
    /// One of them is for every entry of the root.
    everything: bool,
}

/// What a walk knows about a path: which patterns match it or a directory above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    matched: Box<[bool]>,
    /// The last pattern that matches; it decides.
    decided_by: Option<usize>,
    ignored: bool,
}

impl Verdict {
    /// Whether the path is left out.
    pub fn ignored(&self) -> bool {
        self.ignored
    }
}

impl IgnorePatterns {
    /// Reads the text of a `.dockerignore`: one pattern per line; lines that start with `#` and empty
    /// lines count for nothing; a leading slash means nothing.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut start = text.len() - body.len();
        let mut lines = Vec::new();
        for line in body.split_inclusive('\n') {
            if !line.starts_with('#') {
                lines.push((line, start));
            }
            start += line.len();
        }
        Self::compile(lines)
    }

    /// Compiles patterns that stand alone, such as those of `COPY --exclude`. The span of an error
    /// counts within its pattern.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        Self::compile(patterns.into_iter().map(|pattern| (pattern, 0)))
    }

    fn compile<'a>(lines: impl IntoIterator<Item = (&'a str, usize)>) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        let mut everything = false;
        for (line, start) in lines {
            let text = line.trim();
            if text.is_empty() {
                continue;
            }
            let start = start + (line.len() - line.trim_start().len());
            let span = Span { start, end: start + text.len() };
            let error = |problem| IgnoreError { problem, span };
            if patterns.len() == MAX_PATTERNS {
                return Err(error(IgnoreProblem::TooMany));
            }
            let normal = normalized(text);
            let (exception, text) = match normal.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, normal.as_str()),
            };
            if text.is_empty() {
                return Err(error(IgnoreProblem::EmptyException));
            }
            everything |= !exception && matches!(text.trim_start_matches('/'), "*" | "**" | "**/*");
            let pattern = Pattern::parse(text, exception).map_err(|malformed| {
                error(match malformed {
                    Malformed::Syntax => IgnoreProblem::Malformed { pattern: text.to_owned() },
                    Malformed::TooLong => IgnoreProblem::TooLong,
                })
            })?;
            patterns.push(pattern);
        }
        Ok(Self { patterns, everything })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether there is a pattern that begins with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether a pattern leaves out every entry of the root: `*`, `**` or `**/*`.
    pub fn excludes_everything(&self) -> bool {
        self.everything
    }

    /// Whether a path is left out. The root (`.` or nothing) never is. For single questions; a walk
    /// asks [`Self::verdict`], which does not look at the directories above again.
    pub fn matches(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        if path.is_empty() || path == "." {
            return false;
        }
        let ancestors = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let candidates: Vec<&str> = ancestors.chain([path]).collect();
        let decisive =
            self.patterns.iter().rfind(|pattern| candidates.iter().any(|path| pattern.matches(path)));
        decisive.is_some_and(|pattern| !pattern.exception)
    }

    /// What the patterns say of a path, given what they said of the directory it is in (`None` for
    /// what is directly in the root).
    pub fn verdict(&self, path: &str, parent: Option<&Verdict>) -> Verdict {
        let above = parent.map_or(&[][..], |parent| &parent.matched);
        let matched: Box<[bool]> = self
            .patterns
            .iter()
            .enumerate()
            .map(|(index, pattern)| above.get(index).copied().unwrap_or(false) || pattern.matches(path))
            .collect();
        let decided_by = matched.iter().rposition(|matched| *matched);
        let ignored = decided_by.and_then(|index| self.patterns.get(index)).is_some_and(|p| !p.exception);
        Verdict { matched, decided_by, ignored }
    }

    /// Whether anything below an ignored directory could be kept by an exception. If not, a walk
    /// need not enter it.
    pub fn may_keep_below(&self, directory: &str, verdict: &Verdict) -> bool {
        let later = verdict.decided_by.map_or(0, |index| index + 1);
        let exceptions = self.patterns.iter().skip(later).filter(|pattern| pattern.exception);
        !verdict.ignored || exceptions.into_iter().any(|pattern| pattern.could_match_below(directory))
    }

    /// As [`Self::may_keep_below`] without a walk's verdict: whether any exception could match below
    /// the directory.
    pub fn may_contain_exceptions_below(&self, directory: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception && pattern.could_match_below(directory))
    }
}

/// A pattern, `!` included, as BuildKit gives it to its matcher. It is cleaned twice: once as a line of
/// the file, without its `!` and a slash before it, and once as a pattern, with its `!`.
fn normalized(text: &str) -> String {
    let (mark, path) = match text.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", text),
    };
    let cleaned = if path.is_empty() { String::new() } else { clean(path) };
    let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    clean(format!("{mark}{relative}").trim())
}
