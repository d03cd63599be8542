//! Stages: which are built, how often, for which platform, and with which variables.

use archway_oci::Platform;
use serde_json::Value;

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

const THREE: &str = "linux/amd64,linux/arm64,linux/ppc64le";

const CROSS: &str = "FROM --platform=$BUILDPLATFORM BASE AS build\n\
    COPY source /source\n\
    RUN echo shared-step && cp /source /prepared\n\
    ARG TARGETPLATFORM\n\
    RUN echo \"for $TARGETPLATFORM on $(uname -m)\" > /program\n\
    FROM BASE\n\
    COPY --from=build /program /program\n";

fn plan(scene: &Scene, platforms: &str) -> Value {
    let run = scene.archway(&["plan", "--format", "json", "--platform", platforms, "."]).succeeded();
    serde_json::from_str(&run.stdout).unwrap()
}

/// This machine's own platform is native, all others are cross-compiled.
#[track_caller]
fn assert_crossed(platforms: &Value) {
    for platform in platforms.as_array().unwrap() {
        let described: Platform = serde_json::from_value(platform["platform"].clone()).unwrap();
        let want = if described == Platform::host() { "native" } else { "cross" };
        assert_eq!(platform["strategy"], want, "{platform}");
    }
}

#[test]
fn a_cross_build_runs_its_shared_steps_once() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(CROSS);
    scene.file("source", "text");
    let arguments = [
        "--push",
        "-t",
        &scene.image("1"),
        "--platform",
        THREE,
        "--metadata-file",
        "meta.json",
        "--progress=plain",
    ];
    let run = scene.build(&arguments).succeeded();
    assert_eq!(run.stderr.matches("| shared-step").count(), 1, "{}", run.stderr);
    assert_crossed(&scene.json("meta.json")["archway.platforms"]);
    let machine = std::env::consts::ARCH;
    for child in ImageIndex::pushed(&scene.image("1")).children {
        assert_eq!(child.text("program"), format!("for {} on {machine}\n", child.platform));
    }
}

#[test]
fn the_plan_tells_strategies_and_shared_steps() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(CROSS);
    scene.file("source", "text");
    let cross = plan(&scene, THREE);
    assert_crossed(&cross["platforms"]);
    // Shared: FROM, COPY and one RUN; for each platform: one RUN, FROM, COPY.
    let (steps, separately) = (&cross["totals"]["steps"], &cross["totals"]["separately"]);
    // Both stages of this machine's platform begin with the same FROM.
    assert_eq!((steps, separately), (&(3 + 3 * 3 - 1).into(), &(3 * 6 - 1).into()));

    scene.dockerfile("FROM BASE\nRUN true\n");
    let plain = plan(&scene, "linux/ppc64le");
    assert_eq!(plain["platforms"][0]["strategy"], "emulated");
    assert!(plain["platforms"][0]["reason"].as_str().unwrap().contains("RUN true"), "{plain}");
    assert!(scene.requests().is_empty(), "a plan pushes nothing");
}

#[test]
fn a_plan_warns_once() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    let run = scene.archway(&["plan", "--build-arg", "UNUSED=1", "."]).succeeded();
    let warnings = [run.stdout, run.stderr].concat().matches("`UNUSED` is not used").count();
    assert_eq!(warnings, 1);
}

#[test]
fn a_strategy_that_is_required_and_not_possible_is_an_error() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN true\n");
    let native = ["--platform", "linux/ppc64le", "--strategy", "native"];
    let run = scene.build(&native).exited(1);
    assert!(run.stderr.contains("linux/ppc64le") && run.stderr.contains("native"), "{}", run.stderr);
    scene.build(&["--platform", "linux/ppc64le", "--strategy", "linux/ppc64le=emulated"]).succeeded();
}

#[test]
fn only_the_stages_that_are_needed_are_built() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE AS unused\nRUN false\nFROM localhost:1/nowhere AS unreachable\nRUN false\n\
         FROM BASE AS first\nRUN echo first > /name\nFROM first AS second\nRUN echo second > /name\n",
    );
    scene.push(TWO);
    let names =
        |tag: &str| ImageIndex::pushed(&scene.image(tag)).children.iter().map(|c| c.text("name")).collect();
    let second: Vec<String> = names("1");
    assert_eq!(second, ["second\n", "second\n"]);
    scene.build(&["--push", "-t", &scene.image("2"), "--platform", TWO, "--target", "first"]).succeeded();
    let first: Vec<String> = names("2");
    assert_eq!(first, ["first\n", "first\n"]);
}

