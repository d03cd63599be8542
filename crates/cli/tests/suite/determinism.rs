//! The same source gives the same digest: whatever the order of directories, the umask, the store, the
//! number of jobs, or the time.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::scene::{SIX, Scene, TWO};

const EPOCH: &str = "1700000000";

/// A build of the same files, made under other circumstances.
struct Circumstances {
    backwards: bool,
    umask: u32,
    jobs: &'static str,
}

const DIFFERENT: [Circumstances; 3] = [
    Circumstances { backwards: false, umask: 0o022, jobs: "1" },
    Circumstances { backwards: true, umask: 0o077, jobs: "8" },
    Circumstances { backwards: true, umask: 0o000, jobs: "2" },
];

/// Few enough entries for one block of a directory, which then lists them in the order of creation.
fn write_tree(scene: &Scene, backwards: bool) {
    let mut names: Vec<String> =
        (0..200).map(|number| format!("tree/d{}/a-longer-name-{number}", number % 7)).collect();
    if backwards {
        names.reverse();
    }
    for name in names {
        let file = scene.file(&name, &name.repeat(40));
        // The context's own modes count, whatever umask the tests run with.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(scene.cli.work().join("tree"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The digest of the index, built in a store of its own; `None` where the test is to be skipped.
fn digest(dockerfile: &str, platforms: &str, how: &Circumstances) -> Option<String> {
    let scene = Scene::new()?;
    write_tree(&scene, how.backwards);
    scene.dockerfile(dockerfile);
    let mut archway = scene.cli.command();
    archway.args(["build", "--jobs", how.jobs, "--platform", platforms, "-t", "app:1", "."]);
    archway.env("SOURCE_DATE_EPOCH", EPOCH);
    let output = with_umask(&archway, how.umask).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The same command, started by a shell that sets the umask.
fn with_umask(command: &Command, umask: u32) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("umask {umask:03o}; exec \"$@\"")).arg("sh");
    shell.arg(command.get_program()).args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap());
    shell
}

#[track_caller]
fn assert_same_digest(dockerfile: &str, platforms: &str) {
    let digests: Vec<Option<String>> =
        DIFFERENT.iter().map(|how| digest(dockerfile, platforms, how)).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:#?}");
}

#[test]
fn of_copied_files() {
    assert_same_digest("FROM BASE\nCOPY tree /tree\nCOPY tree/d1 tree/d2 /two/\nWORKDIR /made\n", SIX);
}

#[test]
fn of_what_programs_write() {
    let dockerfile = "FROM BASE\nCOPY tree /tree\n\
        RUN mkdir /new && for f in /tree/d3/*; do cp $f /new/; done && touch -d '2001-01-01 00:00:00' /new/old && umask > /new/umask\n\
        RUN rm -r /tree/d4 && chmod 4755 /bin/busybox && ln /new/umask /new/linked\n";
    assert_same_digest(dockerfile, TWO);
}

#[test]
fn another_epoch_is_another_image() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN echo x > /x\n");
    let build = |epoch: &str| {
        let mut archway = scene.cli.command();
        let output = archway.args(["build", "-t", "app:1", "."]).env("SOURCE_DATE_EPOCH", epoch).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let (first, second) = (build(EPOCH), build("1600000000"));
    assert_ne!(first, second, "also with everything in the cache");
    assert_eq!(first, build(EPOCH));
}
