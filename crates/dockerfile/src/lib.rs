//! The Dockerfile language: lexer, parser, word expansion, `.dockerignore`. Pure: no I/O.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use archway_dockerfile::{expand::expand_word, parse};
//!
//! let file = parse("Dockerfile", "ARG TAG=12\nFROM debian:${TAG}-slim AS base\n")?;
//! let variables = BTreeMap::from([("TAG".to_owned(), "13".to_owned())]);
//! let base = expand_word(&file.stages[0].base, file.escape, &variables)?;
//! assert_eq!(base.value, "debian:13-slim");
//!
//! let error = parse("Dockerfile", "FROM a\nCOPPY b c\n").unwrap_err().diagnostic();
//! assert_eq!(error.hint.as_deref(), Some("did you mean COPY?"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod ast;
pub mod diagnostic;
mod directive;
mod duration;
pub mod error;
pub mod expand;
mod flag;
pub mod glob;
mod heredoc;
mod hint;
pub mod ignore;
mod instruction;
pub mod keep;
pub mod keyword;
mod line;
pub mod mount;
mod parser;
pub mod secret_name;
mod shell_words;
pub mod source_text;
mod suggestion;
pub mod syntax;
mod wildcard;
mod word;

pub use error::{ParseError, Problem};
pub use parser::{MAX_HEREDOCS, MAX_INSTRUCTIONS, MAX_TEXT_BYTES, parse, parse_onbuild, parse_source};
