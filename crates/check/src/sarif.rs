//! A report as SARIF 2.1.0 (OASIS), which code hosts show next to the lines.

use archway_dockerfile::{
    ast::{SourceText, Span},
    diagnostic::Diagnostic,
};
use serde_json::{Value, json};

use crate::{Finding, Report, Rule, lines::Lines, rules};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const RULES_PAGE: &str = "https://github.com/archway-build/archway/blob/main/docs/checks.md";
/// The rule that stands for a Dockerfile which cannot be read.
const SYNTAX: &str = "SyntaxError";

/// The log of one run. `version` is that of the program; `error` what ended the reading of the file.
pub fn log(source: &SourceText, report: &Report, error: Option<&Diagnostic>, version: &str) -> Value {
    let mut used: Vec<&'static Rule> = Vec::new();
    for finding in &report.findings {
        if !used.contains(&finding.rule) {
            used.push(finding.rule);
        }
    }
    used.sort_by_key(|rule| rules::ALL.iter().position(|known| known.name == rule.name));
    let mut descriptors: Vec<Value> = used.iter().map(|rule| descriptor(rule, report)).collect();
    let index = |rule: &Rule| used.iter().position(|used| used.name == rule.name);
    let place = Places { uri: uri(&source.name), lines: Lines::new(source) };
    let mut results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| result(&place, finding, index(finding.rule), level(finding.rule, report)))
        .collect();
    if let Some(error) = error {
        results.push(json!({
            "ruleId": SYNTAX,
            "ruleIndex": descriptors.len(),
            "level": "error",
            "message": { "text": with_hint(&error.message, error.hint.as_deref()) },
            "locations": [place.location(error.span)],
        }));
        descriptors.push(json!({
            "id": SYNTAX,
            "shortDescription": { "text": "The Dockerfile can be read" },
            "defaultConfiguration": { "level": "error" },
        }));
    }
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "archway",
                "version": version,
                "informationUri": "https://github.com/archway-build/archway",
                "rules": descriptors,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn level(rule: &Rule, report: &Report) -> &'static str {
    if report.config.error && rule.fails_builds() { "error" } else { "warning" }
}

fn descriptor(rule: &Rule, report: &Report) -> Value {
    let page = format!("{RULES_PAGE}#{}", rule.name.to_ascii_lowercase());
    json!({
        "id": rule.name,
        "name": rule.name,
        "shortDescription": { "text": rule.description },
        "fullDescription": { "text": rule.explanation },
        "helpUri": rule.url().map_or(page, str::to_owned),
        "help": { "text": format!("{}\n\nBad:\n{}\nGood:\n{}", rule.explanation, rule.bad.dockerfile, rule.good.dockerfile) },
        "defaultConfiguration": { "level": level(rule, report) },
    })
}

fn result(place: &Places<'_>, finding: &Finding, index: Option<usize>, level: &str) -> Value {
    let mut result = json!({
        "ruleId": finding.rule.name,
        "ruleIndex": index,
        "level": level,
        "message": { "text": with_hint(&finding.message, finding.hint.as_deref()) },
        "locations": [place.location(finding.span)],
    });
    if let Some(fix) = &finding.fix {
        let replacements: Vec<Value> = fix
            .edits
            .iter()
            .map(|edit| {
                json!({
                    "deletedRegion": place.region(edit.span),
                    "insertedContent": { "text": edit.text },
                })
            })
            .collect();
        result["fixes"] = json!([{
            "description": { "text": fix.title },
            "artifactChanges": [{
                "artifactLocation": { "uri": place.uri },
                "replacements": replacements,
            }],
        }]);
    }
    result
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message}: {hint}"),
        None => message.to_owned(),
    }
}

/// Places in the one file.
struct Places<'a> {
    uri: String,
    lines: Lines<'a>,
}

impl Places<'_> {
    fn location(&self, span: Span) -> Value {
        json!({ "physicalLocation": {
            "artifactLocation": { "uri": self.uri },
            "region": self.region(span),
        }})
    }

    fn region(&self, span: Span) -> Value {
        let (start, end) = (self.lines.position(span.start), self.lines.position(span.end));
        json!({
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        })
    }
}

/// A path as a URI reference (RFC 3986): relative paths stay relative.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    if path.starts_with('/') { format!("file://{uri}") } else { uri }
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_are_uris() {
        for (path, expected) in [
            ("Dockerfile", "Dockerfile"),
            ("./a b/Dockerfile", "a%20b/Dockerfile"),
            ("/srv/ä:b", "file:///srv/%C3%A4%3Ab"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}
