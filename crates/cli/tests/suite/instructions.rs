//! What single instructions do to files, users and shells.

use std::{os::unix::fs::symlink as make_symlink, process::Command};

use archway_testkit::{process, tree::assert_same};

use crate::{
    readback::{Child, ImageIndex, directory, file, symlink, tree},
    scene::Scene,
};

const ROOT: (u32, u32) = (0, 0);
const WWW: (u32, u32) = (33, 33);

fn built(scene: &Scene, dockerfile: &str) -> Child {
    scene.dockerfile(dockerfile);
    scene.push("local");
    ImageIndex::pushed(&scene.image("1")).children.remove(0)
}

fn context(scene: &Scene) {
    for name in ["a.txt", "b.txt", "c.md", "sub/d.txt", "sub/deep/e.txt"] {
        scene.file(name, name);
    }
    make_symlink("a.txt", scene.cli.work().join("link")).unwrap();
}

#[test]
fn copy_takes_files_directories_and_patterns() {
    let Some(scene) = Scene::new() else { return };
    context(&scene);
    let child = built(
        &scene,
        "FROM scratch\nCOPY *.txt /glob/\nCOPY sub /content\nCOPY c.md /renamed.md\nCOPY link /followed\nCOPY sub/*/e* a.txt /two/\n",
    );
    let of = |name: &str| file(name, 0o644, ROOT);
    assert_same(
        &child.root(),
        &tree([
            ("content", directory(0o755, ROOT)),
            ("content/d.txt", of("sub/d.txt")),
            ("content/deep", directory(0o755, ROOT)),
            ("content/deep/e.txt", of("sub/deep/e.txt")),
            ("followed", of("a.txt")),
            ("glob", directory(0o755, ROOT)),
            ("glob/a.txt", of("a.txt")),
            ("glob/b.txt", of("b.txt")),
            ("renamed.md", of("c.md")),
            ("two", directory(0o755, ROOT)),
            ("two/a.txt", of("a.txt")),
            ("two/e.txt", of("sub/deep/e.txt")),
        ]),
    );
}

#[test]
fn a_link_inside_a_copied_directory_stays_a_link() {
    let Some(scene) = Scene::new() else { return };
    context(&scene);
    make_symlink("/etc/passwd", scene.cli.work().join("sub/outside")).unwrap();
    let child = built(&scene, "FROM scratch\nCOPY sub /sub\n");
    assert_eq!(child.root().entries["sub/outside"], symlink("/etc/passwd"));
}

#[test]
fn copy_sets_owner_and_mode() {
    let Some(scene) = Scene::new() else { return };
    context(&scene);
    let child = built(
        &scene,
        "FROM BASE\nCOPY --chown=www-data a.txt /o/name\nCOPY --chown=33:staff --chmod=4711 a.txt /o/both\n\
         COPY --chown=nobody:0 sub /tree\n",
    );
    let root = child.root();
    assert_eq!(root.entries["o/name"], file("a.txt", 0o644, WWW));
    assert_eq!(root.entries["o/both"], file("a.txt", 0o4711, (33, 50)));
    assert_eq!(root.entries["tree"], directory(0o755, (65534, 0)));
    assert_eq!(root.entries["tree/deep/e.txt"], file("sub/deep/e.txt", 0o644, (65534, 0)));
}

#[test]
fn what_dockerignore_excludes_is_not_copied() {
    let Some(scene) = Scene::new() else { return };
    context(&scene);
    scene.file(".dockerignore", "# comment\n*.md\nsub\n!sub/deep\n.dockerignore\nDockerfile\nlink\n");
    let child = built(&scene, "FROM scratch\nCOPY . /\n");
    let paths: Vec<String> = child.root().entries.into_keys().collect();
    assert_eq!(paths, ["a.txt", "b.txt", "sub", "sub/deep", "sub/deep/e.txt"]);
}

