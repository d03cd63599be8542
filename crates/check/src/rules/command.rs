//! `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.

use archway_dockerfile::{
    ast::{Command, Kind, Span},
    keyword::Keyword,
};

use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::{StageText, Step},
    rule::{Example, Rule, buildkit},
    scope::Scope,
};

/// `CMD` or `ENTRYPOINT` in shell form.
pub(super) static JSON_ARGS_RECOMMENDED: Rule = Rule {
    name: "JSONArgsRecommended",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"),
    description: "CMD and ENTRYPOINT are JSON arrays, so that the program gets the signals",
    explanation: "A command that is no array is run by `/bin/sh -c`. The shell is then process 1: it does not pass on \
                  signals, so that `docker stop` waits for its timeout and kills; and arguments given to `docker run` \
                  are lost on an ENTRYPOINT. If a shell is wanted, name it in a SHELL instruction.",
    bad: Example::new("FROM alpine\nENTRYPOINT server --port 80\n"),
    good: Example::new("FROM alpine\nENTRYPOINT [\"server\", \"--port\", \"80\"]\n"),
};

/// Two `CMD`s in a stage.
pub(super) static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/"),
    description: "A stage has one CMD, one ENTRYPOINT and one HEALTHCHECK",
    explanation: "Only the last one counts. The ones before have no effect, and are often what someone thinks does.",
    bad: Example::new("FROM alpine\nCMD [\"serve\"]\nCMD [\"serve\", \"--verbose\"]\n"),
    good: Example::new("FROM alpine\nCMD [\"serve\", \"--verbose\"]\n"),
};

/// Characters that mean something to a shell; a command without any needs none.
const SHELL_CHARACTERS: &[char] = &[
    '"', '\'', '\\', '`', '$', '&', '|', ';', '<', '>', '(', ')', '{', '}', '*', '?', '[', ']', '~', '#',
    '!', '\n', '=',
];

pub(super) fn check_form(step: &Step<'_>, command: &Command, scope: &Scope, findings: &mut Findings<'_>) {
    let Command::Shell(text) = command else { return };
    if scope.has_shell {
        return;
    }
    let name = step.site.keyword.value;
    let keyword = step.site.keyword.span;
    let message = format!("{name} is run by a shell, which does not pass on signals");
    let after = findings.source.slice(Span { start: keyword.end, end: step.site.span.end });
    let start = keyword.end + (after.len() - after.trim_start().len());
    let span = Span { start, end: step.site.span.end };
    let finding = Finding::new(&JSON_ARGS_RECOMMENDED, message, span);
    let finding = match exec_form(text) {
        Some(array) => finding.fix(Some(Fix::replace("write it as an array", span, array))),
        None => finding.hint(format!(
            "write {name} [\"program\", \"argument\"]; if a shell is wanted, say which in a SHELL instruction"
        )),
    };
    findings.add(&step.site, finding);
}

/// The command as an array, if it means the same without a shell.
fn exec_form(command: &str) -> Option<String> {
    if command.contains(SHELL_CHARACTERS) || command.split_whitespace().next() == Some("exec") {
        return None;
    }
    let words: Vec<String> = command.split_whitespace().map(quoted).collect::<Option<_>>()?;
    Some(format!("[{}]", words.join(", ")))
}

/// In double quotes, if nothing in it would have to be escaped.
pub(super) fn quoted(text: &str) -> Option<String> {
    let plain = !text.contains(|c: char| matches!(c, '"' | '\\' | '$' | '`') || c.is_control());
    plain.then(|| format!("\"{text}\""))
}

pub(super) fn check_repeated(text: &StageText<'_>, findings: &mut Findings<'_>) {
    for keyword in [Keyword::Cmd, Keyword::Entrypoint, Keyword::Healthcheck] {
        let of_kind = |step: &&Step<'_>| match step.instruction.kind {
            Kind::Cmd(_) => keyword == Keyword::Cmd,
            Kind::Entrypoint(_) => keyword == Keyword::Entrypoint,
            Kind::Healthcheck(_) => keyword == Keyword::Healthcheck,
            _ => false,
        };
        let steps: Vec<&Step<'_>> = text.steps.iter().filter(of_kind).collect();
        for pair in steps.windows(2) {
            let [without_effect, next] = pair else { continue };
            let line = findings.lines.line(next.site.span.start);
            let message = format!("this {keyword} has no effect: there is another one in the stage");
            let finding = Finding::new(&MULTIPLE_INSTRUCTIONS_DISALLOWED, message, without_effect.site.span)
                .label(format!("replaced by line {line}"));
            findings.add_of(&[&without_effect.site, &next.site], finding);
        }
    }
}
