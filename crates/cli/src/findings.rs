//! Findings of the checks for people.

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use archway_check::{Edit, Finding, Origin, Report, Rule};
use archway_dockerfile::ast::SourceText;

use crate::error::{printable, visible};

/// Lines at the end of a build.
const MAX_BRIEF: usize = 20;
/// Columns of explanations.
const WIDTH: usize = 100;

/// All findings, each with its lines, one below the other.
pub(crate) fn render(source: &SourceText, report: &Report) -> String {
    let failing = report.failing_rules();
    let shown: Vec<String> = report
        .findings
        .iter()
        .map(|finding| render_one(source, finding, failing.contains(&finding.rule.name)))
        .collect();
    shown.join("\n\n")
}

fn render_one(source: &SourceText, finding: &Finding, is_error: bool) -> String {
    let span = visible(&source.text, finding.span.start, finding.span.end);
    let mut annotation = AnnotationKind::Primary.span(span);
    if !finding.label.is_empty() {
        annotation = annotation.label(finding.label.as_str());
    }
    let snippet = Snippet::source(&*source.text).path(source.name.as_str()).annotation(annotation);
    let level = if is_error { Level::ERROR } else { Level::WARNING };
    let mut title = level.primary_title(finding.message.as_str()).id(finding.rule.name);
    if let Some(url) = finding.rule.url() {
        title = title.id_url(url);
    }
    let mut report = vec![title.element(snippet)];
    if let Some(hint) = &finding.hint {
        report.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
    }
    if let Some(fix) = &finding.fix {
        let title = Level::HELP.secondary_title(fix.title.as_str());
        let patches =
            fix.edits.iter().map(|edit| Patch::new(edit.span.start..edit.span.end, edit.text.as_str()));
        let patched = Snippet::source(&*source.text).path(source.name.as_str()).patches(patches);
        // A line that is gone cannot be shown.
        let shows = |edit: &Edit| !edit.text.is_empty() || !source.slice(edit.span).trim().is_empty();
        report.push(match fix.edits.iter().any(shows) {
            true => title.element(patched),
            false => Group::with_title(title),
        });
    }
    Renderer::styled().render(&report)
}

/// `2 warnings found: JSONArgsRecommended (2)`, and where to read more.
pub(crate) fn summary(report: &Report) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for finding in &report.findings {
        match counts.iter_mut().find(|(name, _)| *name == finding.rule.name) {
            Some((_, count)) => *count += 1,
            None => counts.push((finding.rule.name, 1)),
        }
    }
    let Some((example, _)) = counts.first() else { return "no warnings found".to_owned() };
    format!("{}; `archway check --explain {example}` says more", count(report.findings.len()))
}

fn count(findings: usize) -> String {
    if findings == 1 { "1 warning found".to_owned() } else { format!("{findings} warnings found") }
}

/// A line for each finding, for the end of a build that went on.
pub(crate) fn brief(source: &SourceText, report: &Report) -> String {
    let mut text = format!("{} (`archway check` shows the lines):", count(report.findings.len()));
    for finding in report.findings.iter().take(MAX_BRIEF) {
        text.push_str(&format!("\n - {}", line(source, finding)));
    }
    if report.findings.len() > MAX_BRIEF {
        text.push_str(&format!("\n - and {} more", report.findings.len() - MAX_BRIEF));
    }
    text
}

/// `JSONArgsRecommended: … (line 3)`
pub(crate) fn line(source: &SourceText, finding: &Finding) -> String {
    let line = source.position(finding.span.start).line;
    printable(&format!("{}: {} (line {line})", finding.rule.name, finding.message))
}

/// A rule with its example.
pub(crate) fn explain(rule: &Rule) -> String {
    let bold = anstyle::Style::new().bold();
    let mut text =
        format!("{bold}{}{bold:#}: {}\n\n{}\n", rule.name, rule.description, wrapped(rule.explanation));
    for (title, example) in [("Bad", rule.bad), ("Good", rule.good)] {
        text.push_str(&format!("\n{title}:\n\n{}", indented(example.dockerfile)));
        if let Some(ignore) = example.ignore {
            text.push_str(&format!("\n  with this .dockerignore:\n\n{}", indented(ignore)));
        }
    }
    if let Some(url) = rule.url() {
        text.push_str(&format!("\n{url}\n"));
    }
    text
}

/// In lines of at most [`WIDTH`] columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Whose rule it is, in a word.
pub(crate) fn origin(rule: &Rule) -> &'static str {
    match rule.origin {
        Origin::BuildKit { experimental: false, .. } => "BuildKit",
        Origin::BuildKit { experimental: true, .. } => "BuildKit, experimental",
        Origin::MultiPlatform => "several platforms",
        Origin::Archway => "Archway",
    }
}
