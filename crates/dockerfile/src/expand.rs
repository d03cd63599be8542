//! Word expansion: variables, quotes and escapes, as BuildKit's frontend does it (a subset of the POSIX
//! shell: no command substitution, no arithmetic).
//!
//! Unlike in a shell, the word of a modifier is expanded even when it is not used, so that the set of
//! variables a word depends on does not depend on their values.

mod expander;
mod pattern;
mod template;
mod variables;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::ast::{Heredoc, Span, Word};
use crate::diagnostic::Diagnostic;
pub(crate) use expander::name_length;
use expander::{Expander, Output, Quotes};
pub use variables::{Lookup, NoVariables};

/// Bytes that variables and substitutions of one word may come to, intermediate results included.
pub const MAX_EXPANDED_BYTES: usize = 1 << 20;
/// How deep `${a:-${b:-…}}` may nest.
pub const MAX_NESTING: usize = 64;

/// The result of an expansion, and the variables it depended on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded<T> {
    /// The text, or the words.
    pub value: T,
    /// Variables named by the word that have a value.
    pub used: BTreeSet<String>,
    /// Variables named by the word that have none.
    pub unset: BTreeSet<String>,
}

/// Why a word could not be expanded, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct ExpandError {
    /// What is wrong.
    pub problem: ExpandProblem,
    /// The faulty part; the whole word if continuation lines or escapes blur the exact place.
    pub span: Span,
}

/// What can be wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExpandProblem {
    /// A quote without its partner.
    #[error("a {quote} quote is not closed")]
    UnclosedQuote {
        /// `'` or `"`.
        quote: char,
    },
    /// `${` without `}`.
    #[error("'${{' is not closed by '}}'")]
    UnclosedBrace,
    /// `${}`, `${.}` and the like.
    #[error("'${{…}}' names no variable")]
    BadSubstitution,
    /// `${v/pattern}` without a replacement.
    #[error("'${{{name}/…}}' lacks the second '/' before the replacement")]
    MissingReplacement {
        /// The variable.
        name: String,
    },
    /// Something like `${v:=w}` or `${v@Q}`.
    #[error("'{modifier}' is not a modifier of '${{{name}…}}'")]
    UnsupportedModifier {
        /// The variable.
        name: String,
        /// What follows its name.
        modifier: String,
    },
    /// `${v:?message}` and `v` is unset or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The author's message, or a default one.
        message: String,
    },
    /// A pattern of `#`, `%` or `/` with an escape that means nothing.
    #[error("invalid pattern '{pattern}'")]
    InvalidPattern {
        /// The pattern, expanded.
        pattern: String,
    },
    /// A pattern of `#`, `%` or `/` beyond the bound.
    #[error("a pattern is longer than {limit} characters")]
    PatternTooLong {
        /// The bound.
        limit: usize,
    },
    /// More than [`MAX_EXPANDED_BYTES`].
    #[error("the value is longer than {} bytes", MAX_EXPANDED_BYTES)]
    TooLong,
    /// More than [`MAX_NESTING`].
    #[error("variables are nested more than {} deep", MAX_NESTING)]
    TooDeep,
}

impl ExpandError {
    /// The error as a renderer shows it.
    pub fn diagnostic(&self) -> Diagnostic {
        use ExpandProblem as P;
        let (label, hint) = match &self.problem {
            P::UnclosedQuote { quote } => {
                ("opened here", format!("close it with {quote}, or escape it to mean the character"))
            }
            P::UnclosedBrace => {
                ("opened here", "close it with }, or escape the $ to mean the character".to_owned())
            }
            P::BadSubstitution => {
                ("expected ${name}", "write ${name}, or escape the $ to mean the character".to_owned())
            }
            P::MissingReplacement { name } => {
                ("expected a replacement", format!("write ${{{name}/pattern/replacement}}"))
            }
            P::UnsupportedModifier { .. } => {
                ("unsupported", "use one of :- - :+ + :? ? # ## % %% / //".to_owned())
            }
            P::Required { name, .. } => {
                ("required here", format!("set it, for example with --build-arg {name}=…"))
            }
            P::InvalidPattern { .. } => {
                ("in this pattern", "in a pattern only * ? \\ / and } can be escaped".to_owned())
            }
            P::PatternTooLong { .. } | P::TooDeep => {
                ("beyond the limit", "do it in several steps, with an ARG for each".to_owned())
            }
            P::TooLong => ("beyond the limit", "keep text of this size in a file".to_owned()),
        };
        let hint = Some(hint);
        Diagnostic { message: self.to_string(), span: self.span, label: label.to_owned(), hint }
    }
}

/// Expands a word into one string: variables replaced, quotes and escapes resolved, spaces kept.
/// `escape` is the Dockerfile's escape character.
pub fn expand_word(
    word: &Word,
    escape: char,
    variables: &dyn Lookup,
) -> Result<Expanded<String>, ExpandError> {
    Expander::new(word, escape, Quotes::Resolved, variables).expand(|output| output.text)
}

/// Expands a word into any number of words: as [`expand_word`], then split at spaces that are neither
/// quoted nor escaped, be they written in the word or come from a variable. Empty words are dropped.
/// For `EXPOSE`, as `EXPOSE $PORTS` may name several.
pub fn expand_words(
    word: &Word,
    escape: char,
    variables: &dyn Lookup,
) -> Result<Expanded<Vec<String>>, ExpandError> {
    Expander::new(word, escape, Quotes::Resolved, variables).expand(Output::into_words)
}

/// Expands the body of a here-document: variables only, quotes stay, `\` escapes whatever the escape
/// directive says. A here-document that does not ask for expansion is returned as it is.
pub fn expand_heredoc(heredoc: &Heredoc, variables: &dyn Lookup) -> Result<Expanded<String>, ExpandError> {
    if !heredoc.expand {
        return Ok(Expanded { value: heredoc.body.clone(), ..Expanded::default() });
    }
    let body = Word { value: heredoc.body.clone(), span: heredoc.span };
    Expander::new(&body, '\\', Quotes::Ordinary, variables).expand(|output| output.text)
}
