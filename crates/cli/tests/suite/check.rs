//! Checks of Dockerfiles: what a user reads, what a program reads, and what a build makes of it.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use archway_testkit::{Cli, cli::Run};
use serde_json::Value;

use crate::scene::{BINARY, Scene, TWO};

const MISTAKES: &str = "\
ARG VERSION=1
FROM golang as build
WORKDIR src
RUN GOARCH=amd64 go build -o /app .

FROM debian
COPY --from=build /app /app-$VERSION
CMD /app --port 80
";

/// A command line with a Dockerfile, which needs neither registry nor network.
fn with(dockerfile: &str) -> Cli {
    let cli = Cli::new(BINARY).unwrap();
    cli.write("Dockerfile", dockerfile).unwrap();
    cli
}

fn run(cli: &Cli, arguments: &[&str]) -> Run {
    cli.run(arguments).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn rule_names(report: &Value) -> Vec<&str> {
    report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["ruleName"].as_str().unwrap())
        .collect()
}

macro_rules! assert_text {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "check",
        }, { insta::assert_snapshot!($name, $text) })
    };
}

#[test]
fn findings_are_shown_in_their_place() {
    let cli = with(MISTAKES);
    let checked = run(&cli, &["check"]).exited(1);
    assert_eq!(checked.stderr, "");
    assert_text!("findings", checked.stdout);
    for same in
        [&["build", "--check", "."][..], &["build", "--call=check", "."], &["build", "--call", "lint", "."]]
    {
        assert_eq!(run(&cli, same).exited(1).stdout, checked.stdout, "{same:?}");
    }
    run(&cli, &["build", "--call=check,ignorestatus=true", "."]).succeeded();
    assert!(!cli.root().exists(), "a check needs no store");
}

#[test]
fn a_good_file_is_good() {
    let cli = with("FROM debian\nRUN true\nCMD [\"/app\"]\n");
    assert_eq!(run(&cli, &["check"]).succeeded().stdout, "no warnings found\n");
    assert_eq!(
        json(&run(&cli, &["check", "--format=json"]).succeeded().stdout)["warnings"],
        Value::Array(vec![])
    );
}

