//! From text to the syntax tree.

use crate::ast::{Dockerfile, Instruction, SourceText, Span};
use crate::error::{ParseError, Problem};

/// Parses a Dockerfile. `name` is how to call it in messages.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, ParseError> {
    parse_source(SourceText::new(name, text))
}

/// Parses a Dockerfile whose text the caller keeps for showing errors.
pub fn parse_source(source: SourceText) -> Result<Dockerfile, ParseError> {
    let _ = source;
    Err(ParseError::new(Problem::NoInstructions, Span::default()))
}

/// Parses an `ONBUILD` trigger as an image's configuration stores it: one instruction, which is not
/// `FROM`, `MAINTAINER` or `ONBUILD`. Spans count within the trigger's text.
pub fn parse_onbuild(text: &str) -> Result<Instruction, ParseError> {
    let _ = text;
    Err(ParseError::new(Problem::NotOneTrigger, Span::default()))
}
