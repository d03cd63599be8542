//! `COPY` and `ADD` from the build context.

use archway_dockerfile::{
    ast::{Copy, Dockerfile},
    ignore::IgnorePatterns,
};

use crate::{
    finding::Finding,
    findings::Findings,
    model::Step,
    rule::{Example, Rule, buildkit},
    scope::Scope,
};

/// A source that `.dockerignore` excludes.
pub(super) static COPY_IGNORED_FILE: Rule = Rule {
    name: "CopyIgnoredFile",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/"),
    description: "What is copied is not excluded by .dockerignore",
    explanation: "A file that a pattern of `.dockerignore` excludes is not part of the build context: copying it fails. \
                  As in BuildKit, nothing is said if the file has exceptions (`!pattern`), which may let in what is below \
                  an excluded directory.",
    bad: Example::with_ignore("FROM alpine\nCOPY dist/app /app\n", "dist\n"),
    good: Example::with_ignore("FROM alpine\nCOPY src/app /app\n", "dist\n"),
};

pub(super) fn check(
    name: &str,
    step: &Step<'_>,
    copy: &Copy,
    scope: &Scope,
    file: &Dockerfile,
    ignore: Option<&IgnorePatterns>,
    findings: &mut Findings<'_>,
) {
    let Some(ignore) = ignore.filter(|ignore| !ignore.has_exceptions()) else { return };
    for source in &copy.sources {
        let Some(expanded) = scope.expand(source, file) else { continue };
        if is_remote(&expanded.value) {
            continue;
        }
        let path = cleaned(&expanded.value);
        let excluded = match path.as_str() {
            "" => ignore.excludes_everything(),
            path => ignore.matches(path),
        };
        if excluded {
            let verb = if name == "Add" { "adds" } else { "copies" };
            let message = format!("this {verb} `{}`, which .dockerignore excludes", expanded.value);
            findings.add(&step.site, Finding::new(&COPY_IGNORED_FILE, message, source.span));
        }
    }
}

fn is_remote(source: &str) -> bool {
    source.contains("://") || source.starts_with("git@")
}

/// Relative to the root of the context, without `.` and `..`; the root itself is empty.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
