//! Which Dockerfiles are read, and what they may say.

use std::fs;

use serde_json::json;

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

#[test]
fn files_for_the_official_frontend_are_read_and_newer_ones_with_a_warning() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "# syntax=docker/dockerfile:1-labs\nFROM BASE\nCMD\nENTRYPOINT [\"\\ud800\"]\nONBUILD RUN a  \n",
    );
    scene.push("local");
    let config = ImageIndex::pushed(&scene.image("1")).children.remove(0).config["config"].clone();
    // What BuildKit's config has, too.
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-c", ""]));
    assert_eq!(config["Entrypoint"], json!(["\u{fffd}"]));
    assert_eq!(config["OnBuild"], json!(["RUN a  "]));

    scene.dockerfile("# syntax=docker/dockerfile:9\nFROM BASE\n");
    let run = scene.build(&["--platform", "linux/amd64"]).succeeded();
    assert!(run.stderr.contains("`docker/dockerfile:9` may be newer"), "{}", run.stderr);

    scene.dockerfile("# syntax=example/frontend\nFROM BASE\n");
    let instead = ["--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1", "--platform", "linux/amd64"];
    let run = scene.build(&instead).succeeded();
    assert!(!run.stderr.contains("BUILDKIT_SYNTAX"), "{}", run.stderr);
}

#[test]
fn old_files_are_found_and_read() {
    let Some(scene) = Scene::new() else { return };
    let text = format!("# caf\u{0}\nFROM {}\n", scene.busybox());
    let latin_1: Vec<u8> = text.bytes().map(|byte| if byte == 0 { 0xe9 } else { byte }).collect();
    fs::write(scene.file("dockerfile", ""), latin_1).unwrap();
    scene.build(&["--platform", "linux/amd64"]).succeeded();
}

#[test]
fn arguments_may_differ_between_platforms() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("ARG SOURCE_DATE_EPOCH=1700000000\nFROM BASE\nARG V=none W=none\nLABEL v=$V w=$W\n");
    let image = scene.image("1");
    let arguments =
        ["--build-arg", "V=all", "--build-arg", "linux/arm64:V=arm", "--build-arg", "linux/arm64:W"];
    let run =
        scene.build(&[&["--push", "-t", &image, "--platform", TWO][..], &arguments].concat()).succeeded();
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let children = ImageIndex::pushed(&image).children;
    let labels = |number: usize| children[number].config["config"]["Labels"].clone();
    assert_eq!(labels(0), json!({"v": "all", "w": "none"}));
    // W is not set in the environment, and so is left out.
    assert_eq!(labels(1), json!({"v": "arm", "w": "none"}));
    assert_eq!(children[0].config["created"], "2023-11-14T22:13:20Z");

    let run = scene.build(&["--platform", "linux/amd64", "--build-arg", "BUILDKIT_BUILD_NAME=x"]).succeeded();
    assert!(run.stderr.contains("`BUILDKIT_BUILD_NAME` has no effect"), "{}", run.stderr);
    let split = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-o", "out", "--platform", "linux/amd64"];
    scene.build(&split).succeeded();
    assert!(scene.cli.work().join("out/linux_amd64/bin/busybox").exists());
}

#[test]
fn a_faulty_ignore_file_is_shown_with_its_line() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nCOPY . /\n");
    scene.file(".dockerignore", "# comment\nnode_modules\n  [a-\n");
    let run = scene.build(&[]);
    assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
    for expected in
        ["malformed pattern '[a-'", ".dockerignore:3:3", "3 |   [a-", "^^^ this pattern", "help: close '['"]
    {
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}
