//! ADD of repositories and downloads.

use archway_engine::StepError;
use archway_oci::Platform;
use archway_report::Reason;
use archway_testkit::{GitServer, WebServer, image::LayerBuilder, tools, web::Response};

use crate::workshop::{Workshop, attributes, is_root, read, write};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test]
async fn a_download_has_its_name_mode_owner_and_time() {
    if !is_root() {
        return;
    }
    let server = WebServer::start(|_| Response::new(200, "hello").header("Last-Modified", MODIFIED)).unwrap();
    let workshop = Workshop::new();
    let (one, star) = (server.url("/dir/one.txt"), server.url("/dir/%2A%5B"));
    let dockerfile = format!(
        "FROM scratch\nADD {one} /file\nADD {one} {star} /d/\nADD --chmod=755 --chown=7:8 {one} /other\n"
    );
    let view = workshop.view(&workshop.build(&dockerfile).await.unwrap()).await;
    assert_eq!(attributes(&view, "/file"), (0o600, 0, 0));
    assert_eq!(view.stat("/file").unwrap().unwrap().st_mtime, 784_111_777);
    assert_eq!(read(&view, "/d/one.txt").as_deref(), Some("hello"));
    assert_eq!(read(&view, "/d/*[").as_deref(), Some("hello"));
    assert_eq!(attributes(&view, "/other"), (0o755, 7, 8));
    // One node for three instructions.
    let asked = server.requests().iter().filter(|request| request.path == "/dir/one.txt").count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_download_is_asked_for_again_and_taken_again_only_if_it_changed() {
    if !is_root() {
        return;
    }
    let server = WebServer::start(|request| match (request.path.as_str(), request.header("if-none-match")) {
        ("/same", Some("\"1\"")) => Response::new(304, ""),
        (path, _) => Response::new(200, path).header("ETag", "\"1\""),
    })
    .unwrap();
    let workshop = Workshop::new();
    let dockerfile = format!("FROM scratch\nADD {} /file\n", server.url("/same"));
    for _ in 0..2 {
        let view = workshop.view(&workshop.build(&dockerfile).await.unwrap()).await;
        assert_eq!(read(&view, "/file").as_deref(), Some("/same"));
    }
    let validators: Vec<_> =
        server.requests().iter().map(|request| request.header("if-none-match").map(str::to_owned)).collect();
    assert_eq!(validators, [None, Some("\"1\"".to_owned())]);
}

#[tokio::test]
async fn what_has_a_checksum_is_asked_for_once_and_verified() {
    if !is_root() {
        return;
    }
    let server = WebServer::start(|_| Response::new(200, "hello").header("ETag", "\"1\"")).unwrap();
    let workshop = Workshop::new();
    let sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let add = |sum: &str| format!("FROM scratch\nADD --checksum={sum} {} /file\n", server.url("/a"));
    for _ in 0..2 {
        workshop.build(&add(sum)).await.unwrap();
    }
    assert_eq!(server.requests().len(), 1);
    // Nor does what is known of the URL stand in for what has to be.
    let wrong = sum.replace("2cf2", "2cf3");
    let failure = workshop.build(&add(&wrong)).await.unwrap_err();
    assert!(matches!(&*failure.error, StepError::Download(_)), "{failure:?}");
    assert_eq!(failure.error.reason(), Reason::SourceMissing);
}

#[tokio::test]
async fn an_archive_is_unpacked_if_asked_for() {
    if !is_root() {
        return;
    }
    let layer = LayerBuilder::new().file("in/file", 0o640, b"unpacked").unwrap().finish().unwrap();
    let bytes = layer.bytes.clone();
    let server = WebServer::start(move |_| Response::new(200, bytes.clone())).unwrap();
    let workshop = Workshop::new();
    let url = server.url("/a.tgz");
    let dockerfile = format!("FROM scratch\nADD {url} /plain/\nADD --unpack=true {url} /unpacked/\n");
    let view = workshop.view(&workshop.build(&dockerfile).await.unwrap()).await;
    assert_eq!(read(&view, "/unpacked/in/file").as_deref(), Some("unpacked"));
    assert_eq!(view.stat("/plain/a.tgz").unwrap().unwrap().st_size, layer.bytes.len() as i64);
}

#[tokio::test]
async fn a_repository_is_added_without_git_and_resolved_once_for_all_platforms() {
    if !is_root() || !tools::require("git") {
        return;
    }
    let server = GitServer::start().unwrap();
    let repository = server.repository("app").unwrap();
    repository.write("dir/file", "one");
    repository.commit("one").unwrap();
    let workshop = Workshop::new();
    write(workshop.context().join("local"), "here");
    let dockerfile = format!("FROM scratch\nADD {0} local /src/\nADD {0}#main:dir /sub\n", server.url("app"));
    let platforms = ["linux/amd64", "linux/arm64"].map(|name| name.parse::<Platform>().unwrap());
    for run in workshop.start(&dockerfile, &platforms) {
        let built = run.result.await.unwrap();
        let view = workshop.view(&built).await;
        assert_eq!(read(&view, "/src/dir/file").as_deref(), Some("one"));
        assert_eq!(read(&view, "/src/local").as_deref(), Some("here"));
        assert_eq!(read(&view, "/sub/file").as_deref(), Some("one"));
        assert!(view.stat("/src/.git").unwrap().is_none());
        assert_eq!(attributes(&view, "/src/dir/file"), (0o644, 0, 0));
    }
    let asked = server.requests().len();
    // A commit that is here is not fetched again: its branch alone is asked for.
    workshop.build(&format!("FROM scratch\nADD {} /src/\n", server.url("app"))).await.unwrap();
    let packs = server.requests().iter().skip(asked).filter(|request| request.method == "POST").count();
    assert_eq!(packs, 1, "{:?}", &server.requests()[asked..]);

    repository.write("dir/file", "two");
    repository.commit("two").unwrap();
    let built = workshop.build(&format!("FROM scratch\nADD {} /src/\n", server.url("app"))).await.unwrap();
    assert_eq!(read(&workshop.view(&built).await, "/src/dir/file").as_deref(), Some("two"));
}

#[tokio::test]
async fn a_branch_that_is_not_there_fails_the_step() {
    if !is_root() || !tools::require("git") {
        return;
    }
    let server = GitServer::start().unwrap();
    server.repository("app").unwrap().commit("one").unwrap();
    let dockerfile = format!("FROM scratch\nADD {}#nothing /src/\n", server.url("app"));
    let failure = Workshop::new().build(&dockerfile).await.unwrap_err();
    assert!(matches!(&*failure.error, StepError::Git(_)), "{failure:?}");
    assert_eq!(failure.error.reason(), Reason::SourceMissing);
}
