//! A report as JSON: what BuildKit's `frontend.lint` gives, and the exact place, hint and fix on top.

use archway_dockerfile::{ast::SourceText, ast::Span, diagnostic::Diagnostic};
use serde::Serialize;

use crate::{
    Finding, Report,
    document::{Location, bytes},
    lines::Lines,
};

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintResults {
    warnings: Vec<Warning>,
    sources: [Source; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning {
    rule_name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'static str>,
    detail: String,
    /// The lines of the instruction, as BuildKit has it.
    location: Location,
    place: Place,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Fix>,
}

/// The marked place: lines and columns from 1, columns in characters, the end exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Place {
    start: Position,
    end: Position,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Position {
    line: usize,
    column: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Fix {
    title: String,
    edits: Vec<Edit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Edit {
    #[serde(flatten)]
    place: Place,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Source {
    filename: String,
    language: &'static str,
    data: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

impl LintResults {
    /// Of a Dockerfile that could be read.
    pub fn new(source: &SourceText, report: &Report) -> Self {
        let lines = Lines::new(source);
        let warnings = report.findings.iter().map(|finding| warning(&lines, finding)).collect();
        Self { warnings, sources: [of_source(source)], build_error: None }
    }

    /// With the error that ended the reading.
    #[must_use]
    pub fn with_error(mut self, source: &SourceText, error: &Diagnostic) -> Self {
        self.sources = [of_source(source)];
        let lines = Lines::new(source);
        self.build_error =
            Some(BuildError { message: error.message.clone(), location: Location::new(&lines, error.span) });
        self
    }
}

fn of_source(source: &SourceText) -> Source {
    Source { filename: source.name.clone(), language: "Dockerfile", data: bytes(&source.text) }
}

fn warning(lines: &Lines<'_>, finding: &Finding) -> Warning {
    let fix = finding.fix.as_ref().map(|fix| Fix {
        title: fix.title.clone(),
        edits: fix
            .edits
            .iter()
            .map(|edit| Edit { place: place(lines, edit.span), text: edit.text.clone() })
            .collect(),
    });
    Warning {
        rule_name: finding.rule.name,
        description: finding.rule.description,
        url: finding.rule.url(),
        detail: finding.message.clone(),
        location: Location::new(lines, finding.instruction),
        place: place(lines, finding.span),
        hint: finding.hint.clone(),
        fix,
    }
}

fn place(lines: &Lines<'_>, span: Span) -> Place {
    let position = |offset| {
        let position = lines.position(offset);
        Position { line: position.line, column: position.column }
    };
    Place { start: position(span.start), end: position(span.end) }
}
