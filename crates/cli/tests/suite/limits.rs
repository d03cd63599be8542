//! Limits of RUN steps.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use archway_testkit::tools;

use crate::scene::Scene;

/// Generous, for a loaded machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether steps can be limited here.
fn are_possible(scene: &Scene) -> bool {
    scene.dockerfile("FROM BASE\nRUN true\n");
    let run = scene.build(&["-o", "type=cacheonly", "--memory=1g", "--cpus=1"]);
    run.status.code() == Some(0) || tools::skip(&format!("RUN steps cannot be limited: {}", run.stderr))
}

/// Control groups that archway has made and that are still there.
fn groups() -> Vec<String> {
    fn find(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("archway-") {
                    found.push(name);
                } else {
                    find(&entry.path(), found);
                }
            }
        }
    }
    let mut found = Vec::new();
    find(Path::new("/sys/fs/cgroup"), &mut found);
    found
}

#[test]
fn a_step_that_needs_more_memory_is_killed_and_the_build_says_why() {
    let Some(scene) = Scene::new() else { return };
    if !are_possible(&scene) {
        return;
    }
    // tail keeps a line without an end in memory.
    scene.dockerfile("FROM BASE\nRUN echo small\nRUN head -c 200000000 /dev/zero | tail -n 1 > /dev/null\n");
    let arguments = ["-o", "type=cacheonly", "--metadata-file=meta.json"];
    let run = scene.build(&[&arguments[..], &["-m", "32m"]].concat()).exited(1);
    assert!(run.stderr.contains("the command used more memory than a step may"), "{}", run.stderr);
    assert!(run.stderr.contains("raise --memory"), "{}", run.stderr);
    assert_eq!(scene.json("meta.json")["archway.platforms"][0]["reason"], "OutOfMemory");
    // The limit is no part of the step's key: the first step is found.
    let run =
        scene.build(&[&arguments[..], &["--resource=memory=1g", "--progress=plain"]].concat()).succeeded();
    assert!(run.stderr.contains("cached"), "{}", run.stderr);
}

#[test]
fn groups_go_with_their_steps() {
    let Some(scene) = Scene::new() else { return };
    if !are_possible(&scene) {
        return;
    }
    scene.dockerfile("FROM BASE\nRUN echo done\nRUN false\n");
    scene.build(&["-o", "type=cacheonly", "--memory=1g", "--cpu-shares=512"]).exited(1);
    let mut build = scene.cli.command();
    build
        .args(["build", "-o", "type=cacheonly", "--memory=1g", "."])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut build = build.spawn().unwrap();
    let mine = format!("archway-{}-", build.id());
    build.wait().unwrap();
    assert!(!groups().iter().any(|name| name.starts_with(&mine)), "{:?}", groups());
}

#[test]
fn a_killed_build_leaves_neither_processes_nor_groups() {
    let Some(scene) = Scene::new() else { return };
    if !are_possible(&scene) {
        return;
    }
    scene.dockerfile("FROM BASE\nRUN echo asleep; sleep 1000000\n");
    let mut build = scene.cli.command();
    build.args(["build", "-o", "type=cacheonly", "--memory=1g", "--progress=plain", "."]);
    let mut build = build.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mine = format!("archway-{}-", build.id());
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("| asleep")), "the step ran");
    let is_there = || groups().iter().any(|name| name.starts_with(&mine));
    assert!(is_there());
    build.kill().unwrap();
    build.wait().unwrap();
    // The helper process, which outlives the build, removes them when the processes are gone.
    let started = Instant::now();
    while is_there() {
        assert!(started.elapsed() < LIMIT, "{:?}", groups());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_limit_that_cannot_be_kept_is_an_error_before_the_first_step() {
    let Some(scene) = Scene::rootless() else { return };
    scene.dockerfile("FROM BASE\nRUN echo ran\n");
    let run = scene.build(&["-o", "type=cacheonly", "--memory=1g", "--progress=plain"]);
    // A delegated group would do.
    if run.status.code() != Some(0) {
        let run = run.exited(1);
        assert!(run.stderr.contains("RUN steps cannot be limited here"), "{}", run.stderr);
        assert!(run.stderr.contains("systemd-run --user --scope"), "{}", run.stderr);
        assert!(!run.stderr.contains("| ran"), "{}", run.stderr);
    }
    let run = scene.build(&["--memory=0"]).exited(2);
    assert!(run.stderr.contains("--memory: `0` is no limit"), "{}", run.stderr);
}
