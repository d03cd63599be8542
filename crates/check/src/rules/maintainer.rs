//! `MAINTAINER`.

use archway_dockerfile::ast::Kind;

use super::command::quoted;
use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::Document,
    rule::{Example, Rule, buildkit},
};

/// `MAINTAINER name`.
pub(super) static MAINTAINER_DEPRECATED: Rule = Rule {
    name: "MaintainerDeprecated",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"),
    description: "The author of an image is a label",
    explanation: "MAINTAINER is kept for old files only, and few tools look at what it sets. The label \
                  `org.opencontainers.image.authors` is what registries and scanners read.",
    bad: Example::new("FROM alpine\nMAINTAINER jo@example.com\n"),
    good: Example::new("FROM alpine\nLABEL org.opencontainers.image.authors=\"jo@example.com\"\n"),
};

pub(super) fn check(document: &Document<'_>, findings: &mut Findings<'_>) {
    for step in document.stages.iter().flat_map(|text| &text.steps) {
        let Kind::Maintainer(name) = &step.instruction.kind else { continue };
        let finding = Finding::new(
            &MAINTAINER_DEPRECATED,
            "MAINTAINER is deprecated: name the author in a label",
            step.site.keyword.span,
        );
        let label = quoted(&name.value).map(|name| format!("LABEL org.opencontainers.image.authors={name}"));
        let fix = label.map(|label| Fix::replace("use a label", step.site.span, label));
        findings.add(&step.site, finding.fix(fix));
    }
}
