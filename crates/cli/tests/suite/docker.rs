//! `--load` into a real Docker daemon, started for the test on a socket of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use archway_testkit::tools;
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{Scene, TWO, needs_root};

/// Longer than any machine takes to start the daemon.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A Docker daemon without network, gone when dropped.
struct Daemon {
    process: Child,
    directory: TempDir,
}

impl Daemon {
    fn start() -> Self {
        // Below /tmp, since the path of a socket may have 107 bytes only.
        let directory = tempfile::Builder::new().prefix("awd").tempdir_in("/tmp").expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let log = fs::File::create(path("log")).expect("a log file");
        // Not the machine's settings.
        fs::write(path("config"), "{}").expect("a file of settings");
        let process = Command::new("dockerd")
            .args(["--host", &format!("unix://{}", path("s")), "--pidfile", &path("pid")])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--config-file",
                &path("config"),
            ])
            .stdin(Stdio::null())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("dockerd starts");
        let daemon = Self { process, directory };
        let started = Instant::now();
        while daemon.get("/_ping").is_none_or(|answer| answer != "OK") {
            let log = fs::read_to_string(daemon.directory.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < START_LIMIT, "dockerd does not answer:\n{log}");
            thread::sleep(Duration::from_millis(100));
        }
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// The body of the daemon's answer; `None` if it does not answer yet.
    fn get(&self, path: &str) -> Option<String> {
        let mut connection = UnixStream::connect(self.socket()).ok()?;
        // HTTP/1.0: the answer ends with the connection.
        write!(connection, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its own containerd, too.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

#[test]
fn this_machines_platform_is_loaded_into_docker() {
    let Some(scene) = Scene::new() else { return };
    if !needs_root() || !tools::require_each(&["dockerd", "containerd"]) {
        return;
    }
    let daemon = Daemon::start();
    scene.dockerfile("FROM BASE\nRUN uname -m > /machine\nENV LOADED=yes\nCMD [\"cat\", \"/machine\"]\n");
    let mut command = scene.cli.command();
    command.args(["build", "--load", "-t", "loaded:1", "--platform", TWO, "."]);
    command.env("DOCKER_HOST", format!("unix://{}", daemon.socket().display()));
    let run = command.output().expect("archway runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let image: Value = serde_json::from_str(&daemon.get("/images/loaded:1/json").unwrap()).unwrap();
    assert_eq!(image["RepoTags"][0], "loaded:1");
    assert_eq!(image["Os"], "linux");
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!(image["Architecture"], host);
    let env = image["Config"]["Env"].as_array().unwrap();
    assert!(env.iter().any(|variable| variable == "LOADED=yes"), "{env:?}");
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 2);
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    let mut command = scene.cli.command();
    command.args(["build", "--load", "-t", "loaded:1", "."]).env("DOCKER_HOST", "unix:///nowhere/d.sock");
    let run = command.output().expect("archway runs");
    let text = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{text}");
    assert!(text.contains("the Docker daemon at unix:///nowhere/d.sock did not load the image"), "{text}");
}
