//! Empty lines in the middle of an instruction.

use archway_dockerfile::ast::Span;

use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::Document,
    rule::{Example, Rule, buildkit},
    site::Site,
};

/// An instruction with an empty line inside.
pub(super) static NO_EMPTY_CONTINUATION: Rule = Rule {
    name: "NoEmptyContinuation",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"),
    description: "A line that ends in the escape character is not followed by an empty one",
    explanation: "The empty line does not end the instruction, though it looks as if it did: what follows still belongs \
                  to it. Later versions of the language will refuse it.",
    bad: Example::new("FROM alpine\nRUN apk add \\\n\n    curl\n"),
    good: Example::new("FROM alpine\nRUN apk add \\\n    curl\n"),
};

pub(super) fn check(document: &Document<'_>, findings: &mut Findings<'_>) {
    let stages = document.stages.iter();
    let steps = stages.clone().flat_map(|text| &text.steps).chain(&document.globals);
    for step in steps {
        let first_body = step.instruction.kind.heredocs().first().map(|heredoc| heredoc.span.start);
        let first_body = match &step.instruction.kind {
            archway_dockerfile::ast::Kind::OnBuild { instruction, .. } => {
                instruction.kind.heredocs().first().map(|heredoc| heredoc.span.start)
            }
            _ => first_body,
        };
        let end = first_body.unwrap_or(step.site.span.end);
        instruction(&step.site, end, document.file.escape, findings);
    }
    for text in stages {
        instruction(&text.site, text.site.span.end, document.file.escape, findings);
    }
}

/// `end` is where the command line ends, before any here-document.
fn instruction(site: &Site<'_>, end: usize, escape: char, findings: &mut Findings<'_>) {
    let text = &findings.source.text;
    let mut lines = Vec::new();
    let mut start = site.span.start;
    for line in text.get(start..end).unwrap_or_default().split_inclusive('\n') {
        if line.trim().is_empty() {
            lines.push(Span { start, end: start + line.len() });
        }
        start += line.len();
    }
    // The file may end while a line is still continued.
    let rest = text.get(site.span.end..).unwrap_or_default();
    if let Some(below) = rest.trim_start_matches([' ', '\t']).strip_prefix(escape)
        && below.trim().is_empty()
    {
        let blank = below.trim_start_matches([' ', '\t', '\r']);
        let start = text.len() - blank.len() + 1;
        if start < text.len() {
            lines.push(Span { start, end: text.len() });
        }
    }
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
    let span = if first.end == last.start || lines.len() == 1 {
        Span { start: first.start, end: last.end }
    } else {
        *first
    };
    let edits = lines.iter().map(|line| crate::finding::Edit { span: *line, text: String::new() }).collect();
    let finding = Finding::new(&NO_EMPTY_CONTINUATION, "an empty line in the middle of an instruction", span)
        .instruction(last_line(site, end, *last, findings))
        .label("the instruction goes on behind this line")
        .fix(Some(Fix { title: "remove the empty line".to_owned(), edits }));
    findings.add(site, finding);
}

/// Where the instruction ends, before any here-document: the line that BuildKit names.
fn last_line(site: &Site<'_>, end: usize, last_empty: Span, findings: &Findings<'_>) -> Span {
    let command = findings.source.slice(Span { start: site.span.start, end }).trim_end();
    let end = site.span.start + command.len();
    if end < last_empty.start {
        return last_empty;
    }
    let start = site.span.start + command.rfind('\n').map_or(0, |at| at + 1);
    Span { start, end }
}
