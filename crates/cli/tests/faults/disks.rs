//! Disks that are full, wherever a build is by then, and disks that are read-only.

use std::{fs, process::Command};

use archway_testkit::{Cli, Random, cli::Run, tools};

use crate::place::{archway, is_ready, registry};

/// Of a disk; a build with enough room needs less.
const ENOUGH: &str = "200m";
const BUILD: &str =
    "\"$0\" build --quiet --build-arg=SOURCE_DATE_EPOCH=1700000000 --output type=oci,dest=LAYOUT,tar=false .";

/// A base to unpack, a copy, a step that writes, and layers of both.
const DOCKERFILE: &str = "FROM BASE\nCOPY noise /copied\nRUN cat /copied > /made\nCOPY noise /again/\n";

fn scene() -> Option<Cli> {
    let root = rustix::process::geteuid().is_root() || tools::skip("only root can mount a small disk");
    if !root || !is_ready() || !tools::require("unshare") {
        return None;
    }
    let cli = archway();
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.below(256) as u8).collect();
    cli.write("noise", noise).unwrap();
    cli.write("Dockerfile", DOCKERFILE.replace("BASE", &registry().reference("busybox"))).unwrap();
    fs::create_dir_all(cli.root()).unwrap();
    fs::create_dir_all(cli.work().join("disk")).unwrap();
    Some(cli)
}

/// Runs a script in a mount namespace of its own, with the environment of `archway`, which is `$0`.
fn script(cli: &Cli, text: &str) -> Run {
    let archway = cli.command();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", text]).arg(archway.get_program()).env_clear();
    shell.envs(archway.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.current_dir(cli.work()).output().unwrap();
    Run {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a build with a disk of its own at `place` gives: first with so much room, then with enough.
fn with_room(cli: &Cli, place: &str, kilobytes: u64, layout: &str) -> Run {
    let build = BUILD.replace("LAYOUT", layout);
    script(
        cli,
        &format!(
            "mount -t tmpfs -o size={kilobytes}k none \"{place}\" || exit 99\n\
             {build} && exit 98\n\
             mount -o remount,size={ENOUGH} \"{place}\" || exit 99\n\
             echo == >&2\n{build}"
        ),
    )
}

/// The digest of the build where there is room.
fn expected(cli: &Cli) -> String {
    let build = BUILD.replace("LAYOUT", "plenty");
    script(cli, &format!("mount -t tmpfs -o size={ENOUGH} none \"$ARCHWAY_ROOT\" || exit 99\n{build}"))
        .succeeded()
        .stdout
}

/// Disks from one that has no room for an empty store to one with room for the whole build.
fn sweep(place: &str, layout: &str) -> Vec<String> {
    let Some(cli) = scene() else { return Vec::new() };
    let expected = expected(&cli);
    let mut errors = Vec::new();
    for step in 1.. {
        let kilobytes = 400 * step;
        let run = with_room(&cli, place, kilobytes, layout);
        let _ = fs::remove_dir_all(cli.work().join("layout"));
        if run.status.code() == Some(98) {
            return errors;
        }
        assert!(run.status.success(), "{kilobytes} kB: {}\n{}", run.status, run.stderr);
        assert_eq!(run.stdout, expected, "{kilobytes} kB: {}", run.stderr);
        let (first, _) = run.stderr.split_once("==").expect("the mark between the builds");
        assert!(first.contains("error: "), "{kilobytes} kB: {first}");
        errors.push(first.to_owned());
        assert!(step < 200, "the build never has enough room");
    }
    errors
}

#[test]
fn a_store_that_is_full_at_any_moment_is_an_error_and_then_of_use() {
    let errors = sweep("$ARCHWAY_ROOT", "layout");
    for error in &errors {
        // The program of a step says it in its own words.
        let own = error.contains("No space left on device") && error.contains("exit code");
        assert!(own || error.contains("ARCHWAY_ROOT=DIR"), "no hint: {error}");
    }
    let moments: std::collections::BTreeSet<&str> =
        errors.iter().filter_map(|error| error.lines().find(|line| line.starts_with("error: "))).collect();
    println!("{moments:#?}");
    assert!(errors.is_empty() || moments.len() > 1, "only one moment was met: {moments:?}");
}

#[test]
fn a_layout_that_does_not_fit_is_an_error_and_then_written() {
    for error in sweep("disk", "disk/layout") {
        assert!(error.contains("disk/layout") && error.contains("No space left"), "{error}");
    }
}

#[test]
fn a_read_only_store_is_named() {
    let Some(cli) = scene() else { return };
    let build = BUILD.replace("LAYOUT", "layout");
    let text = format!(
        "mount -t tmpfs none \"$ARCHWAY_ROOT\" && mount -o remount,ro \"$ARCHWAY_ROOT\" || exit 99\n\
         {build} && exit 98; code=$?\n\
         mount -o remount,rw \"$ARCHWAY_ROOT\" || exit 99\n{build} || exit 97\nexit $code"
    );
    let run = script(&cli, &text).exited(1);
    let store = cli.root();
    assert!(run.stderr.contains(store.to_str().unwrap()), "{}", run.stderr);
    assert!(run.stderr.contains("read-only") && run.stderr.contains("ARCHWAY_ROOT=DIR"), "{}", run.stderr);
}