#[test]
fn arguments_and_variables_have_their_scopes() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "ARG NAME=busybox\nARG GLOBAL=global\nFROM BASE AS base\n\
         RUN echo \"1:$GLOBAL:\" > /out\n\
         ARG GLOBAL\nARG LOCAL=local\nARG GIVEN=default\n\
         RUN echo \"2:$GLOBAL:$LOCAL:$GIVEN\" >> /out\n\
         ENV LOCAL=environment\n\
         RUN echo \"3:$LOCAL\" >> /out\n\
         FROM base\n\
         RUN echo \"4:$GLOBAL:$LOCAL:$GIVEN\" >> /out\n\
         ARG TARGETARCH\nARG BUILDPLATFORM\nENV WHERE=\"${TARGETARCH:-none} from ${BUILDPLATFORM%%/*}\"\n\
         RUN echo \"5:$WHERE\" >> /out\n",
    );
    let push = ["--push", "-t", &scene.image("1"), "--platform", TWO, "--build-arg", "GIVEN=given"];
    scene.build(&push).succeeded();
    for child in ImageIndex::pushed(&scene.image("1")).children {
        let want = format!(
            "1::\n2:global:local:given\n3:environment\n4:global:environment:given\n5:{} from linux\n",
            child.platform.architecture
        );
        assert_eq!(child.text("out"), want);
        assert_eq!(child.env("GIVEN"), None, "arguments are not part of the image");
    }
}

#[test]
fn an_onbuild_trigger_runs_in_the_image_built_from_it() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nONBUILD RUN echo triggered > /trigger\nONBUILD COPY Dockerfile /given\n");
    scene.build(&["--push", "-t", &scene.image("base"), "--platform", TWO]).succeeded();
    let base = ImageIndex::pushed(&scene.image("base")).children.remove(0);
    assert_eq!(base.config["config"]["OnBuild"].as_array().unwrap().len(), 2);
    assert!(!base.root().entries.contains_key("trigger"));

    scene.file("Dockerfile", &format!("FROM {}\nRUN cat /trigger > /seen\n", scene.image("base")));
    scene.push(TWO);
    for child in ImageIndex::pushed(&scene.image("1")).children {
        assert_eq!(child.text("seen"), "triggered\n");
        assert!(child.root().entries.contains_key("given"));
        assert_eq!(child.config["config"].get("OnBuild"), None, "triggers are not inherited twice");
    }
}

#[test]
fn a_stage_is_named_by_number_and_by_any_case() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE AS One\nRUN echo a > /a\nFROM scratch\nCOPY --from=0 /a /x\nCOPY --from=one /a /y\n",
    );
    scene.push("local");
    let child = ImageIndex::pushed(&scene.image("1")).children.remove(0);
    let paths: Vec<String> = child.root().entries.into_keys().collect();
    assert_eq!(paths, ["x", "y"]);
    assert_eq!(child.env("PATH").map(|path| path.contains("/bin")), Some(true), "scratch has a PATH");
}

#[test]
fn only_the_stages_that_were_named_run_again() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE AS one\nRUN echo one-ran > /a\nRUN echo one-runs\nFROM BASE AS two\nRUN echo two-runs > /b; cat /b\n\
         FROM scratch\nCOPY --from=one /a /a\nCOPY --from=two /b /b\n",
    );
    let ran = |arguments: &[&str]| {
        let run = scene.build(&[arguments, &["--progress=plain"]].concat()).succeeded();
        ["one-runs", "two-runs"].map(|text| run.stderr.contains(&format!("| {text}")))
    };
    assert_eq!(ran(&[]), [true, true]);
    assert_eq!(ran(&[]), [false, false]);
    assert_eq!(ran(&["--no-cache-filter", "TWO"]), [false, true]);
    assert_eq!(ran(&["--no-cache-filter=one,two"]), [true, true]);
    let run = scene.build(&["--no-cache-filter", "on"]).exited(1);
    assert!(run.stderr.contains("did you mean `one`?"), "{}", run.stderr);
}
