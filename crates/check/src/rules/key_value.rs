//! `ENV key value`.

use archway_dockerfile::ast::{Span, Word};

use super::command::quoted;
use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::Step,
    rule::{Example, Rule, buildkit},
};

/// `ENV` or `LABEL` without `=`.
pub(super) static LEGACY_KEY_VALUE_FORMAT: Rule = Rule {
    name: "LegacyKeyValueFormat",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"),
    description: "ENV and LABEL have a = between name and value",
    explanation: "Without a =, all that follows the name is the value, so that the instruction can set one name only and \
                  `ENV A 1 B=2` does not do what it seems to.",
    bad: Example::new("FROM alpine\nENV VERSION 1.2\n"),
    good: Example::new("FROM alpine\nENV VERSION=1.2\n"),
};

pub(super) fn check(keyword: &str, step: &Step<'_>, pairs: &[(Word, Word)], findings: &mut Findings<'_>) {
    let [(key, value)] = pairs else { return };
    let between = Span { start: key.span.end, end: value.span.start.max(key.span.end) };
    let separator = findings.source.slice(between);
    if separator.starts_with('=') || separator.is_empty() {
        return;
    }
    let message = format!("{keyword} {} has no = between name and value", key.value);
    let span = Span { start: key.span.start, end: value.span.end };
    let plain = !value.value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\'));
    let assigned = if plain { Some(value.value.clone()) } else { quoted_with_variables(&value.value) };
    // Comments and continuations between would be lost.
    let assigned = assigned.filter(|_| !findings.source.slice(span).contains('\n'));
    let fix = assigned.map(|value| Fix::replace("put a = between", span, format!("{}={value}", key.value)));
    let mut finding = Finding::new(&LEGACY_KEY_VALUE_FORMAT, message, span);
    if fix.is_none() {
        finding = finding.hint(format!("write {keyword} {}=\"…\"", key.value));
    }
    findings.add(&step.site, finding.fix(fix));
}

/// Variables are expanded in double quotes, too.
fn quoted_with_variables(value: &str) -> Option<String> {
    quoted(&value.replace('$', ""))?;
    (!value.contains('\'')).then(|| format!("\"{value}\""))
}
