//! Arguments about the target that come before steps which do not need them.

use archway_dockerfile::ast::{Kind, Span};

use crate::{
    architecture::variables,
    finding::{Edit, Finding, Fix},
    findings::Findings,
    model::{Model, RunsOn, Step},
    rule::{Example, Origin, Rule},
    script::Script,
    shell,
};

/// `ARG TARGETARCH` above `RUN go mod download`.
pub(super) static TARGET_ARG_TOO_EARLY: Rule = Rule {
    name: "TargetArgTooEarly",
    origin: Origin::MultiPlatform,
    description: "ARGs about the target come behind the steps that are the same for all targets",
    explanation: "In a stage with `--platform=$BUILDPLATFORM` the steps are run once for all platforms, until an ARG \
                  such as TARGETARCH makes them differ: each RUN below it gets the value in its environment and is run \
                  once for each platform. Installing packages and downloading dependencies for the building machine \
                  does not need it; put the ARG behind them. Only steps that are known not to look at the argument are \
                  reported.",
    bad: Example::new(
        "FROM --platform=$BUILDPLATFORM golang AS build\nARG TARGETARCH\nCOPY go.mod go.sum ./\nRUN go mod download\n\
         COPY . .\nRUN GOARCH=$TARGETARCH go build -o /app\nFROM alpine\nCOPY --from=build /app /app\n",
    ),
    good: Example::new(
        "FROM --platform=$BUILDPLATFORM golang AS build\nCOPY go.mod go.sum ./\nRUN go mod download\n\
         COPY . .\nARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build -o /app\nFROM alpine\nCOPY --from=build /app /app\n",
    ),
};

/// `ARG TARGETARCH=amd64`.
pub(super) static TARGET_ARG_WITH_DEFAULT: Rule = Rule {
    name: "TargetArgWithDefault",
    origin: Origin::MultiPlatform,
    description: "ARGs about the target have no default",
    explanation: "The builder sets TARGETPLATFORM, TARGETARCH and TARGETVARIANT for each platform. A default in the \
                  Dockerfile wins over that: with `ARG TARGETARCH=amd64` it is amd64 whatever platform is asked for. If \
                  the file also has to work for builders that do not set them, write `${TARGETARCH:-amd64}` where it is used.",
    bad: Example::new("FROM debian\nARG TARGETARCH=amd64\nRUN fetch tool-$TARGETARCH\n"),
    good: Example::new("FROM debian\nARG TARGETARCH\nRUN fetch tool-${TARGETARCH:-amd64}\n"),
};

/// Commands whose result does not depend on the target.
const INDEPENDENT: [&str; 35] = [
    "apt-get update",
    "apt-get install",
    "apt-get upgrade",
    "apt-get clean",
    "apt update",
    "apt install",
    "apk add",
    "apk update",
    "apk upgrade",
    "yum install",
    "dnf install",
    "microdnf install",
    "go mod download",
    "go mod verify",
    "cargo fetch",
    "npm ci",
    "npm install",
    "yarn install",
    "pnpm install",
    "pnpm fetch",
    "bundle install",
    "mvn dependency:go-offline",
    "corepack enable",
    "rm",
    "mkdir",
    "cd",
    "true",
    "echo",
    "git config",
    "git clone",
    "set",
    "rustup component",
    "useradd",
    "adduser",
    "groupadd",
];

/// Those of them that take long enough to matter.
const CHEAP: [&str; 10] =
    ["rm", "mkdir", "cd", "true", "echo", "git config", "set", "useradd", "adduser", "groupadd"];

pub(super) fn check(model: &Model<'_>, index: usize, findings: &mut Findings<'_>) {
    if model.stages[index].runs_on != RunsOn::Build {
        return;
    }
    let steps = &model.document.stages[index].steps;
    for (position, step) in steps.iter().enumerate() {
        let Kind::Arg(declarations) = &step.instruction.kind else { continue };
        let names: Vec<&str> =
            declarations.iter().map(|declaration| declaration.name.value.as_str()).collect();
        let targets: Vec<&str> = names.iter().copied().filter(|name| is_about_target(name)).collect();
        if targets.is_empty() {
            continue;
        }
        let below = steps.get(position + 1..).unwrap_or_default();
        let Some(forked) = forked(model, &targets, below) else { continue };
        let fix = (targets.len() == names.len()).then(|| moved(step, forked, findings)).flatten();
        let line = findings.lines.line(forked.site.span.start);
        let message = format!(
            "below this ARG the step on line {line} is run once for each platform, and does not need `{}`",
            targets.join("`, `")
        );
        let finding = Finding::new(&TARGET_ARG_TOO_EARLY, message, step.site.span);
        let finding = match fix {
            Some(_) => finding.fix(fix),
            None => finding.hint("put it behind the steps that do not need it"),
        };
        findings.add(&step.site, finding);
    }
}