#[test]
fn programs_read_json_and_sarif() {
    let cli = with(MISTAKES);
    let report = json(&run(&cli, &["check", "--format", "json"]).exited(1).stdout);
    assert_eq!(
        rule_names(&report),
        [
            "FromAsCasing",
            "WorkdirRelativePath",
            "HardcodedArchitecture",
            "EmulatedToolchain",
            "UndefinedVar",
            "JSONArgsRecommended"
        ]
    );
    // As BuildKit has it: the instruction's lines, the file in base64.
    assert_eq!(report["warnings"][1]["location"]["ranges"][0]["start"]["line"], 3);
    assert_eq!(report["sources"][0]["language"], "Dockerfile");
    assert!(report["sources"][0]["data"].as_str().unwrap().starts_with("QVJHIFZFUlNJT049MQ"));
    assert_eq!(report["warnings"][1]["place"]["start"], json(r#"{"line": 3, "column": 9}"#));
    assert_eq!(report["warnings"][1]["fix"]["edits"][0]["text"], "/src");

    let sarif = run(&cli, &["check", "--format", "sarif"]).exited(1).stdout;
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert_text!("sarif", sarif.replace(&version, "\"version\": \"[VERSION]\""));
}

#[test]
fn an_error_in_the_file_comes_with_the_findings_above_it() {
    let cli = with("FROM debian AS Base\nMAINTAINER jo\nRUNN true\nCMD x\n");
    assert_text!("syntax_error", run(&cli, &["check"]).exited(1).stdout);
    let report = json(&run(&cli, &["check", "--format=json"]).exited(1).stdout);
    assert_eq!(rule_names(&report), ["StageNameCasing", "MaintainerDeprecated"]);
    assert_eq!(report["buildError"]["location"]["ranges"][0]["start"]["line"], 3);
    let sarif = json(&run(&cli, &["check", "--format=sarif"]).exited(1).stdout);
    assert_eq!(sarif["runs"][0]["results"][2]["level"], "error");
    assert_eq!(sarif["runs"][0]["results"][2]["ruleId"], "SyntaxError");
}

#[test]
fn a_file_on_standard_input() {
    let cli = Cli::new(BINARY).unwrap();
    let mut command = cli.command();
    command.args(["check", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"FROM debian as x\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("warning[FromAsCasing]"));
}

/// What a build would fetch or unpack is checked as the build would find it.
#[test]
fn the_dockerfile_of_an_archive() {
    let Some(scene) = Scene::new() else { return };
    scene.file("app/Dockerfile", "FROM debian as x\n");
    let archive = scene.cli.work().join("app.tar");
    let tar = Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .args(["-C", "app", "."])
        .current_dir(scene.cli.work())
        .status();
    assert!(tar.unwrap().success());
    let mut command = scene.cli.command();
    let output =
        command.args(["build", "--check", "-"]).stdin(fs::File::open(&archive).unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("warning[FromAsCasing]"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_a_dockerfile_says_cannot_write_on_the_terminal() {
    let cli = with("# a \x1b[2Jdescription\nFROM scratch AS a\nARG TOKEN\x1b[2J\nENV B\x1b[2J_KEY=1\n");
    for arguments in [&["check"][..], &["build", "--call=targets", "."], &["build", "--call=outline", "."]] {
        let run = run(&cli, arguments);
        assert!(
            !run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'),
            "{}{}",
            run.stdout,
            run.stderr
        );
    }
}

#[test]
fn what_is_ignored_is_not_copied() {
    let cli = with("FROM scratch\nCOPY dist /\n");
    cli.write(".dockerignore", "dist\n").unwrap();
    assert!(run(&cli, &["check"]).exited(1).stdout.contains("CopyIgnoredFile"));
    // The file's own list wins.
    cli.write("Dockerfile.dockerignore", "target\n").unwrap();
    run(&cli, &["check"]).succeeded();
}

#[test]
fn rules_explain_themselves() {
    let cli = Cli::new(BINARY).unwrap();
    assert_text!("explanation", run(&cli, &["check", "--explain", "TargetArgTooEarly"]).succeeded().stdout);
    let unknown = run(&cli, &["check", "--explain", "TargetArgsTooEarly"]).exited(2);
    assert!(unknown.stderr.contains("did you mean `TargetArgTooEarly`?"), "{}", unknown.stderr);
    let list = run(&cli, &["check", "--list"]).succeeded().stdout;
    assert_eq!(list.lines().count(), 31);
    let unknown = run(&cli, &["check", "--format", "xml"]).exited(2);
    assert!(unknown.stderr.contains("sarif"), "{}", unknown.stderr);
}

const DESCRIBED: &str = "\
ARG PATCH=0 REVISION=1
# VERSION what to build
ARG VERSION=1.${PATCH}
# build makes the program
FROM golang:${VERSION} AS build
# TAGS of the build
ARG TAGS=netgo
ARG TARGETARCH
RUN --mount=type=secret,id=token,required --mount=type=cache,target=/root/.cache go build
FROM debian AS unused
ARG NOTHING
# image is what is published
FROM --platform=$TARGETPLATFORM debian AS image
RUN --mount=type=ssh fetch
COPY --from=build /app /app
";

#[test]
fn targets_and_what_they_can_be_given() {
    let cli = with(DESCRIBED);
    assert_text!("targets", run(&cli, &["build", "--call=targets", "."]).succeeded().stdout);
    assert_text!("outline", run(&cli, &["build", "--call=outline", "."]).succeeded().stdout);
    let targets = json(&run(&cli, &["build", "--call=targets,format=json", "."]).succeeded().stdout);
    assert_eq!(
        targets["targets"][0],
        json(
            r#"{
        "name": "build", "description": "makes the program", "base": "golang:${VERSION}",
        "location": { "ranges": [{ "start": { "line": 5 }, "end": { "line": 5 } }] }
    }"#
        )
    );
    assert_eq!(targets["targets"][2]["default"], true);
    assert_eq!(targets["targets"][2]["platform"], "$TARGETPLATFORM");
    let arguments = ["build", "--call=outline,format=json", "--target=build", "--build-arg", "TAGS=x", "."];
    let outline = json(&run(&cli, &arguments).succeeded().stdout);
    let names: Vec<&str> =
        outline["args"].as_array().unwrap().iter().map(|arg| arg["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["PATCH", "VERSION", "TAGS"]);
    assert_eq!(outline["args"][2]["value"], "x");
    assert_eq!(outline["secrets"][0]["name"], "token");
    assert_eq!(outline["secrets"][0]["required"], true);
    assert_eq!(outline["cache"][0]["ID"], "/root/.cache");
    assert_eq!(outline["ssh"], Value::Null);
    let unknown = run(&cli, &["build", "--call=outline", "--target=biuld", "."]).exited(2);
    assert!(unknown.stderr.contains("did you mean `build`?"), "{}", unknown.stderr);
    let unknown = run(&cli, &["build", "--call=outlin", "."]).exited(2);
    assert!(unknown.stderr.contains("did you mean `outline`?"), "{}", unknown.stderr);
}

#[test]
fn a_build_lists_its_findings_at_the_end() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\nMAINTAINER jo\nCMD x\n\nFROM BASE AS unused\nCMD y\n");
    let arguments = ["--progress=plain", "-t", "app", "--platform", "linux/amd64", "--target=0"];
    let run = scene.build(&arguments).succeeded();
    let end: Vec<&str> = run.stderr.lines().rev().take(3).collect();
    assert!(end[2].starts_with("2 warnings found"), "{}", run.stderr);
    assert!(end[1].contains("MaintainerDeprecated") && end[1].ends_with("(line 3)"), "{}", run.stderr);
    assert!(end[0].contains("JSONArgsRecommended") && end[0].ends_with("(line 4)"), "{}", run.stderr);

    let argument = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all";
    let run = scene.build(&[&arguments[..], &[argument]].concat()).succeeded();
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let run = scene
        .build(&["--progress=rawjson", "-t", "app", "--platform", "linux/amd64", "--target=0"])
        .succeeded();
    let is_finding = |line: &&str| line.contains("\"warning\"") && line.contains("JSONArgsRecommended");
    assert_eq!(run.stderr.lines().filter(is_finding).count(), 1, "{}", run.stderr);
}

#[test]
fn findings_do_not_hide_an_error() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCMD x\nRUN exit 7\n");
    let run = scene.build(&["--progress=plain", "-t", "app", "--platform", "linux/amd64"]).exited(1);
    let warning = run.stderr.find("1 warning found").expect("the finding is listed");
    let error = run.stderr.rfind("error: linux/amd64").expect("the error is shown");
    assert!(warning < error, "{}", run.stderr);
}

#[test]
fn findings_that_are_errors_end_a_build_before_it_begins() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("# check=error=true\nFROM BASE\nRUN echo ran\nCMD x\n");
    let run = scene.build(&["--progress=plain", "-t", "app", "--platform", "linux/amd64"]).exited(1);
    assert!(run.stderr.contains("error[JSONArgsRecommended]"), "{}", run.stderr);
    assert!(run.stderr.contains("`check=error=true` makes this an error"), "{}", run.stderr);
    assert!(!run.stderr.contains("RUN echo"), "{}", run.stderr);
    assert_eq!(scene.archway(&["images", "--format=json"]).succeeded().stdout, "[]\n");
    // What only our own rules object to is built.
    scene.dockerfile("# check=error=true\nFROM --platform=$BUILDPLATFORM BASE\nCMD [\"x\"]\n");
    let run = scene.build(&["--progress=plain", "-t", "app", "--platform", TWO]).succeeded();
    assert!(run.stderr.contains("FinalStageOfBuildPlatform"), "{}", run.stderr);
    scene.dockerfile("# check=eror=true\nFROM BASE\n");
    let run = scene.build(&["-t", "app"]).exited(1);
    assert!(run.stderr.contains("unknown check option 'eror'"), "{}", run.stderr);
}

#[test]
fn base_images_are_looked_up_for_the_platforms_that_are_named() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nENV A=$NOBODY_SETS_THIS\n");
    scene.archway(&["check"]).succeeded();
    let run = scene.archway(&["check", "--platform", "linux/amd64,linux/mips64le"]).exited(1);
    assert!(run.stdout.contains("does not exist for linux/mips64le"), "{}", run.stdout);
    assert!(run.stdout.contains("nothing sets the variable `NOBODY_SETS_THIS`"), "{}", run.stdout);
    // A registry that is not there is no finding.
    scene.file("Dockerfile", "FROM localhost:1/nothing\nENV A=$NOBODY_SETS_THIS\n");
    let run = scene.archway(&["check", "--platform", "linux/amd64"]).succeeded();
    assert!(
        run.stderr.contains("note: the base image `localhost:1/nothing` cannot be looked up"),
        "{}",
        run.stderr
    );
}
