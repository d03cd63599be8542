//! The same source gives the same digest: whatever the order of directories, the umask, the store, the
//! number of jobs, or the time.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use archway_testkit::process;

use crate::{
    readback::ImageIndex,
    scene::{SIX, Scene, TWO},
};

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

/// A result that was made before the epoch, and files of the context that are older, must not give other
/// bytes than a machine on which everything is new.
#[test]
fn of_what_is_older_than_the_epoch() {
    let Some((used, clean)) = Scene::new().zip(Scene::new()) else { return };
    const LATER: &str = "4102444800";
    let build = |scene: &Scene, epoch: &str| {
        scene.dockerfile("FROM BASE\nCOPY file /\nADD files.tar /unpacked/\nRUN echo x > /x && rm /file\n");
        let mut archway = scene.cli.command();
        let output =
            archway.args(["build", "-t", "app:1", "."]).env("SOURCE_DATE_EPOCH", epoch).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (scene, date) in [(&used, "2001-01-01"), (&clean, "2002-02-02")] {
        let file = scene.file("file", "content");
        scene.file("a", "in the archive");
        let work = scene.cli.work();
        let tar = ["--mtime=2003-03-03", "--owner=0", "--group=0", "--mode=644", "-cf", "files.tar", "a"];
        process::output(Command::new("tar").current_dir(&work).args(tar)).unwrap();
        process::output(Command::new("touch").args(["-d", date]).arg(&file)).unwrap();
    }
    build(&used, EPOCH);
    assert_eq!(build(&used, LATER), build(&clean, LATER));
}

#[test]
fn the_epoch_comes_from_the_command_line_the_dockerfile_or_the_environment() {
    let Some(scene) = Scene::new() else { return };
    let file = scene.file("file", "content");
    process::output(Command::new("touch").args(["-d", "1999-09-09"]).arg(&file)).unwrap();
    let build = |dockerfile: &str, arguments: &[&str], environment: Option<&str>, key: &str| {
        scene.dockerfile(dockerfile);
        let _ = fs::remove_dir_all(scene.cli.work().join("image"));
        let mut archway = scene.cli.command();
        let output = format!("type=oci,dest=image,tar=false{key}");
        archway.args(["build", "-o", &output]).args(arguments).arg(".");
        archway.envs(environment.map(|value| ("SOURCE_DATE_EPOCH", value)));
        let output = archway.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let image = ImageIndex::read(&format!("oci:{}", scene.cli.work().join("image").display()));
        let child = &image.children[0];
        (child.config["created"].as_str().unwrap_or_default().to_owned(), child.listing(0))
    };
    let plain = "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY file /\nLABEL epoch=$SOURCE_DATE_EPOCH\n";
    let global = format!("ARG SOURCE_DATE_EPOCH=1000000000\n{plain}");
    let argument = ["--build-arg", "SOURCE_DATE_EPOCH=1100000000"];
    let table: [(&str, &[&str], Option<&str>, &str); 5] = [
        (plain, &[], Some(EPOCH), "2023-11-14"),
        (plain, &argument, Some(EPOCH), "2004-11-09"),
        (&global, &[], None, "2001-09-09"),
        (&global, &[], Some(EPOCH), "2023-11-14"),
        (&global, &argument, None, "2004-11-09"),
    ];
    for (dockerfile, arguments, environment, day) in table {
        let (created, listing) = build(dockerfile, arguments, environment, "");
        assert!(created.starts_with(day), "{created} is not {day}");
        assert!(listing.contains(day), "{listing} is not of {day}");
    }
    // Files may keep their own times.
    let (created, listing) = build(plain, &[], Some(EPOCH), ",rewrite-timestamp=false");
    assert!(created.starts_with("2023-11-14") && listing.contains("1999-09-09"), "{created} {listing}");
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
