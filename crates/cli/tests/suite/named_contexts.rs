//! `--build-context`: names that mean something else.

use std::{fs, path::PathBuf};

use archway_testkit::{GitServer, WebServer, cli::Run, tools, web::Response};

use crate::scene::{Scene, TWO};

/// `archway build --build-context CONTEXT… -o out .`
fn build(scene: &Scene, contexts: &[&str], more: &[&str]) -> Run {
    let _ = fs::remove_dir_all(scene.cli.work().join("out"));
    let contexts = contexts.iter().flat_map(|context| ["--build-context", context]);
    let arguments = ["--progress=plain", "-o", "out"];
    scene.build(&contexts.chain(arguments).chain(more.iter().copied()).collect::<Vec<_>>())
}

fn out(scene: &Scene, path: &str) -> PathBuf {
    scene.cli.work().join("out").join(path)
}

#[track_caller]
fn assert_built(scene: &Scene, path: &str, content: &str) {
    let path = out(scene, path);
    let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, content);
}

fn directories(scene: Option<Scene>) {
    let Some(scene) = scene else { return };
    scene.file("docs/kept", "directory");
    scene.file("docs/left", "ignored");
    scene.file("docs/.dockerignore", "left\n");
    scene.file(
        "Dockerfile",
        "FROM docs AS base\nFROM scratch\nCOPY --from=docs . /copied/\nCOPY --from=base . /base/\n",
    );
    build(&scene, &["docs=docs"], &["--platform", TWO]).succeeded();
    for platform in ["linux_amd64", "linux_arm64"] {
        for directory in ["copied", "base"] {
            assert_built(&scene, &format!("{platform}/{directory}/kept"), "directory");
            assert!(!out(&scene, &format!("{platform}/{directory}/left")).exists());
        }
    }
    // The context of the name `docs` is where an image of that name is not asked for.
    let run = build(&scene, &[], &[]).exited(1);
    assert!(run.stderr.contains("docs"), "{}", run.stderr);
}

#[test]
fn a_directory_has_a_name() {
    directories(Scene::new());
}

#[test]
fn a_directory_has_a_name_for_a_normal_user() {
    directories(Scene::rootless());
}

#[test]
fn repositories_and_files_have_names() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let web = WebServer::start(|_| Response::new(200, "downloaded")).unwrap();
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    repository.write("dir/file", "committed");
    repository.commit("one").unwrap();
    scene.file(
        "Dockerfile",
        "FROM code AS code-base\nFROM scratch\nCOPY --from=code /file /code\nCOPY --from=code-base /file /base\n\
         COPY --from=page context /page\n",
    );
    let code = format!("code={}#main:dir", git.url("app"));
    let page = format!("page={}", web.url("/page.html"));
    build(&scene, &[&code, &page], &[]).succeeded();
    assert_built(&scene, "code", "committed");
    assert_built(&scene, "base", "committed");
    assert_built(&scene, "page", "downloaded");
}

#[test]
fn mounts_read_what_has_a_name() {
    let Some(scene) = Scene::new().filter(|_| tools::require("git")) else { return };
    let git = GitServer::start().unwrap();
    let repository = git.repository("app").unwrap();
    repository.write("dir/file", "committed");
    repository.commit("one").unwrap();
    scene.file("docs/kept", "directory");
    scene.file("docs/left", "ignored");
    scene.file("docs/.dockerignore", "left\n");
    scene.dockerfile(
        "FROM BASE AS tools\nRUN false\nFROM BASE AS build\n\
         RUN --mount=from=docs,target=/docs --mount=from=code,source=dir,target=/code --mount=from=tools,target=/tools \\\n\
         cat /docs/* /code/file /tools/kept > /all\n\
         FROM scratch\nCOPY --from=build /all /\n",
    );
    let code = format!("code={}", git.url("app"));
    build(&scene, &["docs=docs", &code, "tools=docs"], &[]).succeeded();
    assert_built(&scene, "all", "directorycommitteddirectory");
}

#[test]
fn images_have_other_names() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /marker\n");
    let layout = ["-o", "type=oci,tar=false,dest=layout", "-t", "marked:1", "--platform", TWO];
    scene.build(&[&["-q"], &layout[..]].concat()).succeeded();
    let marker = fs::read_to_string(scene.cli.work().join("Dockerfile")).unwrap();
    scene.file(
        "Dockerfile",
        "FROM nowhere.invalid/base\nRUN cp /marker /ran\nFROM scratch\nCOPY --from=0 /ran /bin/busybox /\n",
    );
    let image = format!("docker-image://{}", scene.busybox());
    let run = build(&scene, &[&format!("nowhere.invalid/base={image}")], &[]).exited(1);
    assert!(run.stderr.contains("can't stat '/marker'"), "{}", run.stderr);
    build(&scene, &["nowhere.invalid/base=oci-layout://layout:1"], &["--platform", TWO]).succeeded();
    for platform in ["linux_amd64", "linux_arm64"] {
        assert_built(&scene, &format!("{platform}/ran"), &marker);
        assert!(out(&scene, &format!("{platform}/busybox")).exists());
    }
    let run = build(&scene, &["nowhere.invalid/base=oci-layout://layout:2"], &[]).exited(1);
    assert!(run.stderr.contains("nowhere.invalid/base"), "{}", run.stderr);
}

#[test]
fn a_name_may_be_for_one_platform_and_stand_for_a_stage() {
    let Some(scene) = Scene::new() else { return };
    scene.file("prebuilt/program", "built elsewhere");
    scene.dockerfile("FROM BASE AS build\nRUN echo built here | tr -d '\\n' > /program\nFROM scratch\nCOPY --from=build /program /\n");
    let arm = "build::linux/arm64=prebuilt";
    let run = build(&scene, &[arm], &["--platform", TWO]).succeeded();
    assert_built(&scene, "linux_arm64/program", "built elsewhere");
    assert_built(&scene, "linux_amd64/program", "built here");
    // Nothing of the stage was run for the other platform.
    assert!(!run.stderr.contains("emulated"), "{}", run.stderr);
}

#[test]
fn what_is_not_used_or_cannot_be_is_told() {
    let Some(scene) = Scene::new() else { return };
    scene.file("Dockerfile", "FROM scratch AS base\nCOPY Dockerfile /\n");
    fs::create_dir(scene.cli.work().join("dir")).unwrap();
    let run = build(&scene, &["bsae=dir"], &[]).succeeded();
    let warning = "the build context `bsae` is not used (did you mean `base`?)";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    for (context, message) in [
        ("dir", "is not NAME=SOURCE"),
        ("a=nowhere", "`nowhere` is not a directory"),
        ("A B=dir", "invalid reference"),
        ("scratch=dir", "has a meaning of its own"),
        ("a::linux/amd46=dir", "amd46"),
        ("a=target:x", "cannot be given here"),
        ("a=https://example.com/a.git?brnch=x", "did you mean `branch`?"),
    ] {
        let run = build(&scene, &[context], &[]).exited(2);
        assert!(run.stderr.contains(message), "{context}: {}", run.stderr);
    }
}
