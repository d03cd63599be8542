//! Secrets and SSH agents of this machine, in steps of a daemon.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use archway_buildkit::{
    Lent, SessionError, SolveError,
    session::{Directory, Secret},
};
use archway_report::Reason;
use archway_testkit::{
    buildkit::Options,
    process, tools,
    web::{Response, WebServer},
};
use tempfile::TempDir;

use crate::scene::{Scene, build, push};

const SECRET: &str = "nobody-should-ever-read-this";

fn secrets() -> Lent {
    let secret = Secret::new(SECRET.as_bytes()).unwrap();
    Lent { secrets: BTreeMap::from([("s".to_owned(), secret)]), ..Lent::default() }
}

/// Whether a file below `directory` holds the secret.
fn is_in(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => is_in(&path),
        false => fs::read(path).unwrap().windows(SECRET.len()).any(|window| window == SECRET.as_bytes()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_the_step_and_nowhere_else() {
    let Some(scene) = Scene::start(&[], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let from = scene.from();
    let dockerfile = format!(
        "{from}RUN --mount=type=secret,id=s test \"$(wc -c < /run/secrets/s)\" = {}\n\
         RUN --mount=type=secret,id=s,env=S test ${{#S}} = {}\n\
         RUN --mount=type=secret,id=other test ! -e /run/secrets/other\n",
        SECRET.len(),
        SECRET.len()
    );
    let built = build(&daemon, &dockerfile, push(&scene.open.reference("app:1")), secrets()).await;
    built.result.unwrap();
    assert!(!format!("{:?}", built.events).contains(SECRET));
    assert!(!is_in(&scene.open.storage()));

    // A step that gives it away is found by the same search.
    let dockerfile = format!("{from}RUN --mount=type=secret,id=s cat /run/secrets/s | tee /leak\n");
    let built = build(&daemon, &dockerfile, push(&scene.open.reference("leak:1")), secrets()).await;
    built.result.unwrap();
    assert!(format!("{:?}", built.events).contains(SECRET));
    assert!(is_in(&scene.open.storage()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_needs_and_was_not_lent_is_named() {
    let Some(scene) = Scene::start(&[], Options::default()) else { return };
    let daemon = scene.daemon().await;
    for (mount, lent, is_named) in [
        ("type=secret,id=x,required=true", Lent::default(), true),
        ("type=secret,id=x,required=true", secrets(), true),
        ("type=ssh,id=x,required=true", Lent::default(), true),
        ("type=secret,id=x", Lent::default(), false),
        ("type=ssh,id=x", Lent::default(), false),
    ] {
        let dockerfile = format!("{}RUN --mount={mount} true\n", scene.from());
        let result = build(&daemon, &dockerfile, Vec::new(), lent).await.result;
        match (is_named, result) {
            (false, result) => drop(result.unwrap()),
            (true, Err(SolveError::Session { source, reason, failed, .. })) => {
                assert!(matches!(source, SessionError::NoSecret { .. } | SessionError::NoAgent { .. }));
                assert!(source.to_string().contains("`x` was not given"), "{source}");
                assert_eq!(reason, Reason::StepFailed);
                assert!(failed.step.unwrap().contains("RUN --mount"));
            }
            (true, result) => panic!("{mount}: {result:?}"),
        }
    }
}

/// An `ssh-agent` with one key; it ends with the test.
struct Agent {
    process: Child,
    directory: TempDir,
}

impl Agent {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("archway-agent-").tempdir().unwrap();
        let (socket, key) = (directory.path().join("socket"), directory.path().join("key"));
        let mut generate = Command::new("ssh-keygen");
        process::output(generate.args(["-q", "-t", "ed25519", "-N", "", "-C", "lent", "-f"]).arg(&key))
            .unwrap();
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let agent = Self { process, directory };
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        process::output(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", socket)).unwrap();
        agent
    }

    fn lent(&self, id: &str) -> Lent {
        Lent {
            ssh: BTreeMap::from([(id.to_owned(), self.directory.path().join("socket"))]),
            ..Lent::default()
        }
    }

    /// Connections to it: sockets besides the one it listens on.
    fn connections(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count() - 1
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `ssh-add` and its libraries, on the web, and what puts them into an image.
fn ssh_add() -> (WebServer, String) {
    let program = tools::find("ssh-add").unwrap();
    let libraries = process::output(Command::new("ldd").arg(&program)).unwrap();
    let libraries = String::from_utf8(libraries).unwrap();
    let paths: Vec<String> = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .chain([program.display().to_string()])
        .collect();
    let web = WebServer::start(|request| match fs::read(&request.path) {
        Ok(bytes) => Response::new(200, bytes),
        Err(error) => Response::new(404, error.to_string()),
    });
    let web = web.unwrap();
    let adds: Vec<String> =
        paths.iter().map(|path| format!("ADD --chmod=755 {} {path}\n", web.url(path))).collect();
    (web, adds.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_speaks_to_the_agent_of_this_machine() {
    if !tools::require_each(&["ssh-agent", "ssh-add", "ssh-keygen", "ldd"]) {
        return;
    }
    let Some(scene) = Scene::start(&[], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let agent = Agent::start();
    let (_web, adds) = ssh_add();
    // As many connections as a step likes, also at the same time.
    let ask = "ssh-add -l | grep lent && { ssh-add -l & ssh-add -l; wait; }";
    for (mount, id) in [("type=ssh,required=true", "default"), ("type=ssh,id=deploy,required=true", "deploy")]
    {
        let dockerfile = format!("{}{adds}RUN --mount={mount} {ask}\n", scene.from());
        let built = build(&daemon, &dockerfile, Vec::new(), agent.lent(id)).await;
        built.result.unwrap();
        assert!(format!("{:?}", built.events).contains("ED25519"));
    }
    // It sees a connection's end a moment later.
    for _ in 0..500 {
        if agent.connections() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} connections to the agent stay open", agent.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_gone_hangs_up() {
    if !tools::require_each(&["ssh-add", "ldd"]) {
        return;
    }
    let Some(scene) = Scene::start(&[], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let (_web, adds) = ssh_add();
    let socket = PathBuf::from("/nonexistent/agent");
    let lent = Lent { ssh: BTreeMap::from([("default".to_owned(), socket)]), ..Lent::default() };
    let dockerfile = format!("{}{adds}RUN --mount=type=ssh ssh-add -l\n", scene.from());
    let error = build(&daemon, &dockerfile, Vec::new(), lent).await.result.unwrap_err();
    assert!(
        matches!(&error, SolveError::Exit { code: 2, .. } | SolveError::Exit { code: 1, .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_lent_after_a_build() {
    let Some(scene) = Scene::start(&[], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let text: Arc<str> = "text".into();
    let directory = Directory::Texts(BTreeMap::from([("file".to_owned(), text.clone())]));
    let lent = Lent { directories: BTreeMap::from([("other".to_owned(), directory)]), ..Lent::default() };
    build(&daemon, &scene.from(), Vec::new(), lent).await.result.unwrap();
    // The connection stays; the session ends a moment after the build.
    for _ in 0..500 {
        if Arc::strong_count(&text) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the session goes on");
}

#[test]
fn a_secret_that_no_daemon_takes_is_refused_before_the_build() {
    assert!(Secret::new(vec![0; Secret::MAX_SIZE]).is_ok());
    let error = Secret::new(vec![0; Secret::MAX_SIZE + 1]).unwrap_err();
    assert_eq!(error.to_string(), "it has 512001 bytes; a BuildKit daemon takes 500 KiB");
}
