//! `uname -m` and the like, used where another name is meant.

use crate::{
    architecture::{self, Family, Scheme},
    finding::Finding,
    findings::Findings,
    model::{Model, RunsOn},
    rule::{Example, Origin, Rule},
    script::Script,
};

/// `$(uname -m)` where `amd64` is meant.
pub(super) static UNMAPPED_MACHINE_NAME: Rule = Rule {
    name: "UnmappedMachineName",
    origin: Origin::MultiPlatform,
    description: "The name of the architecture is the one that is used there",
    explanation: "`uname -m` says `x86_64` and `aarch64`, `dpkg --print-architecture` says `amd64` and `arm64`, as Go and \
                  Docker do, and both speak of the machine that the step runs on, not of the target of a cross \
                  compilation. Reported are comparisons that can never be true, GOARCH and downloads from well-known \
                  sites that have other names, and GOARCH set from the building machine. Use `ARG TARGETARCH`, or map \
                  the names with a `case`.",
    bad: Example::new(
        "FROM debian\nRUN curl -fsSLo kubectl https://dl.k8s.io/release/v1.31.0/bin/linux/$(uname -m)/kubectl\n",
    ),
    good: Example::new(
        "FROM debian\nARG TARGETARCH\nRUN curl -fsSLo kubectl https://dl.k8s.io/release/v1.31.0/bin/linux/$TARGETARCH/kubectl\n",
    ),
};

/// A way to ask for the architecture of the machine, and how the answer is written.
const QUESTIONS: [(&str, Scheme); 6] = [
    ("uname -m", Scheme::Kernel),
    ("uname -p", Scheme::Kernel),
    ("uname --machine", Scheme::Kernel),
    ("$(arch)", Scheme::Kernel),
    ("apk --print-arch", Scheme::Kernel),
    ("dpkg --print-architecture", Scheme::Go),
];

/// Places that offer downloads under the names of one scheme.
const SITES: [(&str, Scheme); 12] = [
    ("dl.k8s.io/", Scheme::Go),
    ("storage.googleapis.com/kubernetes-release/", Scheme::Go),
    ("go.dev/dl/", Scheme::Go),
    ("golang.org/dl/", Scheme::Go),
    ("dl.google.com/go/", Scheme::Go),
    ("get.helm.sh/", Scheme::Go),
    ("releases.hashicorp.com/", Scheme::Go),
    ("dl.min.io/", Scheme::Go),
    ("github.com/krallin/tini/", Scheme::Go),
    ("github.com/mikefarah/yq/", Scheme::Go),
    ("awscli.amazonaws.com/", Scheme::Kernel),
    ("download.docker.com/linux/static/", Scheme::Kernel),
];

pub(super) fn check(model: &Model<'_>, index: usize, findings: &mut Findings<'_>) {
    for step in &model.document.stages[index].steps {
        let Some(script) = Script::of(model.document.file, step.instruction) else { continue };
        let Some((question, scheme)) = question(script.text()) else { continue };
        let finding = comparison(&script, question, scheme)
            .or_else(|| compiler(&script, question, scheme, model.stages[index].runs_on))
            .or_else(|| download(&script, question, scheme));
        if let Some(finding) = finding {
            findings.add(&step.site, finding);
        }
    }
}

/// The question a script asks, if it asks one only.
fn question(text: &str) -> Option<(&'static str, Scheme)> {
    let mut asked = QUESTIONS.into_iter().filter(|(question, _)| text.contains(question));
    let first = asked.next()?;
    asked.all(|(_, scheme)| scheme == first.1).then_some(first)
}

fn answers(scheme: Scheme) -> &'static str {
    if scheme == Scheme::Kernel { "x86_64 or aarch64" } else { "amd64 or arm64" }
}

/// `[ "$(uname -m)" = arm64 ]`, `case $(uname -m) in amd64)`: never true, as no name of the right scheme is
/// there for the same architecture.
fn comparison(script: &Script, question: &str, scheme: Scheme) -> Option<Finding> {
    let text = script.text();
    let named = architecture::named(text);
    let wrong = if scheme == Scheme::Kernel { Scheme::Go } else { Scheme::Kernel };
    let compared = named.iter().find(|candidate| {
        let matters = matches!(candidate.family, Family::Amd64 | Family::Arm64) && candidate.scheme == wrong;
        let has_right_name =
            named.iter().any(|other| other.family == candidate.family && other.scheme == scheme);
        matters && !has_right_name && is_compared(text, candidate.range.start, candidate.range.end)
    })?;
    let name = text.get(compared.range.clone())?;
    let message = format!("`{question}` never says `{name}`");
    let finding = Finding::new(&UNMAPPED_MACHINE_NAME, message, script.span(compared.range.clone()));
    Some(finding.label("never true").hint(format!("it says {}", answers(scheme))))
}