#[test]
fn add_unpacks_archives_and_copy_does_not() {
    let Some(scene) = Scene::new() else { return };
    context(&scene);
    let work = scene.cli.work();
    let mut tar = Command::new("tar");
    tar.current_dir(&work).args([
        "--owner=33",
        "--group=50",
        "--mode=750",
        "-czf",
        "files.tar.gz",
        "a.txt",
        "sub",
    ]);
    process::output(&mut tar).unwrap();
    let child = built(
        &scene,
        "FROM scratch\nADD files.tar.gz /unpacked/\nCOPY files.tar.gz /packed\nADD a.txt /plain\n",
    );
    let root = child.root();
    assert_eq!(root.entries["unpacked/a.txt"], file("a.txt", 0o750, (33, 50)));
    assert_eq!(root.entries["unpacked/sub/deep/e.txt"], file("sub/deep/e.txt", 0o750, (33, 50)));
    assert_eq!(root.entries["plain"], file("a.txt", 0o644, ROOT));
    assert!(
        matches!(root.entries["packed"].kind, archway_testkit::tree::Kind::File { size, .. } if size > 0)
    );
}

#[test]
fn heredocs_are_files_and_scripts() {
    let Some(scene) = Scene::new() else { return };
    let child = built(
        &scene,
        "FROM BASE\nARG WHO=world\nCOPY <<EOF <<'RAW' /texts/\nhello $WHO\nEOF\nhello $WHO\nRAW\n\
         RUN <<EOF\nset -e\nfor n in 1 2; do echo $n >> /count; done\nEOF\n\
         RUN <<EOF cat > /piped\nfrom stdin\nEOF\n\
         COPY --chmod=755 <<EOF /bin/script\n#!/bin/sh\necho script > /ran\nEOF\nRUN script\n",
    );
    assert_eq!(child.text("texts/EOF"), "hello world\n");
    assert_eq!(child.text("texts/RAW"), "hello $WHO\n");
    assert_eq!(child.text("count"), "1\n2\n");
    assert_eq!(child.text("piped"), "from stdin\n");
    assert_eq!(child.text("ran"), "script\n");
}

#[test]
fn run_uses_the_shell_the_user_and_the_directory() {
    let Some(scene) = Scene::new() else { return };
    let child = built(
        &scene,
        "FROM BASE\nRUN mkdir -m 777 /out\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nWORKDIR /srv\nWORKDIR app\n\
         RUN echo \"$0 $- $PWD\" > /out/shell\n\
         RUN [\"/bin/sh\", \"-c\", \"echo $HOME > /out/exec\"]\n\
         USER www-data\nRUN id -u > /out/user; id -g >> /out/user; echo $HOME >> /out/user\n\
         USER 1234:50\nRUN id -u > /out/ids; id -g >> /out/ids\n",
    );
    assert!(child.text("out/shell").contains('e') && child.text("out/shell").ends_with(" /srv/app\n"));
    assert_eq!(child.text("out/exec"), "/root\n");
    assert_eq!(child.text("out/user"), "33\n33\n/var/www\n");
    assert_eq!(child.text("out/ids"), "1234\n50\n");
    let root = child.root();
    assert_eq!(root.entries["srv/app"], directory(0o755, ROOT));
    assert_eq!(root.entries["out/user"], file("33\n33\n/var/www\n", 0o644, WWW));
    assert_eq!(child.config["config"]["Shell"], serde_json::json!(["/bin/sh", "-e", "-c"]));
}

#[test]
fn a_step_leaves_nothing_of_the_sandbox_in_its_layer() {
    let Some(scene) = Scene::new() else { return };
    let step = "RUN cat /etc/resolv.conf /etc/hosts > /dev/null && ls /proc/1 /sys /dev/null";
    let child = built(&scene, &format!("FROM BASE\n{step}\n{step} && true\n"));
    // But the directories that the base lacks, as BuildKit does.
    assert_eq!(child.layer(1).entries.into_keys().collect::<Vec<_>>(), ["dev", "proc", "sys"]);
    assert_eq!(child.layer(2).entries.len(), 0, "{:?}", child.layer(2));
}

#[test]
fn without_a_network_there_is_only_loopback() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > /interfaces\n");
    scene.build(&["--push", "-t", &scene.image("1"), "--network", "none"]).succeeded();
    assert_eq!(ImageIndex::pushed(&scene.image("1")).children[0].text("interfaces"), "lo\n");
}
