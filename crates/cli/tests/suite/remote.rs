//! Sources that are not on this machine: repositories and files behind URLs.

use std::{fs, os::unix::fs::MetadataExt as _};

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
