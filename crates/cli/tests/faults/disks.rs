//! Disks that are full, wherever a build is by then, and disks that are read-only.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    process::Command,
};

use archway_testkit::{Cli, Random, cli::Run, tools};

use crate::place::{BINARY, archway, is_ready, registry};

/// Of a disk; a build with enough room needs less.
const ENOUGH: &str = "200m";
const BUILD: &str = "\"$0\" \"$@\" build --quiet --build-arg=SOURCE_DATE_EPOCH=1700000000 --output type=oci,dest=LAYOUT,tar=false .";

/// A base to unpack, a copy, a step that writes, and layers of both.
const DOCKERFILE: &str = "FROM BASE\nCOPY noise /copied\nRUN cat /copied > /made\nCOPY noise /again/\n";

/// Who builds. The disk is theirs; root mounts it.
#[derive(Debug, Clone, Copy)]
enum Builder {
    Root,
    User,
}

fn scene(builder: Builder) -> Option<Cli> {
    let root = rustix::process::geteuid().is_root() || tools::skip("only root can mount a small disk");
    if !root || !is_ready() || !tools::require("unshare") {
        return None;
    }
    let cli = match builder {
        Builder::Root => archway(),
        Builder::User => Cli::rootless(BINARY).expect("a directory for the test")?,
    };
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.below(256) as u8).collect();
    cli.write("noise", noise).unwrap();
    cli.write("Dockerfile", DOCKERFILE.replace("BASE", &registry().reference("busybox"))).unwrap();
    for directory in [cli.root(), cli.work().join("disk")] {
        fs::create_dir_all(&directory).unwrap();
        let owner = fs::metadata(cli.work()).unwrap();
        chown(&directory, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    Some(cli)
}

/// The mount of a disk of the builder's with other options, or `exit 99`.
fn mount(cli: &Cli, options: &str, place: &str) -> String {
    let owner = fs::metadata(cli.work()).unwrap();
    let (uid, gid) = (owner.uid(), owner.gid());
    format!("mount -t tmpfs -o {options},uid={uid},gid={gid},mode=0700 none \"{place}\" || exit 99\n")
}

/// Runs a script in a mount namespace of its own, with the environment of `archway`, which is `$0`.
fn script(cli: &Cli, text: &str) -> Run {
    let archway = cli.command();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", text]).arg(archway.get_program()).args(archway.get_args()).env_clear();
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
    let mount = mount(cli, &format!("size={kilobytes}k"), place);
    script(
        cli,
        &format!(
            "{mount}{build} && exit 98\n\
             mount -o remount,size={ENOUGH} \"{place}\" || exit 99\n\
             echo == >&2\n{build}"
        ),
    )
}

/// The digest of the build where there is room.
fn expected(cli: &Cli) -> String {
    let build = BUILD.replace("LAYOUT", "plenty");
    script(cli, &(mount(cli, &format!("size={ENOUGH}"), "$ARCHWAY_ROOT") + &build)).succeeded().stdout
}

/// Disks from one that has no room for an empty store to one with room for the whole build.
fn sweep(builder: Builder, place: &str, layout: &str) -> Vec<String> {
    let Some(cli) = scene(builder) else { return Vec::new() };
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

fn fill_the_store(builder: Builder) {
    let errors = sweep(builder, "$ARCHWAY_ROOT", "layout");
    for error in &errors {
        // The program of a step says it in its own words.
        let own = error.contains("No space left on device") && error.contains("exit code");
        assert!(own || error.contains("ARCHWAY_ROOT=DIR"), "no hint: {error}");
    }
    let moments: BTreeSet<&str> =
        errors.iter().filter_map(|error| error.lines().find(|line| line.starts_with("error: "))).collect();
    println!("{moments:#?}");
    assert!(errors.is_empty() || moments.len() > 1, "only one moment was met: {moments:?}");
}

#[test]
fn a_store_that_is_full_at_any_moment_is_an_error_and_then_of_use() {
    fill_the_store(Builder::Root);
}

#[test]
fn a_store_of_a_normal_user_that_is_full_at_any_moment_is_an_error_and_then_of_use() {
    fill_the_store(Builder::User);
}

#[test]
fn a_layout_that_does_not_fit_is_an_error_and_then_written() {
    for error in sweep(Builder::Root, "disk", "disk/layout") {
        assert!(error.contains("disk/layout") && error.contains("No space left"), "{error}");
    }
}

fn make_the_store_read_only(builder: Builder) {
    let Some(cli) = scene(builder) else { return };
    let build = BUILD.replace("LAYOUT", "layout");
    let mount = mount(&cli, &format!("size={ENOUGH}"), "$ARCHWAY_ROOT");
    let text = format!(
        "{mount}mount -o remount,ro \"$ARCHWAY_ROOT\" || exit 99\n\
         {build} && exit 98; code=$?\n\
         mount -o remount,rw \"$ARCHWAY_ROOT\" || exit 99\n{build} || exit 97\nexit $code"
    );
    let run = script(&cli, &text).exited(1);
    let store = cli.root();
    assert!(run.stderr.contains(store.to_str().unwrap()), "{}", run.stderr);
    assert!(run.stderr.contains("read-only") && run.stderr.contains("ARCHWAY_ROOT=DIR"), "{}", run.stderr);
}

#[test]
fn a_read_only_store_is_named() {
    make_the_store_read_only(Builder::Root);
}

#[test]
fn a_read_only_store_of_a_normal_user_is_named() {
    make_the_store_read_only(Builder::User);
}
