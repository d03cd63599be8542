//! The same, as a normal user.

use std::{fs, os::unix::fs::MetadataExt};

use archway_testkit::tree::assert_same;

use crate::{
    readback::{ImageIndex, file},
    scene::{Scene, TWO},
};

const DOCKERFILE: &str = "FROM BASE\n\
    RUN uname -m > /machine && chown 33:50 /machine && chmod 4711 /machine && mkdir /gone\n\
    RUN rm -r /gone && id -u > /who\n\
    COPY --chown=www-data Dockerfile /srv/\n";

#[test]
fn a_normal_user_builds_pushes_and_runs() {
    let Some(scene) = Scene::rootless() else { return };
    scene.dockerfile(DOCKERFILE);
    let digest = scene.push(TWO);
    let index = ImageIndex::pushed(&scene.image("1"));
    assert_eq!(index.digest.to_string(), digest);
    for (child, machine) in index.children.iter().zip(["x86_64", "aarch64"]) {
        let root = child.root();
        assert_eq!(root.entries["machine"], file(&format!("{machine}\n"), 0o4711, (33, 50)));
        assert_eq!(child.text("who"), "0\n", "root in the container");
        assert_eq!((root.entries["srv/Dockerfile"].uid, root.entries["srv/Dockerfile"].gid), (33, 33));
        assert!(!root.entries.contains_key("gone"));
    }
    let run = scene.archway(&["run", "--platform", "all", &scene.image("1"), "cat", "/machine"]).succeeded();
    assert_eq!(run.stdout, "x86_64\naarch64\n");

    let again = ["--push", "-t", &scene.image("1"), "--platform", TWO, "--metadata-file", "meta.json"];
    assert_eq!(scene.build(&again).succeeded().stdout.trim(), digest);
    assert_eq!(scene.json("meta.json")["archway.platforms"][0]["stepsRun"], 0);
}

#[test]
fn what_a_normal_user_gets_belongs_to_the_user() {
    let Some(scene) = Scene::rootless() else { return };
    scene.dockerfile(DOCKERFILE);
    let outputs = ["-o", "type=local,dest=out", "-o", "type=tar,dest=out.tar", "-o", "type=oci,dest=oci.tar"];
    let files = ["--iidfile", "id", "--metadata-file", "meta.json", "--platform", TWO];
    scene.build(&[&outputs[..], &files].concat()).succeeded();
    let work = scene.cli.work();
    let owner = fs::metadata(&work).unwrap().uid();
    for name in ["out/linux_arm64/machine", "out/linux_amd64/bin", "out.tar", "oci.tar", "id", "meta.json"] {
        assert_eq!(fs::metadata(work.join(name)).unwrap().uid(), owner, "{name}");
    }
}

#[test]
fn root_and_a_normal_user_make_the_same_image() {
    let (Some(user), Some(other)) = (Scene::rootless(), Scene::new()) else { return };
    let children = [&user, &other].map(|scene| {
        scene.dockerfile(DOCKERFILE);
        scene.push(TWO);
        ImageIndex::pushed(&scene.image("1")).children
    });
    for (user, other) in children[0].iter().zip(&children[1]) {
        for number in 0..4 {
            assert_same(&user.layer(number), &other.layer(number));
        }
        assert_eq!(user.config["config"], other.config["config"]);
    }
}
