//! An architecture written into a download, a package or a compiler's arguments.

use std::ops::Range;

use archway_dockerfile::ast::{Copy, Kind, Span, Word};

use crate::{
    architecture::{self, Family, Named},
    finding::Finding,
    findings::Findings,
    model::{Model, RunsOn, Step},
    rule::{Example, Origin, Rule},
    script::Script,
    shell::{self, Command},
};

/// `curl …/tool-linux-amd64.tar.gz`
pub(super) static HARDCODED_ARCHITECTURE: Rule = Rule {
    name: "HardcodedArchitecture",
    origin: Origin::MultiPlatform,
    description: "Downloads, packages and compilers are for the platform that is asked for",
    explanation: "An architecture in a URL, in the name of a package or in GOARCH puts the same program into the images \
                  of all platforms; on the others it does not start. Declare `ARG TARGETARCH` in the stage and use it: \
                  `tool-linux-${TARGETARCH}.tar.gz`. Where names differ, map them with a `case`. Nothing is said of a \
                  step that looks at the architecture, or that names several, and of stages that are for one platform \
                  by their name, their base or `--platform`.",
    bad: Example::new(
        "FROM debian\nRUN curl -fsSLo /usr/local/bin/yq https://example.com/yq/v4/yq_linux_amd64\n",
    ),
    good: Example::new(
        "FROM debian\nARG TARGETARCH\nRUN curl -fsSLo /usr/local/bin/yq https://example.com/yq/v4/yq_linux_${TARGETARCH}\n",
    ),
};

/// One architecture written where it does not belong.
struct Hardcoded {
    what: &'static str,
    name: String,
    span: Span,
}

pub(super) fn check(model: &Model<'_>, index: usize, findings: &mut Findings<'_>) {
    if model.stages[index].for_one {
        return;
    }
    let runs_on = model.stages[index].runs_on;
    let mut declared = false;
    for step in &model.document.stages[index].steps {
        declared |= declares_architecture(step);
        let found = match &step.instruction.kind {
            Kind::Run(_) => in_script(model, step, runs_on),
            Kind::Add(copy) => in_sources(copy, findings),
            Kind::Env(pairs) => pairs.iter().find_map(|(key, value)| in_assignment(key, value, findings)),
            Kind::Arg(declarations) => declarations.iter().find_map(|declaration| {
                in_assignment(&declaration.name, declaration.default.as_ref()?, findings)
            }),
            _ => None,
        };
        if let Some(Hardcoded { what, name, span }) = found {
            let argument = if runs_on == RunsOn::Build { "BUILDARCH" } else { "TARGETARCH" };
            let message = format!("{what} is for `{name}` whatever platform is asked for");
            let finding = Finding::new(&HARDCODED_ARCHITECTURE, message, span);
            let declare =
                if declared { "" } else { &*format!("declare `ARG {argument}` in the stage, and ") };
            let hint = match name.as_str() {
                "amd64" | "arm64" => format!("{declare}write ${argument} for `{name}`"),
                _ => format!("{declare}choose the name by ${argument}"),
            };
            findings.add(&step.site, finding.hint(hint));
        }
    }
}

fn declares_architecture(step: &Step<'_>) -> bool {
    let Kind::Arg(declarations) = &step.instruction.kind else { return false };
    declarations.iter().any(|declaration| matches!(&*declaration.name.value, "TARGETARCH" | "BUILDARCH"))
}

fn in_script(model: &Model<'_>, step: &Step<'_>, runs_on: RunsOn) -> Option<Hardcoded> {
    let script = Script::of(model.document.file, step.instruction)?;
    let text = script.text();
    if architecture::asks(text) || is_several(text) {
        return None;
    }
    let found = in_urls(text).or_else(|| in_commands(text))?;
    // What a stage of the building machine fetches for another platform is meant so.
    if runs_on == RunsOn::Build && found.2 != Family::Amd64 {
        return None;
    }
    let (what, range, _) = found;
    Some(Hardcoded { what, name: text.get(range.clone())?.to_owned(), span: script.span(range) })
}

/// Whether a text names more than one architecture: then it does not forget the others.
fn is_several(text: &str) -> bool {
    let families: Vec<Family> = architecture::named(text).into_iter().map(|named| named.family).collect();
    families.iter().any(|family| Some(family) != families.first())
}

fn in_urls(text: &str) -> Option<(&'static str, Range<usize>, Family)> {
    architecture::urls(text).into_iter().find_map(|url| {
        let named = in_url(text.get(url.clone())?)?;
        Some(("this download", url.start + named.range.start..url.start + named.range.end, named.family))
    })
}

fn in_url(url: &str) -> Option<Named> {
    // Cross compilers are named for what they make.
    if url.contains("cross") || url.contains("toolchain") {
        return None;
    }
    let host_end = url.find("://").and_then(|at| url.get(at + 3..)?.find('/').map(|slash| at + 3 + slash))?;
    architecture::named(url).into_iter().find(|named| named.range.start > host_end)
}

