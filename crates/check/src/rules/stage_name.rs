//! Names of stages that cannot be told apart.

use std::collections::BTreeMap;

use crate::{
    finding::Finding,
    findings::Findings,
    model::Document,
    rule::{Example, Rule, buildkit},
};

/// Two stages of one name.
pub(super) static DUPLICATE_STAGE_NAME: Rule = Rule {
    name: "DuplicateStageName",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/"),
    description: "Each stage has a name of its own",
    explanation: "Where a name is used, the last stage above of that name is meant. The others can then be reached by \
                  their number only, and a stage that is moved silently changes what is copied.",
    bad: Example::new("FROM golang AS build\nFROM node AS build\n"),
    good: Example::new("FROM golang AS build-server\nFROM node AS build-pages\n"),
};

/// A stage called `scratch` or `context`.
pub(super) static RESERVED_STAGE_NAME: Rule = Rule {
    name: "ReservedStageName",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/"),
    description: "No stage is called scratch or context",
    explanation: "`FROM scratch` is the empty image, and `context` stands for the build context. A stage of that name \
                  cannot be used, or hides what is meant.",
    bad: Example::new("FROM alpine AS scratch\n"),
    good: Example::new("FROM alpine AS empty\n"),
};

const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(document: &Document<'_>, findings: &mut Findings<'_>) {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &document.stages {
        let Some(name) = &text.stage.name else { continue };
        if RESERVED.contains(&name.value.as_str()) {
            let message =
                format!("`{}` has a meaning of its own and cannot be the name of a stage", name.value);
            findings.add(&text.site, Finding::new(&RESERVED_STAGE_NAME, message, name.span));
        }
        let line = findings.lines.line(name.span.start);
        if let Some(first) = lines.insert(&name.value, line) {
            let finding = Finding::new(
                &DUPLICATE_STAGE_NAME,
                format!("there is another stage `{}`", name.value),
                name.span,
            );
            findings.add(&text.site, finding.label(format!("the same as on line {first}")));
        }
    }
}
