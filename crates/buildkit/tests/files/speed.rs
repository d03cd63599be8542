//! How long it takes to send a context, next to BuildKit's client.

use std::{fs, path::Path, process::Stdio, time::Instant};

use archway_buildkit::Solve;

use crate::scene::{Scene, lent};

const FILES: usize = 20_000;
const DOCKERFILE: &str = "FROM scratch\nCOPY wanted /\nCOPY . /\n";

/// Files of 4 KiB and less, a hundred in a directory. `name` makes them others than those of another context.
fn context(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        let parent = directory.path().join(format!("{}/{}", number / 2000, number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&parent).unwrap();
        }
        let line = format!("{name} {number}\n");
        fs::write(parent.join(number.to_string()), line.repeat(number % 256 + 1)).unwrap();
    }
    fs::write(directory.path().join("wanted"), name).unwrap();
    fs::write(directory.path().join("Dockerfile"), DOCKERFILE).unwrap();
    directory
}

#[test]
#[ignore = "minutes; prints times"]
fn a_context_of_many_files_next_to_buildctl() {
    let Some(scene) = Scene::start() else { return };
    let (own, theirs) = (context("own"), context("theirs"));
    let archway = || {
        let started = Instant::now();
        let lent = lent(DOCKERFILE, own.path());
        let sent = lent.sent.clone();
        scene.solve(Solve::default(), lent, "speed").unwrap();
        (started.elapsed().as_secs_f64(), format!("{} files, {} bytes", sent.files(), sent.bytes()))
    };
    let buildctl = || {
        let started = Instant::now();
        let mut command = scene.buildkit.buildctl();
        command.args(["build", "--frontend=dockerfile.v0"]);
        command.arg(format!("--local=context={}", theirs.path().display()));
        command.arg(format!("--local=dockerfile={}", theirs.path().display()));
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
        (started.elapsed().as_secs_f64(), String::new())
    };
    let change = |root: &Path, round: usize| {
        for number in 0..10 {
            fs::write(root.join(format!("0/0/{number}")), format!("changed {round}")).unwrap();
        }
    };
    let print = |what: &str, who: &str, (seconds, sent): (f64, String)| {
        println!("{what:<12}{who:<10}{seconds:>7.2} s  {sent}")
    };
    print("first", "archway", archway());
    print("first", "buildctl", buildctl());
    for round in 0..3 {
        print("unchanged", "archway", archway());
        print("unchanged", "buildctl", buildctl());
        change(own.path(), round);
        change(theirs.path(), round);
        print("ten changed", "archway", archway());
        print("ten changed", "buildctl", buildctl());
    }
}
