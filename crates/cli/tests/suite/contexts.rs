//! Every kind of build context, and where the Dockerfile is then.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use archway_oci::Digest;
use archway_testkit::{
    GitServer, WebServer,
    cli::Run,
    tools,
    tree::{Entry, Kind, Tree},
    web::Response,
};
use tempfile::TempDir;

use crate::{readback::ImageIndex, scene::Scene};

const DOCKERFILE: &str = "FROM scratch\nCOPY . /c/\n";

/// A context that is an archive: a Dockerfile, one beside it, a file that is ignored, one of 7:8.
fn archive(flags: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("Dockerfile", DOCKERFILE),
        ("other/Dockerfile", "FROM scratch\nCOPY file /other\n"),
        (".dockerignore", "file\n"),
        ("file", "text"),
    ] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.args(["--owner=7", "--group=8", "--mode=go+rX", flags, "-", "-C"]).arg(directory.path()).arg(".");
    let output = tar.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `archway build ARGUMENTS -o out.tar` with something on standard input.
fn piped(scene: &Scene, arguments: &[&str], input: &[u8]) -> Run {
    let mut command = scene.cli.command();
    command.args(["build", "-q", "-o", "type=tar,dest=out.tar"]).args(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // A run that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Run {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn build(scene: &Scene, arguments: &[&str]) -> Run {
    scene.archway(&[&["build", "-q", "-o", "type=tar,dest=out.tar"], arguments].concat())
}

/// The files that were built.
fn built(scene: &Scene) -> Tree {
    Tree::of_tar(fs::File::open(scene.cli.work().join("out.tar")).unwrap()).unwrap()
}

#[track_caller]
fn entry<'t>(tree: &'t Tree, path: &str) -> &'t Entry {
    tree.entries.get(path).unwrap_or_else(|| panic!("{path} is missing in {:?}", tree.entries.keys()))
}

#[track_caller]
fn assert_file(tree: &Tree, path: &str, content: &str, owner: (u32, u32)) {
    let found = entry(tree, path);
    let digest = Digest::sha256(content.as_bytes());
    let Kind::File { sha256, .. } = &found.kind else { panic!("{path} is no file") };
    assert_eq!(format!("sha256:{sha256}"), digest.as_str(), "{path}");
    assert_eq!((found.uid, found.gid), owner, "{path}");
}