/// Looks at the ARGs above the first FROM and at those of a stage alike.
pub(super) fn check_default(step: &Step<'_>, findings: &mut Findings<'_>) {
    let Kind::Arg(declarations) = &step.instruction.kind else { return };
    for declaration in declarations {
        let name = &declaration.name;
        let is_set = matches!(name.value.as_str(), "TARGETPLATFORM" | "TARGETARCH" | "TARGETVARIANT");
        let Some(default) = declaration.default.as_ref().filter(|_| is_set) else { continue };
        // `ARG TARGETARCH=${TARGETARCH:-amd64}` keeps what is set.
        if default.value.contains('$') || default.value.is_empty() {
            continue;
        }
        let span = Span { start: name.span.start, end: default.span.end };
        let message = format!("{} is `{}` whatever platform is asked for", name.value, default.value);
        let finding = Finding::new(&TARGET_ARG_WITH_DEFAULT, message, span).fix(Some(Fix::replace(
            "leave the default out",
            span,
            &*name.value,
        )));
        findings.add(&step.site, finding);
    }
}

fn is_about_target(name: &str) -> bool {
    name.starts_with("TARGET") && (crate::model::PLATFORM_ARGUMENTS.contains(&name))
}

/// The last of the steps below that do not need the arguments, up to the first that might; if one of them is
/// worth sharing.
fn forked<'s, 'a>(model: &Model<'_>, targets: &[&str], below: &'s [Step<'a>]) -> Option<&'s Step<'a>> {
    let mut last = None;
    for step in below {
        match &step.instruction.kind {
            Kind::Run(_) => {
                let script = Script::of(model.document.file, step.instruction)?;
                match dependence(script.text(), targets) {
                    Dependence::Possible => break,
                    Dependence::None { worth_sharing: true } => last = Some(step),
                    Dependence::None { worth_sharing: false } => {}
                }
            }
            // What is made of the argument may be used by any later step.
            _ if targets.iter().any(|name| step.instruction.line.contains(name)) => break,
            _ => {}
        }
    }
    last
}

enum Dependence {
    Possible,
    None { worth_sharing: bool },
}

fn dependence(script: &str, targets: &[&str]) -> Dependence {
    if variables(script).any(|name| targets.contains(&name)) {
        return Dependence::Possible;
    }
    let commands = shell::commands(script);
    let independent = |command: &shell::Command| {
        command.program().is_none() || INDEPENDENT.iter().any(|pattern| command.runs(pattern))
    };
    if commands.is_empty() || !commands.iter().all(independent) {
        return Dependence::Possible;
    }
    let cheap = |command: &shell::Command| {
        command.program().is_none() || CHEAP.iter().any(|pattern| command.runs(pattern))
    };
    Dependence::None { worth_sharing: !commands.iter().all(cheap) }
}

/// The ARG line behind the last step that does not need it.
fn moved(arg: &Step<'_>, last: &Step<'_>, findings: &Findings<'_>) -> Option<Fix> {
    let text = &findings.source.text;
    let written = findings.source.slice(arg.site.span);
    let line_end = |from: usize| text.get(from..)?.find('\n').map(|at| from + at + 1);
    let removed = Span { start: arg.site.span.start, end: line_end(arg.site.span.end)? };
    if written.contains('\n') || !arg.site.comments.is_empty() {
        return None;
    }
    let at = line_end(last.site.span.end)?;
    let edits = vec![
        Edit { span: removed, text: String::new() },
        Edit { span: Span { start: at, end: at }, text: format!("{written}\n") },
    ];
    Some(Fix { title: "put it behind the steps that do not need it".to_owned(), edits })
}
