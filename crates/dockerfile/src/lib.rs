//! The Dockerfile language: lexer, parser, word expansion, `.dockerignore`. Pure: no I/O.

pub mod ast;
