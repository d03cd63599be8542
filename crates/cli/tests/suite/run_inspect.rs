//! `archway run` and `archway inspect`.

use serde_json::Value;

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

const DOCKERFILE: &str = "FROM BASE\nENV GREETING=hello\nWORKDIR /srv\nUSER www-data\n\
    RUN true\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"uname -m\"]\n";

/// An image in the local store as `app:1`.
fn scene() -> Option<Scene> {
    let scene = Scene::new()?;
    scene.dockerfile(DOCKERFILE);
    scene.build(&["-t", "app:1", "--platform", TWO]).succeeded();
    Some(scene)
}

#[test]
fn an_image_runs_on_one_platform_or_on_all() {
    let Some(scene) = scene() else { return };
    let run = scene.archway(&["run", "app:1"]).succeeded();
    assert_eq!(run.stdout.trim(), std::env::consts::ARCH);
    let run = scene.archway(&["run", "--platform", "linux/arm64", "app:1"]).succeeded();
    assert_eq!(run.stdout, "aarch64\n");
    let run = scene.archway(&["run", "--platform", "all", "app:1"]).succeeded();
    assert_eq!(run.stdout, "x86_64\naarch64\n");
}

#[test]
fn the_exit_code_is_the_programs() {
    let Some(scene) = scene() else { return };
    scene.archway(&["run", "app:1", "exit 7"]).exited(7);
    scene.archway(&["run", "--platform", "linux/arm64", "app:1", "exit 9"]).exited(9);
    let one_fails = "test $(uname -m) = x86_64 || exit 3";
    scene.archway(&["run", "--platform", "all", "app:1", one_fails]).exited(3);
}

#[test]
fn a_run_uses_the_images_settings_unless_told_otherwise() {
    let Some(scene) = scene() else { return };
    let output = |arguments: &[&str]| scene.archway(&[&["run"], arguments].concat()).succeeded().stdout;
    let show = "echo $GREETING $(id -u) $(id -g) $PWD";
    assert_eq!(output(&["app:1", show]), "hello 33 33 /srv\n");
    let changed = ["-e", "GREETING=bye", "-u", "nobody:staff", "-w", "/tmp", "app:1", show];
    assert_eq!(output(&changed), "bye 65534 50 /tmp\n");
    assert_eq!(output(&["--entrypoint", "/bin/echo", "app:1", "-n", "a  b"]), "a  b");
}

#[test]
fn a_run_passes_standard_input_and_does_not_change_the_image() {
    use std::{io::Write, process::Stdio};

    let Some(scene) = scene() else { return };
    let mut archway = scene.cli.command();
    archway.args(["run", "-u", "0", "app:1", "cat > /srv/in; cat /srv/in"]);
    let mut child = archway.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through the pipe").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through the pipe");
    scene.archway(&["run", "app:1", "test ! -e /srv/in"]).succeeded();
}

#[test]
fn every_place_of_an_image_can_be_run_and_inspected() {
    let Some(scene) = scene() else { return };
    let image = scene.image("1");
    scene.push(TWO);
    let outputs = ["-o", "type=oci,dest=all.tar", "-o", "type=oci,dest=layout,tar=false"];
    scene.build(&[&["-t", "app:1", "--platform", TWO][..], &outputs].concat()).succeeded();
    scene.build(&["-o", "type=docker,dest=docker.tar", "-t", "app:1", "--platform", "local"]).succeeded();

    let digest = ImageIndex::pushed(&image).digest;
    for place in [&*image, "oci:layout", "oci:layout:1", "oci-archive:all.tar", "app:1"] {
        let json = scene.archway(&["inspect", "--format", "json", place]).succeeded().stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["digest"], digest.to_string(), "{place}");
        assert_eq!(json["platforms"].as_array().unwrap().len(), 2, "{place}");
        assert_eq!(json["platforms"][1]["configPlatform"]["architecture"], "arm64", "{place}");

        let raw = scene.archway(&["inspect", "--raw", place]).succeeded().stdout;
        assert_eq!(archway_oci::Digest::sha256(raw.as_bytes()), digest, "{place}");

        let text = scene.archway(&["inspect", place]).succeeded().stdout;
        assert!(text.contains(&digest.to_string()) && text.contains("linux/arm64"), "{place}: {text}");

        let run = scene.archway(&["run", "--platform", "linux/arm64", place]).succeeded();
        assert_eq!(run.stdout, "aarch64\n", "{place}");
    }
    let json =
        scene.archway(&["inspect", "--format", "json", "docker-archive:docker.tar"]).succeeded().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["platforms"][0]["layers"].as_array().unwrap().len(), 3, "{json}");
}

#[test]
fn what_is_not_there_cannot_be_run_or_inspected() {
    let Some(scene) = scene() else { return };
    let missing = scene.image("none");
    for arguments in [
        &["run", "--platform", "linux/s390x", "app:1"][..],
        &["run", &missing],
        &["inspect", &missing],
        &["inspect", "oci:nowhere"],
        &["inspect", "oci-archive:nowhere.tar"],
    ] {
        let run = scene.archway(arguments).exited(1);
        assert!(run.stderr.starts_with("error: "), "{arguments:?}: {}", run.stderr);
    }
    scene.archway(&["run", "--platform", "linux/amd46", "app:1"]).exited(2);
    scene.archway(&["run", "app:1", "/no/such/program"]).exited(127);
    let run = scene.archway(&["run", "--entrypoint", "/no/such/program", "app:1"]);
    assert!(!run.status.success() && run.stderr.contains("/no/such/program"), "{}", run.stderr);
}
