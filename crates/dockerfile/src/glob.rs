//! Path patterns with the meaning of Go's `filepath.Match`, which the sources of `COPY` and `ADD` have:
//! `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes, `\` escapes.

use thiserror::Error;

use crate::wildcard::{MAX_TOKENS, Malformed, Matcher, Token, read_class};

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GlobError {
    /// `[` without `]`, an empty class or range, or an escape at the end.
    #[error("malformed pattern '{pattern}'")]
    Malformed {
        /// The pattern.
        pattern: String,
    },
    /// Beyond the bound on the length.
    #[error("the pattern is longer than {} characters", MAX_TOKENS)]
    TooLong,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    matcher: Matcher,
}

impl Glob {
    /// Compiles a pattern.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        let error = |malformed| match malformed {
            Malformed::Syntax => GlobError::Malformed { pattern: pattern.to_owned() },
            Malformed::TooLong => GlobError::TooLong,
        };
        let tokens = tokens(pattern).map_err(error)?;
        Ok(Self { matcher: Matcher::new(tokens).map_err(error)? })
    }

    /// Whether the whole path matches. Nothing is cleaned: neither the path nor the pattern.
    pub fn matches(&self, path: &str) -> bool {
        self.matcher.matches(path)
    }

    /// Whether a path below this directory could match: a walk need not enter it otherwise.
    pub fn could_match_below(&self, directory: &str) -> bool {
        self.matcher.could_match_below(directory)
    }
}

/// A pattern that matches `path` and nothing else.
pub fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}

/// Whether a source is a pattern rather than a plain path: it has an unescaped `*`, `?` or `[`.
pub fn has_wildcards(source: &str) -> bool {
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

fn tokens(pattern: &str) -> Result<Vec<Token>, Malformed> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::One,
            '[' => Token::Class(read_class(&mut chars, Ok)?),
            '\\' => Token::Char(chars.next().ok_or(Malformed::Syntax)?),
            other => Token::Char(other),
        });
    }
    Ok(tokens)
}
