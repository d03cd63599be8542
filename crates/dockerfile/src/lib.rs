//! The Dockerfile language: lexer, parser, word expansion, `.dockerignore`. Pure: no I/O.

pub mod ast;
pub mod diagnostic;
pub mod error;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod keyword;
mod parser;
pub mod source_text;
mod wildcard;

pub use error::{ParseError, Problem};
pub use parser::{parse, parse_onbuild, parse_source};
