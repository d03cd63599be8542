//! Capital and small letters: of instructions, of `AS`, of names of stages.

use archway_dockerfile::{ast::Span, keyword::Keyword};

use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::{Document, StageText},
    rule::{Example, Rule, buildkit},
    site::Site,
};

/// Instructions in capitals and others in small letters.
pub(super) static CONSISTENT_INSTRUCTION_CASING: Rule = Rule {
    name: "ConsistentInstructionCasing",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/"),
    description: "Instructions are written in one way, in capitals or in small letters",
    explanation: "Instructions mean the same in capitals and in small letters. A file that mixes both is harder to \
                  read; write all in capitals, as most files do, or all in small letters.",
    bad: Example::new("FROM alpine\nRun apk add curl\nCMD [\"curl\"]\n"),
    good: Example::new("FROM alpine\nRUN apk add curl\nCMD [\"curl\"]\n"),
};

/// `FROM image as name`.
pub(super) static FROM_AS_CASING: Rule = Rule {
    name: "FromAsCasing",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/from-as-casing/"),
    description: "AS is written in capitals if FROM is, and in small letters if it is not",
    explanation: "FROM and AS are two halves of one instruction. Written alike, they are easier to see.",
    bad: Example::new("FROM alpine as tools\n"),
    good: Example::new("FROM alpine AS tools\n"),
};

/// `AS Name`.
pub(super) static STAGE_NAME_CASING: Rule = Rule {
    name: "StageNameCasing",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"),
    description: "Names of stages are written in small letters",
    explanation: "Names of stages are compared without case, and shown in small letters. Written so, they also look \
                  different from instructions.",
    bad: Example::new("FROM alpine AS BuildTools\n"),
    good: Example::new("FROM alpine AS buildtools\n"),
};

pub(super) fn check(document: &Document<'_>, findings: &mut Findings<'_>) {
    instructions(document, findings);
    for text in &document.stages {
        r#as(text, findings);
        name(text, findings);
    }
}

fn instructions(document: &Document<'_>, findings: &mut Findings<'_>) {
    // A name that a line continuation cuts in two is not looked at.
    let named = |site: &&Site<'_>| Keyword::from_name(site.keyword.value).is_some();
    let sites = || document.stages.iter().flat_map(StageText::sites).filter(named);
    let (mut lower, mut upper) = (0, 0);
    for site in sites() {
        match case(site.keyword.value) {
            Case::Lower => lower += 1,
            Case::Upper => upper += 1,
            Case::Mixed => {}
        }
    }
    let majority = if lower > upper { Case::Lower } else { Case::Upper };
    for site in sites().filter(|site| case(site.keyword.value) != majority) {
        let (wanted, written) = match majority {
            Case::Lower => ("small letters", site.keyword.value.to_ascii_lowercase()),
            _ => ("capitals", site.keyword.value.to_ascii_uppercase()),
        };
        let message = format!("`{}` should be in {wanted}, as most instructions here", site.keyword.value);
        let fix = Fix::replace(format!("write `{written}`"), site.keyword.span, &*written);
        let finding = Finding::new(&CONSISTENT_INSTRUCTION_CASING, message, site.keyword.span).fix(Some(fix));
        findings.add(site, finding);
    }
}

fn r#as(text: &StageText<'_>, findings: &mut Findings<'_>) {
    let from = text.site.keyword.value;
    let Some(span) = as_span(text, findings) else { return };
    let written = findings.source.slice(span);
    let wanted = match case(from) {
        Case::Lower => written.to_ascii_lowercase(),
        Case::Upper => written.to_ascii_uppercase(),
        Case::Mixed => return,
    };
    if written != wanted {
        let message = format!("`{written}` is not written like `{from}`");
        let fix = Fix::replace(format!("write `{wanted}`"), span, wanted);
        findings.add(&text.site, Finding::new(&FROM_AS_CASING, message, span).fix(Some(fix)));
    }
}

/// Where `AS` stands: between the base and the name.
fn as_span(text: &StageText<'_>, findings: &Findings<'_>) -> Option<Span> {
    let between = Span { start: text.stage.base.span.end, end: text.stage.name.as_ref()?.span.start };
    let mut start = between.start;
    for line in findings.source.slice(between).split_inclusive('\n') {
        let word = line.split_whitespace().next().filter(|word| word.eq_ignore_ascii_case("as"));
        if let Some(at) = word.and_then(|word| line.find(word)) {
            return Some(Span { start: start + at, end: start + at + 2 });
        }
        start += line.len();
    }
    None
}

fn name(text: &StageText<'_>, findings: &mut Findings<'_>) {
    let Some(name) = &text.stage.name else { return };
    let written = findings.source.slice(name.span);
    if written != name.value {
        let message = format!("the name of the stage `{written}` should be in small letters");
        let fix = Fix::replace(format!("write `{}`", name.value), name.span, &*name.value);
        findings.add(&text.site, Finding::new(&STAGE_NAME_CASING, message, name.span).fix(Some(fix)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Mixed,
}

fn case(word: &str) -> Case {
    let has_lower = word.contains(|c: char| c.is_ascii_lowercase());
    let has_upper = word.contains(|c: char| c.is_ascii_uppercase());
    match (has_lower, has_upper) {
        (true, true) => Case::Mixed,
        (true, false) => Case::Lower,
        _ => Case::Upper,
    }
}
