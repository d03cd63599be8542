//! What is the same for all platforms is made and stored once.

use std::collections::BTreeSet;

use crate::{
    readback::ImageIndex,
    scene::{SIX, Scene},
};

#[test]
fn one_copy_is_one_layer_of_all_platforms_and_uploaded_once() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY data /srv/data/\n");
    scene.file("data/file", "the same for all");
    scene.push(SIX);

    let index = ImageIndex::pushed(&scene.image("1"));
    assert_eq!(index.children.len(), 6);
    let last = |digests: Vec<String>| digests.last().cloned().unwrap();
    let copied: BTreeSet<String> = index.children.iter().map(|child| last(child.layer_digests())).collect();
    assert_eq!(copied.len(), 1, "{copied:?}");
    let bases: BTreeSet<String> =
        index.children.iter().map(|child| child.layer_digests()[0].clone()).collect();
    assert_eq!(bases.len(), 6, "the bases differ");

    let layer = copied.first().unwrap().trim_start_matches("sha256:");
    let stored = |request: &&archway_testkit::registry::Request| {
        request.method == "PUT" && request.path.contains("/blobs/uploads/") && request.path.contains(layer)
    };
    assert_eq!(scene.requests().iter().filter(stored).count(), 1, "{:#?}", scene.requests());
}

#[test]
fn bases_of_the_same_registry_are_mounted_not_uploaded() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    scene.push(SIX);
    let requests = scene.requests();
    let mounts = requests.iter().filter(|request| request.path.contains("mount=")).count();
    let uploads = requests.iter().filter(|r| r.method == "PUT" && r.path.contains("/blobs/uploads/")).count();
    assert_eq!(mounts, 6, "one for each base's layer: {requests:#?}");
    assert_eq!(uploads, 1 + 6, "the COPY and six configs: {requests:#?}");
}

#[test]
fn what_only_a_build_stage_holds_is_not_pushed() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE AS build\nWORKDIR /work\nRUN echo private > private && echo result > result\n\
         FROM BASE\nCOPY --from=build /work/result /\n",
    );
    scene.push("local");
    let requests = scene.requests();
    let uploads = requests.iter().filter(|r| r.method == "PUT" && r.path.contains("/blobs/uploads/")).count();
    assert_eq!(uploads, 1 + 1, "the COPY and the config: {requests:#?}");
}