/// No file of a context that is being built from stays behind.
#[track_caller]
fn assert_tidy(scene: &Scene) {
    let sessions = fs::read_dir(scene.cli.root().join("sessions")).unwrap();
    let left: Vec<PathBuf> = sessions.map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn archives(scene: Option<Scene>, owner: (u32, u32)) {
    let Some(scene) = scene else { return };
    let tar = archive("-czf");
    let served = tar.clone();
    let web = WebServer::start(move |_| Response::new(200, served.clone())).unwrap();
    let url = web.url("/context.tgz");
    let whole = |tree: &Tree| {
        // `.dockerignore` is for directories of the user's.
        assert_file(tree, "c/file", "text", owner);
        assert_file(tree, "c/.dockerignore", "file\n", owner);
    };
    build(&scene, &[&url]).succeeded();
    whole(&built(&scene));
    piped(&scene, &["-"], &tar).succeeded();
    whole(&built(&scene));
    piped(&scene, &["-"], &archive("-cf")).succeeded();
    whole(&built(&scene));
    // The Dockerfile is one in the context.
    build(&scene, &["-f", "other/Dockerfile", &url]).succeeded();
    assert_file(&built(&scene), "other", "text", owner);
    piped(&scene, &["-f", "other/Dockerfile", "-"], &tar).succeeded();
    assert_file(&built(&scene), "other", "text", owner);
    // Or one of this machine, or on standard input.
    let own = scene.file("own", "FROM scratch\nCOPY file /own\n");
    build(&scene, &["-f", own.to_str().unwrap(), &url]).succeeded();
    assert_file(&built(&scene), "own", "text", owner);
    piped(&scene, &["-f", "-", &url], b"FROM scratch\nCOPY file /typed\n").succeeded();
    assert_file(&built(&scene), "typed", "text", owner);
    assert_tidy(&scene);
}

#[test]
fn an_archive_is_a_context_from_a_url_and_from_standard_input() {
    archives(Scene::new(), (7, 8));
}

#[test]
fn an_archive_is_a_context_for_a_normal_user() {
    archives(Scene::rootless(), (7, 8));
}

#[test]
fn a_dockerfile_alone_is_a_context() {
    let Some(scene) = Scene::new() else { return };
    piped(&scene, &["-"], b"FROM scratch\nCOPY <<x /y\ntext\nx\n").succeeded();
    assert_file(&built(&scene), "y", "text\n", (0, 0));
    let run = piped(&scene, &["-"], b"FROM scratch\nCOPY x /\n").exited(1);
    assert!(run.stderr.contains("`x` is not in the build context"), "{}", run.stderr);

    let web = WebServer::start(|_| Response::new(200, DOCKERFILE)).unwrap();
    build(&scene, &[&web.url("/Dockerfile")]).succeeded();
    // It is all the context there is.
    assert_file(&built(&scene), "c/context", DOCKERFILE, (0, 0));
    build(&scene, &["-f", &web.url("/Dockerfile"), "."]).succeeded();
    assert_tidy(&scene);
}

#[test]
fn a_dockerfile_on_standard_input_is_for_a_directory() {
    let Some(scene) = Scene::new() else { return };
    scene.file("dir/kept", "text");
    scene.file("dir/left", "text");
    scene.file("dir/.dockerignore", "left\n");
    piped(&scene, &["-f", "-", "dir"], DOCKERFILE.as_bytes()).succeeded();
    let tree = built(&scene);
    assert_file(&tree, "c/kept", "text", (0, 0));
    assert!(!tree.entries.contains_key("c/left"));
}

#[test]
fn a_repository_is_a_context() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    repository.write("Dockerfile", DOCKERFILE);
    repository.write(".dockerignore", "file\n");
    repository.write("file", "one");
    repository.write("sub/dockerfile", "FROM scratch\nCOPY . /sub/\n");
    std::os::unix::fs::symlink("/etc/passwd", repository.files().join("outside")).unwrap();
    let first = repository.commit("one").unwrap();
    repository.write("file", "two");
    repository.commit("two").unwrap();
    let url = git.url("app");

    let run = scene.archway(&["build", "--progress=plain", "-o", "type=tar,dest=out.tar", &url]).succeeded();
    assert!(run.stderr.starts_with(&format!("[context] fetch {url}\n[context] done ")), "{}", run.stderr);
    let tree = built(&scene);
    assert_file(&tree, "c/file", "two", (0, 0));
    assert!(!tree.entries.keys().any(|path| path.starts_with("c/.git")));
    build(&scene, &[&format!("{url}#{first}")]).succeeded();
    assert_file(&built(&scene), "c/file", "one", (0, 0));
    build(&scene, &[&format!("{url}#main:sub")]).succeeded();
    entry(&built(&scene), "sub/dockerfile");
    build(&scene, &["-f", "sub/dockerfile", &url]).succeeded();
    entry(&built(&scene), "sub/file");
    build(&scene, &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url]).succeeded();
    entry(&built(&scene), "c/.git/HEAD");

    let run = build(&scene, &["-f", "outside", &url]).exited(1);
    assert!(run.stderr.contains("leads out of the build context"), "{}", run.stderr);
    let run = build(&scene, &["-f", "nowhere", &url]).exited(1);
    assert!(run.stderr.contains("cannot read the Dockerfile `nowhere`"), "{}", run.stderr);
    let run = build(&scene, &[&format!("{url}#nowhere")]).exited(1);
    assert!(run.stderr.contains("has no branch or tag `nowhere`"), "{}", run.stderr);
    let run = build(&scene, &[&format!("{url}?brnch=x")]).exited(2);
    assert!(run.stderr.contains("did you mean `branch`?"), "{}", run.stderr);
    assert_tidy(&scene);
}

#[test]
fn what_is_no_context_is_told_apart() {
    let Some(scene) = Scene::new() else { return };
    let web = WebServer::start(|request| match request.path.as_str() {
        "/page" => Response::new(200, "<!DOCTYPE html>\n<html></html>"),
        "/empty" => Response::new(200, ""),
        "/broken" => Response::new(200, [0x1f, 0x8b, 0x08, 0, 0]),
        "/file" => Response::new(200, DOCKERFILE),
        _ => Response::new(404, ""),
    })
    .unwrap();
    for (path, code, message) in [
        ("/page", 1, "is a web page"),
        ("/empty", 1, "is empty"),
        ("/broken", 1, "cannot unpack the build context"),
        ("/nowhere", 1, "the server answers 404"),
    ] {
        let run = build(&scene, &[&web.url(path)]).exited(code);
        assert!(run.stderr.contains(message), "{path}: {}", run.stderr);
    }
    let run = build(&scene, &["-f", "Dockerfile", &web.url("/file")]).exited(2);
    assert!(run.stderr.contains("`-f` names another one"), "{}", run.stderr);
    for (arguments, input, code, message) in [
        (&["-"][..], &b""[..], 1, "standard input is empty"),
        (&["-f", "-", "-"], b"FROM scratch\n", 2, "cannot be both"),
        (&["-f", "x", "-"], b"FROM scratch\n", 2, "`-f` names another one"),
    ] {
        let run = piped(&scene, arguments, input).exited(code);
        assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
    }
    let run = piped(&scene, &["-f", "-", "."], &archive("-cf")).exited(2);
    assert!(run.stderr.contains("standard input is an archive"), "{}", run.stderr);
    let run = build(&scene, &["ftp://example.com/x"]).exited(1);
    assert!(run.stderr.contains("is not a directory"), "{}", run.stderr);
    assert_tidy(&scene);
}

