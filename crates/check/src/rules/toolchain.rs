//! Compilers that can build for other platforms, run under emulation.

use std::ops::Range;

use archway_dockerfile::ast::Kind;

use crate::{
    finding::Finding,
    findings::Findings,
    model::{Base, Model, RunsOn, sources},
    rule::{Example, Origin, Rule},
    script::Script,
    shell::{self, Command},
};

/// `go build` in a stage of the target platform.
pub(super) static EMULATED_TOOLCHAIN: Rule = Rule {
    name: "EmulatedToolchain",
    origin: Origin::MultiPlatform,
    description: "Compilers that can build for other platforms run on the building machine",
    explanation: "Without `--platform=$BUILDPLATFORM` a stage runs on the platform that is asked for: emulated, which is \
                  five to ten times slower, if it is not the machine's. Go, .NET and Rust compile for other platforms, and \
                  what a bundler of JavaScript or a Java build makes is the same for all. Reported are stages of which \
                  other stages copy the result, and in which nothing speaks for C code that would need a cross compiler.",
    bad: Example::new(
        "FROM golang AS build\nCOPY . .\nRUN CGO_ENABLED=0 go build -o /app\n\
         FROM scratch\nCOPY --from=build /app /app\n",
    ),
    good: Example::new(
        "FROM --platform=$BUILDPLATFORM golang AS build\nCOPY . .\nARG TARGETOS TARGETARCH\n\
         RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app\n\
         FROM scratch\nCOPY --from=build /app /app\n",
    ),
};

/// A tool that need not run on the platform it builds for.
struct Tool {
    name: &'static str,
    commands: &'static [&'static str],
    /// What in a script speaks against it.
    against: &'static [&'static str],
    /// What has to be copied out of the stage for it to be so; empty for anything.
    results: Results,
    hint: &'static str,
}

/// What the result of a tool may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Results {
    /// Anything.
    Any,
    /// Files that are the same for all platforms: built pages.
    Pages,
    /// Java archives.
    Archives,
}

/// C compilers and libraries: what the program needs them for has to be compiled for the target, too.
const C_CODE: &[&str] = &[
    "CGO_ENABLED=1",
    "gcc",
    "g++",
    "clang",
    "build-base",
    "musl-dev",
    "build-essential",
    "pkg-config",
    "pkgconf",
    "cmake",
    "-dev",
    "make ",
];

const TOOLS: &[Tool] = &[
    Tool {
        name: "go",
        commands: &["go build", "go install"],
        against: C_CODE,
        results: Results::Any,
        hint: "begin with `FROM --platform=$BUILDPLATFORM`, declare `ARG TARGETOS TARGETARCH`, and set GOOS=$TARGETOS GOARCH=$TARGETARCH",
    },
    Tool {
        name: "cargo",
        commands: &["cargo build", "cargo install"],
        against: C_CODE,
        results: Results::Any,
        hint: "begin with `FROM --platform=$BUILDPLATFORM`, and give cargo a --target and a linker for $TARGETARCH",
    },
    Tool {
        name: "dotnet",
        commands: &["dotnet publish", "dotnet build"],
        against: &["PublishAot", "clang", "zlib1g-dev", "NativeAOT"],
        results: Results::Any,
        hint: "begin with `FROM --platform=$BUILDPLATFORM`, declare `ARG TARGETARCH`, and publish with `-a $TARGETARCH`",
    },
    Tool {
        name: "the JavaScript build",
        commands: &[
            "npm run build",
            "yarn build",
            "yarn run build",
            "pnpm build",
            "pnpm run build",
            "npx vite build",
            "npx webpack",
            "npx ng build",
            "ng build",
            "vite build",
            "webpack",
            "npm run generate",
        ],
        against: &[],
        results: Results::Pages,
        hint: "begin with `FROM --platform=$BUILDPLATFORM`: the pages are the same for all platforms",
    },
    Tool {
        name: "the Java build",
        commands: &[
            "mvn package",
            "mvn clean package",
            "mvn verify",
            "mvn clean verify",
            "mvn install",
            "mvn clean install",
            "mvnw package",
            "mvnw clean package",
            "mvnw verify",
            "gradle build",
            "gradle bootJar",
            "gradle shadowJar",
            "gradle clean build",
            "gradlew build",
            "gradlew bootJar",
            "gradlew shadowJar",
            "gradlew clean build",
        ],
        against: &["native", "graal"],
        results: Results::Archives,
        hint: "begin with `FROM --platform=$BUILDPLATFORM`: the archive is the same for all platforms",
    },
];

/// Last parts of paths that hold built pages.
const PAGES: &[&str] = &["dist", "build", "public", "out", "_site", "browser", "html", "assets", ".output"];