/// Whether the name is a pattern of a `case`, or stands behind `=`, `==` or `!=` of a test.
fn is_compared(text: &str, start: usize, end: usize) -> bool {
    let before = text.get(..start).unwrap_or_default().trim_end_matches(['"', '\'']);
    let after = text.get(end..).unwrap_or_default().trim_start_matches(['"', '\'']);
    let pattern = {
        let after = after.trim_start();
        let opened = before.trim_end();
        let begins = opened.ends_with(" in")
            || opened.ends_with(";;")
            || opened.ends_with('|')
            || opened.ends_with('\n');
        (after.starts_with(')') || after.starts_with('|')) && begins
    };
    let spaced = before.ends_with(' ');
    let before = before.trim_end();
    let test = spaced && (before.ends_with(" =") || before.ends_with("==") || before.ends_with("!="));
    pattern || test
}

/// `GOARCH=$(uname -m)`: not a name Go knows; and in a stage of the building machine not the target.
fn compiler(script: &Script, question: &str, scheme: Scheme, runs_on: RunsOn) -> Option<Finding> {
    let text = script.text();
    let at = text.find("GOARCH=")?;
    let value_start = at + "GOARCH=".len();
    let value = text.get(value_start..)?.trim_start_matches('"');
    let direct = value.strip_prefix("$(").and_then(|inner| inner.split(')').next())?;
    if direct.trim() != question.trim_start_matches("$(").trim_end_matches(')') {
        return None;
    }
    let end = value_start + text.get(value_start..)?.find(')')? + 1;
    let message = match (scheme, runs_on) {
        (Scheme::Kernel, _) => format!("`{question}` says {}, which are no names of GOARCH", answers(scheme)),
        (_, RunsOn::Build) => {
            format!("`{question}` speaks of the building machine, not of the platform to build for")
        }
        _ => return None,
    };
    let finding = Finding::new(&UNMAPPED_MACHINE_NAME, message, script.span(at..end));
    Some(finding.hint("declare `ARG TARGETARCH` in the stage, and write GOARCH=$TARGETARCH"))
}

/// A URL of a site with names of the other scheme, in a script that maps nothing.
fn download(script: &Script, question: &str, scheme: Scheme) -> Option<Finding> {
    let text = script.text();
    if maps(text) {
        return None;
    }
    architecture::urls(text).into_iter().find_map(|range| {
        let url = text.get(range.clone())?;
        let (_, names) = SITES.into_iter().find(|(site, _)| url.contains(site))?;
        if names == scheme {
            return None;
        }
        let variable = assigned_variable(text, question);
        let used = url.match_indices('$').find_map(|(at, _)| {
            let rest = url.get(at..)?;
            let asked = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
            let length = match (asked, variable) {
                (Some((command, _)), _) if question.contains(command.trim()) => command.len() + 3,
                (None, Some(name)) if rest.starts_with(&format!("${{{name}}}")) => name.len() + 3,
                (None, Some(name)) if architecture::variables(rest).next() == Some(name) => name.len() + 1,
                _ => return None,
            };
            Some(range.start + at..range.start + at + length)
        })?;
        let message = format!("`{question}` says {}, and this site has other names", answers(scheme));
        let finding = Finding::new(&UNMAPPED_MACHINE_NAME, message, script.span(used));
        let hint = match names {
            Scheme::Go => "declare `ARG TARGETARCH` in the stage, and write $TARGETARCH",
            _ => "it has x86_64 and aarch64, as `uname -m` says",
        };
        Some(finding.hint(hint))
    })
}

/// Whether a script turns names into others.
fn maps(text: &str) -> bool {
    let changes = |(at, _): (usize, &str)| {
        let inner = text.get(at + 2..).and_then(|rest| rest.split('}').next()).unwrap_or_default();
        inner.contains(['#', '%', '/', ':'])
    };
    !architecture::named(text).is_empty()
        || ["sed", " tr ", "case ", "awk"].iter().any(|word| text.contains(word))
        || text.match_indices("${").any(changes)
}

/// `NAME=$(question)`
fn assigned_variable<'t>(text: &'t str, question: &str) -> Option<&'t str> {
    let at = text.find(question)?;
    let before = text.get(..at)?.strip_suffix("$(")?.trim_end_matches('"').strip_suffix('=')?;
    let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    before.get(start..).filter(|name| !name.is_empty())
}
