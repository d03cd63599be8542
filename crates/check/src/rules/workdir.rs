//! `WORKDIR`.

use archway_dockerfile::ast::{Dockerfile, Word};

use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::Step,
    rule::{Example, Rule, buildkit},
    scope::Scope,
};

/// A relative `WORKDIR` without one that says where it starts.
pub(super) static WORKDIR_RELATIVE_PATH: Rule = Rule {
    name: "WorkdirRelativePath",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/"),
    description: "The first WORKDIR of a stage is an absolute path",
    explanation: "A relative path continues the directory that the base image happens to have. When a new version of the \
                  base has another one, everything moves.",
    bad: Example::new("FROM nginx\nWORKDIR usr/share/nginx/html\n"),
    good: Example::new("FROM nginx\nWORKDIR /usr/share/nginx/html\n"),
};

pub(super) fn check(
    step: &Step<'_>,
    path: &Word,
    scope: &Scope,
    file: &Dockerfile,
    windows: bool,
    findings: &mut Findings<'_>,
) {
    if scope.has_workdir {
        return;
    }
    let Some(expanded) = scope.expand(path, file) else { return };
    let unknowable = !scope.complete && !expanded.unset.is_empty();
    if unknowable || is_absolute(&expanded.value, windows) {
        return;
    }
    let message = format!("WORKDIR `{}` continues whatever directory the base image has", path.value);
    let finding = Finding::new(&WORKDIR_RELATIVE_PATH, message, path.span);
    let plain = !windows && path.value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let fix = plain.then(|| Fix::replace("begin at the root", path.span, format!("/{}", path.value)));
    findings.add(&step.site, finding.fix(fix));
}

fn is_absolute(path: &str, windows: bool) -> bool {
    let path = path.trim_matches('"');
    let has_drive = path.as_bytes().get(1) == Some(&b':');
    path.starts_with('/') || (windows && (path.starts_with('\\') || has_drive))
}