pub(super) fn check(model: &Model<'_>, index: usize, findings: &mut Findings<'_>) {
    let stage = &model.stages[index];
    let copied = copied(model, index);
    let is_used = !copied.is_empty() && is_only_copied_from(model, index);
    if stage.runs_on != RunsOn::Target || !is_used || stage.for_one {
        return;
    }
    if model.stages[stage.root].base == Base::Scratch {
        return;
    }
    let scripts: Vec<Script> = model
        .chain(index)
        .flat_map(|index| &model.document.stages[index].steps)
        .filter_map(|step| Script::of(model.document.file, step.instruction))
        .collect();
    for step in &model.document.stages[index].steps {
        let Some(script) = Script::of(model.document.file, step.instruction) else { continue };
        let Some((tool, range)) = tool(&script) else { continue };
        let objection =
            scripts.iter().any(|script| tool.against.iter().any(|word| script.text().contains(word)));
        let sets_cgo = model.document.stages[index].steps.iter().any(|step| match &step.instruction.kind {
            Kind::Env(pairs) => {
                pairs.iter().any(|(key, value)| key.value == "CGO_ENABLED" && value.value == "1")
            }
            _ => false,
        });
        if (objection && !disables_c(model, index, tool, &script)) || sets_cgo || !fits(tool.results, &copied)
        {
            continue;
        }
        let message = format!("{} is emulated on other platforms, and need not be", tool.name);
        let finding = Finding::new(&EMULATED_TOOLCHAIN, message, script.span(range));
        findings.add(&step.site, finding.hint(tool.hint));
        return;
    }
}

/// `CGO_ENABLED=0`: whatever else is installed, the program has no C code.
fn disables_c(model: &Model<'_>, index: usize, tool: &Tool, script: &Script) -> bool {
    let in_environment = || {
        let steps = model.chain(index).flat_map(|index| &model.document.stages[index].steps);
        steps.into_iter().any(|step| match &step.instruction.kind {
            Kind::Env(pairs) => {
                pairs.iter().any(|(key, value)| key.value == "CGO_ENABLED" && value.value == "0")
            }
            _ => false,
        })
    };
    tool.name == "go" && (script.text().contains("CGO_ENABLED=0") || in_environment())
}

fn tool(script: &Script) -> Option<(&'static Tool, Range<usize>)> {
    let commands = shell::commands(script.text());
    TOOLS.iter().find_map(|tool| {
        let runs = |command: &&Command| tool.commands.iter().any(|pattern| command.runs(pattern));
        let command = commands.iter().find(runs)?;
        let (_, arguments) = command.program()?;
        let last = arguments.iter().find(|word| !word.text.starts_with('-'));
        let program = command.words.len() - arguments.len() - 1;
        let start = command.words.get(program)?.range.start;
        let end = last.map_or(start, |word| word.range.end);
        Some((tool, start..end.max(start)))
    })
}

/// The paths that other stages copy out of this one.
fn copied<'m>(model: &'m Model<'_>, index: usize) -> Vec<&'m str> {
    let later = model.document.stages.iter().enumerate().skip(index + 1);
    let mut paths = Vec::new();
    for (user, text) in later {
        for step in &text.steps {
            let Kind::Copy(copy) = &step.instruction.kind else { continue };
            let Some(from) = &copy.from else { continue };
            if model.document.source_stage(user, &from.value) == Some(index) {
                paths.extend(copy.sources.iter().map(|source| source.value.as_str()));
            }
        }
    }
    paths
}

/// Whether no stage starts from this one, and no step mounts it.
fn is_only_copied_from(model: &Model<'_>, index: usize) -> bool {
    let is_base = model.stages.iter().any(|stage| stage.base == Base::Stage(index));
    let is_mounted = model.document.stages.iter().enumerate().any(|(user, text)| {
        let runs = text.steps.iter().filter(|step| matches!(step.instruction.kind, Kind::Run(_)));
        runs.flat_map(|step| sources(step.instruction))
            .any(|name| model.document.source_stage(user, name) == Some(index))
    });
    model.target != index && !is_base && !is_mounted
}

fn fits(results: Results, copied: &[&str]) -> bool {
    let last =
        |path: &str| path.trim_end_matches(['/', '.', '*']).rsplit('/').next().unwrap_or_default().to_owned();
    match results {
        Results::Any => true,
        Results::Pages => copied.iter().all(|path| {
            let path = path.trim_end_matches("/.").trim_end_matches("/*");
            path.split('/').any(|part| PAGES.contains(&part)) && last(path) != "node_modules"
                || last(path).ends_with(".conf")
        }),
        Results::Archives => copied.iter().all(|path| {
            let is_archive = path.ends_with(".jar") || path.ends_with(".war");
            is_archive || path.contains("/target/") || path.contains("build/libs")
        }),
    }
}
