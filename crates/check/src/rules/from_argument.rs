//! Arguments in `FROM`.

use std::collections::BTreeSet;

use archway_dockerfile::ast::{Kind, Word};
use archway_oci::Reference;

use super::undefined_variable::place;
use crate::{
    finding::Finding,
    findings::Findings,
    inputs::Inputs,
    model::{Model, StageText, expanded, globals},
    rule::{Example, Rule, buildkit},
    suggestion::nearest,
};

/// An argument without a default that names the base.
pub(super) static INVALID_DEFAULT_ARG_IN_FROM: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/"),
    description: "FROM names an image also if no build argument is given",
    explanation: "Whoever builds without knowing which `--build-arg` to give, as tools and new colleagues do, should get \
                  an image and not an error about an empty name. Give the ARG a default, or write `${NAME:-default}`.",
    bad: Example::new("ARG TAG\nFROM busybox:${TAG}\n"),
    good: Example::new("ARG TAG=latest\nFROM busybox:${TAG}\n"),
};

/// An argument in `FROM` that is not declared before the first `FROM`.
pub(super) static UNDEFINED_ARG_IN_FROM: Rule = Rule {
    name: "UndefinedArgInFrom",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"),
    description: "Arguments in FROM are declared before the first FROM",
    explanation: "FROM sees the ARGs above the first FROM and those about platforms, such as BUILDPLATFORM. Everything \
                  else is empty there.",
    bad: Example::new("ARG VARIANT=alpine3.20\nFROM node:22${VARIENT}\n"),
    good: Example::new("ARG VARIANT=-alpine3.20\nFROM node:22${VARIANT}\n"),
};

pub(super) fn check(model: &Model<'_>, inputs: &Inputs<'_>, findings: &mut Findings<'_>) {
    let defaults = globals(model.document, inputs, &model.platform, None);
    let mut known: BTreeSet<&str> = model.globals.keys().map(String::as_str).collect();
    for step in &model.document.globals {
        if let Kind::Arg(declarations) = &step.instruction.kind {
            known.extend(declarations.iter().map(|declaration| declaration.name.value.as_str()));
        }
    }
    for (index, text) in model.document.stages.iter().enumerate() {
        let words = [Some(&text.stage.base), text.stage.platform.as_ref()];
        for word in words.into_iter().flatten() {
            undefined(text, word, model, &known, findings);
        }
        let base = &text.stage.base;
        let Some(name) = expanded(base, model.document.file, &defaults) else { continue };
        if model.document.stage_before(index, &name.value).is_some()
            || name.value.parse::<Reference>().is_ok()
        {
            continue;
        }
        let message = match name.value.as_str() {
            "" => format!("without build arguments `{}` is empty", base.value),
            name => format!("without build arguments the image is `{name}`, which is no name of an image"),
        };
        let finding = Finding::new(&INVALID_DEFAULT_ARG_IN_FROM, message, base.span);
        let variable = name.used.iter().chain(&name.unset).next();
        let finding = match variable {
            Some(variable) => finding.hint(format!("give it a default: ARG {variable}=…")),
            None => finding,
        };
        findings.add(&text.site, finding);
    }
}

fn undefined(
    text: &StageText<'_>,
    word: &Word,
    model: &Model<'_>,
    known: &BTreeSet<&str>,
    findings: &mut Findings<'_>,
) {
    let Some(value) = expanded(word, model.document.file, &model.globals) else { return };
    for name in value.unset.iter().filter(|name| !known.contains(name.as_str())) {
        let message = format!("FROM uses the argument `{name}`, which no ARG above the first FROM declares");
        let finding = Finding::new(&UNDEFINED_ARG_IN_FROM, message, place(findings.source, word, name));
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean ${near}?"),
            None => format!("add `ARG {name}=…` above the first FROM"),
        };
        findings.add(&text.site, finding.hint(hint));
    }
}
