//! The Dockerfile language: lexer, parser, word expansion, `.dockerignore`. Pure: no I/O.

pub mod ast;
pub mod diagnostic;
mod directive;
mod duration;
pub mod error;
pub mod expand;
mod flag;
pub mod glob;
mod heredoc;
pub mod ignore;
mod instruction;
pub mod keyword;
mod line;
mod parser;
mod shell_words;
pub mod source_text;
mod suggestion;
mod wildcard;
mod word;

pub use error::{ParseError, Problem};
pub use parser::{MAX_HEREDOCS, MAX_INSTRUCTIONS, MAX_TEXT_BYTES, parse, parse_onbuild, parse_source};
