//! `FROM --platform=`.

use archway_dockerfile::ast::Span;
use archway_oci::Platform;

use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::{Model, StageText, expanded},
    rule::{Example, Rule, buildkit},
};

/// `FROM --platform=linux/amd64`.
pub(super) static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/"),
    description: "FROM --platform is not a constant",
    explanation: "With a constant the stage is for that platform whatever is asked for: an image for arm64 then holds \
                  programs for amd64. Leave the flag out to build for the platform that is asked for. Use \
                  `--platform=$BUILDPLATFORM` where a stage only compiles for others. A stage that really is for one \
                  platform says so in its name: `AS tools-amd64`.",
    bad: Example::new("FROM --platform=linux/amd64 alpine AS base\nRUN apk add git\n"),
    good: Example::new("FROM alpine AS base\nRUN apk add git\n"),
};

/// `FROM --platform=$TARGETPLATFORM`.
pub(super) static REDUNDANT_TARGET_PLATFORM: Rule = Rule {
    name: "RedundantTargetPlatform",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/"),
    description: "FROM --platform=$TARGETPLATFORM is left out",
    explanation: "It is what FROM does without the flag.",
    bad: Example::new("FROM --platform=$TARGETPLATFORM alpine\n"),
    good: Example::new("FROM alpine\n"),
};

pub(super) fn check(model: &Model<'_>, findings: &mut Findings<'_>) {
    for text in &model.document.stages {
        let Some(word) = &text.stage.platform else { continue };
        let Some(value) = expanded(word, model.document.file, &model.globals) else { continue };
        let is_target =
            value.used.len() == 1 && value.used.contains("TARGETPLATFORM") && value.unset.is_empty();
        if is_target && model.globals.get("TARGETPLATFORM") == Some(&value.value) {
            let message = format!("--platform={} is what FROM does by itself", word.value);
            let finding = Finding::new(&REDUNDANT_TARGET_PLATFORM, message, word.span);
            let fix = flag(text, findings).map(|flag| Fix::replace("leave it out", flag, ""));
            findings.add(&text.site, finding.fix(fix));
        }
        if value.used.is_empty() && value.unset.is_empty() {
            constant(text, &value.value, word.span, findings);
        }
    }
}

fn constant(text: &StageText<'_>, value: &str, span: Span, findings: &mut Findings<'_>) {
    let Ok(platform) = Platform::parse(value) else { return };
    let name = text.stage.name.as_ref().map(|name| name.value.as_str()).unwrap_or_default();
    if name.contains(&platform.os) || name.contains(&platform.architecture) {
        return;
    }
    let message = format!("the stage is for {value} whatever platform is asked for");
    let finding = Finding::new(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, span);
    let hint =
        "leave --platform out, or write --platform=$BUILDPLATFORM if the stage compiles for other platforms";
    findings.add(&text.site, finding.hint(hint));
}

/// The whole flag and the blanks behind it, if it and the base are on one line.
fn flag(text: &StageText<'_>, findings: &Findings<'_>) -> Option<Span> {
    let written = findings.source.slice(text.site.span);
    let start = text.site.span.start + written.find("--platform")?;
    let span = Span { start, end: text.stage.base.span.start };
    (!findings.source.slice(span).contains('\n')).then_some(span)
}