#[test]
fn an_archive_cannot_write_outside() {
    let Some(scene) = Scene::new() else { return };
    let directory: TempDir = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let (link, tar) = (directory.path().join("link"), directory.path().join("x.tar"));
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let run = |arguments: &[&str], at: &Path| {
        assert!(Command::new("tar").args(arguments).current_dir(at).status().unwrap().success());
    };
    fs::write(directory.path().join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    run(&["-cf", "x.tar", "Dockerfile", "link"], directory.path());
    fs::create_dir_all(directory.path().join("in/link")).unwrap();
    fs::write(directory.path().join("in/link/file"), "evil").unwrap();
    run(&["-rf", "../x.tar", "link/file"], &directory.path().join("in"));
    let _ = piped(&scene, &["-"], &fs::read(tar).unwrap());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_source_bundle_is_a_context() {
    let Some(scene) = Scene::new() else { return };
    scene.file("dir/Dockerfile", DOCKERFILE);
    scene.file("dir/.dockerignore", "left\nDockerfile\n");
    scene.file("dir/kept", "text");
    scene.file("dir/left", "text");
    fs::hard_link(scene.cli.work().join("dir/kept"), scene.cli.work().join("dir/linked")).unwrap();
    let bundle = |to: &str| {
        let run = scene.archway(&["source", "-o", to, "dir"]).succeeded();
        run.stdout.trim().to_owned()
    };
    let digest = bundle("oci:layout:1");
    // Neither when nor where it is written matters.
    let touched = fs::File::options().append(true).open(scene.cli.work().join("dir/kept")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let name = scene.image("source");
    assert_eq!(bundle(&name), digest);
    fs::remove_dir_all(scene.cli.work().join("dir")).unwrap();

    let (by_tag, by_digest) = (format!("oci-source://{name}"), format!("oci-source://{name}@{digest}"));
    for context in ["oci:layout:1", &by_tag, &by_digest] {
        build(&scene, &[context]).succeeded();
        let tree = built(&scene);
        assert_file(&tree, "c/kept", "text", (0, 0));
        assert_file(&tree, "c/linked", "text", (0, 0));
        // What is ignored is not in the bundle; its Dockerfile is beside the files.
        assert!(!tree.entries.contains_key("c/left") && !tree.entries.contains_key("c/Dockerfile"));
    }
    // A bundle of a bundle is the same bundle.
    let again = scene.archway(&["source", "-o", "oci:again", "oci:layout:1"]).succeeded();
    assert_eq!(again.stdout.trim(), digest);
    let run = build(&scene, &[&format!("oci-source://{}", scene.busybox())]).exited(1);
    assert!(run.stderr.contains("is no source bundle"), "{}", run.stderr);
    let run = scene.archway(&["source", "-o", "oci-archive:x", "."]).exited(2);
    assert!(run.stderr.contains("written to a directory"), "{}", run.stderr);
    assert_tidy(&scene);
}

#[test]
fn a_context_tells_when_it_was_made() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    repository.write(
        "dir/Dockerfile",
        "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY . /\nLABEL epoch=$SOURCE_DATE_EPOCH\n",
    );
    repository.commit("one").unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--mtime=@1000000007", "-cf", "-", "-C"]).arg(repository.files()).arg("dir");
    let tar = tar.output().unwrap().stdout;
    let web = WebServer::start(move |request| match request.path.as_str() {
        "/dated" => Response::new(200, tar.clone()).header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        _ => Response::new(200, tar.clone()),
    })
    .unwrap();
    for (context, file, created) in [
        (format!("{}#main:dir", git.url("app")), "Dockerfile", "2001-02-03T04:05:06Z"),
        (web.url("/dated"), "dir/Dockerfile", "1994-11-06T08:49:37Z"),
        (web.url("/undated"), "dir/Dockerfile", "2001-09-09T01:46:47Z"),
    ] {
        let image = scene.image("dated");
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=context"];
        let arguments = ["build", "-q", "--push", "-t", &image, "-f", file, &context];
        scene.archway(&[&arguments[..], &epoch].concat()).succeeded();
        let config = &ImageIndex::pushed(&image).children[0].config;
        assert_eq!(config["created"], created, "{context}");
        let seconds = config["config"]["Labels"]["epoch"].as_str().unwrap();
        assert!(seconds.parse::<i64>().is_ok(), "{seconds}");
    }
    scene.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let run = scene.build(&["--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=context"]).succeeded();
    assert!(run.stderr.contains("does not tell when it was made"), "{}", run.stderr);
}
