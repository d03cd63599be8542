//! Sources that are not on this machine: repositories and files behind URLs.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use archway_testkit::{GitServer, WebServer, tools, web::Response};

use crate::scene::{Scene, TWO};

fn read(scene: &Scene, path: &str) -> String {
    fs::read_to_string(scene.cli.work().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Adds a download and a repository, for two platforms.
fn adds(scene: Option<Scene>) {
    let Some(scene) = scene.filter(|_| tools::require("git")) else { return };
    let web = WebServer::start(|_| Response::new(200, "downloaded")).unwrap();
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    repository.write("dir/file", "committed");
    repository.commit("one").unwrap();
    let (url, app) = (web.url("/name.txt"), git.url("app"));
    scene.file("Dockerfile", &format!("FROM scratch\nADD {url} /d/\nADD {app}#main:dir /sub\n"));
    let arguments = ["--platform", TWO, "--progress=plain", "-o", "out"];
    let run = scene.build(&arguments).succeeded();
    for platform in ["linux_amd64", "linux_arm64"] {
        assert_eq!(read(&scene, &format!("out/{platform}/d/name.txt")), "downloaded");
        assert_eq!(read(&scene, &format!("out/{platform}/sub/file")), "committed");
    }
    let name = scene.cli.work().join("out/linux_amd64/d/name.txt");
    assert_eq!(fs::metadata(name).unwrap().mode() & 0o777, 0o600);
    assert!(run.stderr.contains(&format!("[all 1/4] download {url}")), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("[all 3/4] fetch {app}#main:dir")), "{}", run.stderr);
    assert!(run.stderr.contains("[downloaded] name.txt"), "{}", run.stderr);
    assert_eq!(web.requests().len(), 1);
    // A plan asks nobody.
    let asked = git.requests().len();
    let plan = scene.archway(&["plan", "--platform", TWO, "."]).succeeded();
    assert!(plan.stdout.contains(&format!("download {url}")), "{}", plan.stdout);
    assert_eq!((web.requests().len(), git.requests().len()), (1, asked));
}

#[test]
fn downloads_and_repositories_are_added_once_for_all_platforms() {
    adds(Scene::new());
}

#[test]
fn downloads_and_repositories_are_added_by_a_normal_user() {
    adds(Scene::rootless());
}

#[test]
fn builds_at_the_same_time_share_what_is_fetched() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let web = WebServer::start(|_| Response::new(200, "downloaded").header("ETag", "\"1\"")).unwrap();
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    let commits: Vec<String> = (0..3)
        .map(|number| {
            repository.write("file", &number.to_string());
            repository.commit("more").unwrap()
        })
        .collect();
    let (url, app) = (web.url("/name"), git.url("app"));
    std::thread::scope(|scope| {
        for number in 0..6 {
            let commit = &commits[number % commits.len()];
            let text = format!("FROM scratch\nADD {url} /\nADD {app}#{commit} /\n");
            scene.file(&format!("{number}/Dockerfile"), &text);
            let scene = &scene;
            scope.spawn(move || {
                let (context, out) = (number.to_string(), format!("out{number}"));
                scene.archway(&["build", "-q", "-o", &out, &context]).succeeded();
                assert_eq!(read(scene, &format!("{out}/file")), (number % 3).to_string());
                assert_eq!(read(scene, &format!("{out}/name")), "downloaded");
            });
        }
    });
}

#[test]
fn what_is_not_there_is_told_at_its_line() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let git = GitServer::start().unwrap();
    git.repository("app").unwrap().commit("one").unwrap();
    scene.file("Dockerfile", &format!("FROM scratch\nADD {}#mian /\n", git.url("app")));
    let run = scene.build(&["-q"]).exited(1);
    assert!(run.stderr.contains("has no branch or tag `mian`"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `main`?"), "{}", run.stderr);
    assert!(run.stderr.contains("Dockerfile:2:"), "{}", run.stderr);
}

/// `x-access-token:hunter2`
const BASIC: &str = "basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==";

#[test]
fn secrets_are_sent_to_their_hosts_and_left_nowhere() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let git = GitServer::with_authorization(Some(BASIC.to_owned())).unwrap();
    let repository = git.repository("app").unwrap();
    repository.write("Dockerfile", "FROM scratch\nARG URL\nADD $URL /downloaded\nCOPY file /\n");
    repository.write("file", "committed");
    repository.commit("one").unwrap();
    let web = WebServer::start(|request| match request.header("authorization") {
        Some("Bearer hunter2") => Response::new(200, "downloaded"),
        _ => Response::new(401, ""),
    })
    .unwrap();
    let url = web.url("/file");
    let url = format!("URL={url}");
    let build = |secrets: &[&str]| {
        let mut command = scene.cli.command();
        command.args(["build", "--progress=rawjson", "-o", "out", "--build-arg", &url]);
        for secret in secrets {
            command.args(["--secret", &format!("id={secret},env=TOKEN")]);
        }
        let output = command.arg(git.url("app")).env("TOKEN", "hunter2").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (built, said) = build(&[]);
    assert!(!built && said.contains("--secret id=GIT_AUTH_TOKEN,"), "{said}");
    let (built, said) = build(&["GIT_AUTH_TOKEN"]);
    assert!(!built && said.contains("--secret id=HTTP_AUTH_TOKEN_127.0.0.1,"), "{said}");
    let scoped = format!("GIT_AUTH_TOKEN.{}", git.host());
    let (built, said) = build(&[&scoped, "HTTP_AUTH_TOKEN_127.0.0.1"]);
    assert!(built, "{said}");
    assert_eq!(read(&scene, "out/downloaded"), "downloaded");
    assert_eq!(read(&scene, "out/file"), "committed");
    assert!(!said.contains("hunter2"), "{said}");
    let found =
        std::process::Command::new("grep").args(["-r", "-l", "hunter2"]).arg(scene.cli.root()).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
}

/// An `ssh` that connects to this machine, and notes how it was called.
const SSH: &str = "#!/bin/sh\nprintf '%s\\n' \"agent=$SSH_AUTH_SOCK\" \"$@\" > \"$(dirname \"$0\")/called\"\n\
    for last; do :; done\nexec sh -c \"$last\"\n";

#[test]
fn repositories_are_fetched_by_ssh_with_the_agent_that_is_lent() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    repository.write("file", "committed");
    repository.commit("one").unwrap();
    let program = scene.file("bin/ssh", SSH);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let agent = scene.cli.work().join("agent");
    let _listening = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let remote = format!("git@example.com:{}", repository.path().display());
    scene.file("Dockerfile", &format!("FROM scratch\nADD {remote} /app\n"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    for (arguments, lent) in [(&[][..], ""), (&["--ssh", "default"][..], agent.to_str().unwrap())] {
        let mut command = scene.cli.command();
        command.args(["build", "-q", "--no-cache", "-o", "out"]).args(arguments).arg(".");
        command.env("PATH", &path).env("SSH_AUTH_SOCK", &agent);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(read(&scene, "out/app/file"), "committed");
        let called = read(&scene, "bin/called");
        assert!(called.starts_with(&format!("agent={lent}\n")), "{called}");
        // Nobody is asked, and nothing of the user's configuration counts.
        for option in ["BatchMode=yes", "StrictHostKeyChecking=accept-new", "/dev/null", "git@example.com"] {
            assert!(called.lines().any(|line| line == option), "{option}: {called}");
        }
    }
}
