//! Daemons behind `ssh`.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use archway_buildkit::{ConnectError, Daemon, Lent};
use archway_testkit::{buildkit::Options, tools};
use tempfile::TempDir;

use crate::scene::{Scene, build, node};

/// Names the endpoint in the processes that [`connect`] starts.
const ENDPOINT: &str = "ARCHWAY_TEST_SSH_ENDPOINT";
/// Names the Dockerfile's `FROM` line there; without, nothing is built.
const FROM: &str = "ARCHWAY_TEST_SSH_FROM";

/// Runs [`child`] in a process of its own, as `PATH` belongs to a whole process, whose `ssh` is `script` and which
/// finds `buildctl` in `programs`.
fn connect(script: &str, programs: Option<&Path>, endpoint: &str, from: Option<&str>) -> (TempDir, Output) {
    let directory = tempfile::tempdir().unwrap();
    let ssh = directory.path().join("ssh");
    fs::write(&ssh, format!("#!/bin/sh\necho \"$@\" >> {}\n{script}", arguments(&directory).display()))
        .unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let paths = env::var_os("PATH").unwrap();
    let own = [Some(directory.path()), programs].into_iter().flatten().map(Path::to_owned);
    let paths = own.chain(env::split_paths(&paths));
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "endpoints::child", "--ignored", "--nocapture"]);
    command.env("PATH", env::join_paths(paths).unwrap()).env(ENDPOINT, endpoint);
    match from {
        Some(from) => command.env(FROM, from),
        None => command.env_remove(FROM),
    };
    let output = command.output().unwrap();
    (directory, output)
}

fn arguments(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("arguments")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests, in a process with an `ssh` of theirs"]
async fn child() {
    let daemon = match Daemon::connect(&node(&env::var(ENDPOINT).unwrap())).await {
        Ok(daemon) => daemon,
        Err(error) => {
            println!("{}: {error}", if matches!(error, ConnectError::Ssh { .. }) { "ssh" } else { "other" });
            return;
        }
    };
    println!("connected to {}", daemon.version());
    if let Ok(from) = env::var(FROM) {
        let built = build(&daemon, &format!("{from}RUN echo hello\n"), Vec::new(), Lent::default()).await;
        println!("built: {:?}", built.result);
    }
}

/// What the SSH server of the other machine does: its shell gets one line.
const REMOTE: &str = "while [ \"$1\" != -- ]; do shift; done; shift 2; exec sh -c \"$*\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_reached_through_ssh() {
    let Some(scene) = Scene::start(&[], Options::default()) else { return };
    let socket = scene.buildkit.socket();
    let buildctl = scene.buildkit.buildctl();
    let programs = Path::new(buildctl.get_program()).parent();
    let endpoint = format!("ssh://ci@arm-1:2222{}", socket.display());
    let (directory, output) = connect(REMOTE, programs, &endpoint, Some(&scene.from()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("connected to v0") && text.contains("built: Ok("), "{output:?}");
    let arguments = fs::read_to_string(arguments(&directory)).unwrap();
    let socket = socket.display();
    let expected =
        format!("-T -o BatchMode=yes -p 2222 -- ci@arm-1 buildctl --addr 'unix://{socket}' dial-stdio\n");
    assert_eq!(arguments, expected);
}

#[test]
fn why_ssh_ended_is_told() {
    if !tools::require("sh") {
        return;
    }
    for (script, why) in [
        ("echo 'ci@arm-1: Permission denied (publickey).' >&2; exit 255\n", "Permission denied (publickey)"),
        ("echo 'sh: buildctl: not found' >&2; exit 127\n", "buildctl: not found"),
        // It is quiet for a moment, and has read what it was sent.
        ("head -c 24 > /dev/null; echo 'Connection closed' >&2; exit 255\n", "Connection closed"),
    ] {
        let (_directory, output) = connect(script, None, "ssh://ci@arm-1", None);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = "ssh: ssh to ssh://ci@arm-1 ended: ";
        assert!(text.contains(expected) && text.contains(why), "{output:?}");
    }
}

#[test]
fn a_machine_without_ssh_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "endpoints::child", "--ignored", "--nocapture"]);
    command.env("PATH", Path::new(directory.path())).env(ENDPOINT, "ssh://ci@arm-1").env_remove(FROM);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("other: ssh://ci@arm-1 cannot be reached"), "{output:?}");
}