fn in_commands(text: &str) -> Option<(&'static str, Range<usize>, Family)> {
    let commands = shell::commands(text);
    // Packages of a second architecture are installed on purpose.
    let foreign =
        commands.iter().any(|command| command.words.iter().any(|word| word.text == "--add-architecture"));
    commands.iter().find_map(|command| {
        let found = in_compiler(command).or_else(|| in_package(command).filter(|_| !foreign));
        let (what, word, named) = found.or_else(|| in_apt_source(command))?;
        // Quotes and escapes may have moved it.
        let written = text.get(word.range.clone())?;
        let name = word.text.get(named.range.clone())?;
        let at = written
            .find(name)
            .map_or(word.range.clone(), |at| word.range.start + at..word.range.start + at + name.len());
        Some((what, at, named.family))
    })
}

type InWord<'a> = (&'static str, &'a shell::Word, Named);

/// `GOARCH=amd64`, `cargo build --target x86_64-…`, `dotnet publish -r linux-x64`.
fn in_compiler(command: &Command) -> Option<InWord<'_>> {
    let assigned = command.assignments().find(|(name, ..)| *name == "GOARCH");
    if let Some((_, value, word)) = assigned {
        return named_in(value, word).map(|named| ("the program", word, named));
    }
    let (program, arguments) = command.program()?;
    let option = match program {
        "cargo" => ["--target", "--target"],
        "dotnet"
            if command
                .words
                .iter()
                .any(|word| matches!(word.text.as_str(), "publish" | "build" | "restore")) =>
        {
            ["-r", "--runtime"]
        }
        _ => return None,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = match word.text.split_once('=') {
            Some((name, _)) if option.contains(&name) => word,
            None if option.contains(&word.text.as_str()) => words.next()?,
            _ => continue,
        };
        let named = architecture::named(&value.text).into_iter().next()?;
        return Some(("the program", value, named));
    }
    None
}

/// `apt-get install tool:amd64`, `dnf install tool.x86_64`, `dpkg -i tool_1.0_amd64.deb`.
fn in_package(command: &Command) -> Option<InWord<'_>> {
    let (program, arguments) = command.program()?;
    let installs = match program {
        "apt-get" | "apt" | "yum" | "dnf" | "microdnf" | "zypper" => {
            arguments.iter().any(|word| matches!(word.text.as_str(), "install" | "localinstall"))
        }
        "dpkg" => arguments.iter().any(|word| matches!(word.text.as_str(), "-i" | "--install")),
        "rpm" => arguments.iter().any(|word| word.text.starts_with("-i") || word.text.starts_with("-U")),
        _ => false,
    };
    if !installs {
        return None;
    }
    arguments.iter().filter(|word| !word.text.starts_with('-')).find_map(|word| {
        let is_cross = word.text.contains("cross") || word.text.contains("-linux-gnu");
        let named = architecture::named(&word.text).into_iter().next_back().filter(|_| !is_cross)?;
        // The architecture is the last part of a name; `libx64-tools` is not for one.
        let rest = word.text.get(named.range.end..)?;
        let is_last = rest.is_empty() || matches!(rest, ".deb" | ".rpm") || rest.starts_with('=');
        is_last.then_some(("this package", word, named))
    })
}

/// `echo "deb [arch=amd64] https://…"`.
fn in_apt_source(command: &Command) -> Option<InWord<'_>> {
    command.words.iter().find_map(|word| {
        let at = word.text.find("[arch=").map(|at| at + "[arch=".len());
        let at = at.or_else(|| word.text.find(" arch=").map(|at| at + " arch=".len()))?;
        let list = word.text.get(at..)?;
        let list = list.get(..list.find([' ', ']'])?)?;
        let named = architecture::named(list);
        let [one] = named.as_slice() else { return None };
        let range = at + one.range.start..at + one.range.end;
        Some(("this package source", word, Named { range, ..one.clone() }))
    })
}

/// The architecture in the value of an assignment that is one word.
fn named_in(value: &str, word: &shell::Word) -> Option<Named> {
    let offset = word.text.len().checked_sub(value.len())?;
    let named = architecture::named(value).into_iter().next()?;
    Some(Named { range: offset + named.range.start..offset + named.range.end, ..named })
}

fn in_sources(copy: &Copy, findings: &Findings<'_>) -> Option<Hardcoded> {
    copy.sources.iter().find_map(|source| in_word("this download", source, findings))
}

/// `ENV GOARCH=amd64`, and URLs that steps then use.
fn in_assignment(key: &Word, value: &Word, findings: &Findings<'_>) -> Option<Hardcoded> {
    if key.value == "GOARCH" {
        let named = architecture::named(&value.value).into_iter().next()?;
        let name = value.value.get(named.range)?.to_owned();
        return Some(Hardcoded { what: "the program", name, span: value.span });
    }
    in_word("this download", value, findings)
}

fn in_word(what: &'static str, word: &Word, findings: &Findings<'_>) -> Option<Hardcoded> {
    if architecture::asks(&word.value) {
        return None;
    }
    // The value as written has its bytes where the file has them.
    let text = findings.source.slice(word.span);
    let url = architecture::urls(text).into_iter().next()?;
    let named = in_url(text.get(url.clone())?)?;
    let range = url.start + named.range.start..url.start + named.range.end;
    let span = Span { start: word.span.start + range.start, end: word.span.start + range.end };
    Some(Hardcoded { what, name: text.get(range)?.to_owned(), span })
}
