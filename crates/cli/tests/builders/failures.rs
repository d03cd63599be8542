//! Steps that fail, and daemons that do.

use std::time::Instant;

use rustix::process::Signal;

use crate::scene::{Gate, Scene, TWO, runs, signal};

#[test]
fn a_step_that_fails_is_shown_with_its_place_and_its_output() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    scene.dockerfile("FROM BASE\nRUN true\nRUN echo so far so good; \\\n    exit 3\n");
    let run = scene.build(&["--builder=pool"]).exited(1);
    for part in ["exit code 3", "so far so good", "Dockerfile:3", "StepFailed"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    scene.dockerfile("FROM BASE\nCOPY nowhere /\n");
    let run = scene.build(&["--builder=pool"]).exited(1);
    assert!(run.stderr.contains("Dockerfile:2") && run.stderr.contains("nowhere"), "{}", run.stderr);
}

#[test]
fn a_daemon_that_is_killed_is_the_failure_of_its_platform() {
    let Some(scene) = Scene::new() else { return };
    let Some(amd64) = scene.daemon(&[]) else { return };
    let arm64 = scene.daemon(&["linux/arm64"]).unwrap();
    scene.add(&amd64);
    scene.add(&arm64);
    let gate = Gate::new();
    // Only amd64 waits.
    scene.dockerfile(&format!(
        "FROM BASE AS arm64\nFROM BASE AS amd64\n{}\nFROM $TARGETARCH\nLABEL built=yes\n",
        gate.wait()
    ));
    let image = scene.image("1");
    let arguments =
        ["--builder=pool", "--platform", TWO, "--on-failure=publish-partial", "--push", "-t", &image];
    let build = scene.start(&arguments);
    let waiting = gate.arrival();
    signal(&amd64, Signal::KILL);
    let killed = Instant::now();
    let (code, text) = build.end();
    eprintln!("reported {:.1} s after the daemon was killed", killed.elapsed().as_secs_f64());
    drop(waiting);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("BuilderLost"), "{text}");
    let index = scene.published(&image).unwrap();
    assert_eq!(index["annotations"]["dev.archway.index.missing"], "linux/amd64=BuilderLost");
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn a_daemon_that_does_not_answer_any_more_is_gone() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    let gate = Gate::new();
    scene.dockerfile(&format!("FROM BASE\n{}\n", gate.wait()));
    let build = scene.start(&["--builder=pool"]);
    let waiting = gate.arrival();
    signal(&daemon, Signal::STOP);
    let stopped = Instant::now();
    let (code, text) = build.end();
    eprintln!("reported {:.1} s after the daemon was stopped", stopped.elapsed().as_secs_f64());
    signal(&daemon, Signal::CONT);
    drop(waiting);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("BuilderLost"), "{text}");
}

#[test]
fn another_daemon_goes_on_with_what_one_left() {
    let Some(scene) = Scene::new() else { return };
    let Some(first) = scene.daemon(&[]) else { return };
    let second = scene.daemon(&[]).unwrap();
    scene.add(&first);
    scene.add(&second);
    let gate = Gate::new();
    scene.dockerfile(&format!("FROM BASE\n{}\n", gate.wait()));
    let image = scene.image("1");
    let build = scene.start(&["--builder=pool", "--push", "-t", &image]);
    let waiting = gate.arrival();
    let (busy, idle) = match runs(&first, "busybox") {
        true => (&first, &second),
        false => (&second, &first),
    };
    assert!(runs(busy, "busybox") && !runs(idle, "busybox"));
    signal(busy, Signal::KILL);
    drop(waiting);
    gate.arrival().release();
    let (code, text) = build.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("another daemon goes on"), "{text}");
    scene.archway(&["index", "verify", &image]).succeeded();
}

#[test]
fn a_builder_whose_daemons_are_not_there_fails_its_platforms() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    drop(daemon);
    scene.dockerfile("FROM scratch\nLABEL a=b\n");
    let run = scene.build(&["--builder=pool"]).exited(1);
    assert!(run.stderr.contains("BuilderUnavailable"), "{}", run.stderr);
    assert!(run.stderr.contains("cannot be reached"), "{}", run.stderr);
}

#[test]
fn a_build_that_is_interrupted_ends_at_the_daemon_too() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    let gate = Gate::new();
    scene.dockerfile(&format!("FROM BASE\n{}\n", gate.wait()));
    let build = scene.start(&["--builder=pool"]);
    let waiting = gate.arrival();
    assert!(runs(&daemon, "busybox"));
    build.interrupt();
    let (code, text) = build.end();
    assert_eq!(code, Some(130), "{text}");
    let started = Instant::now();
    while runs(&daemon, "busybox") {
        assert!(started.elapsed().as_secs() < 60, "its step goes on");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(waiting);
}
