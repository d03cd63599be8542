//! The documents of BuildKit's subrequests, field for field, so that whatever reads the output of
//! `docker buildx build --call=…,format=json` reads ours: `frontend.lint`, `frontend.outline` and
//! `frontend.targets`.

use archway_dockerfile::ast::Span;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::lines::Lines;

/// Lines of the one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    ranges: [Range; 1],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Range {
    start: Line,
    end: Line,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    line: usize,
}

impl Location {
    pub(crate) fn new(lines: &Lines<'_>, span: Span) -> Self {
        let (start, end) = lines.of(span);
        Self { ranges: [Range { start: Line { line: start }, end: Line { line: end } }] }
    }

    /// The first line, from 1.
    pub(crate) fn line(&self) -> usize {
        self.ranges[0].start.line
    }
}

/// Bytes as Go's JSON writes them.
pub(crate) fn bytes(text: &str) -> String {
    STANDARD.encode(text)
}
