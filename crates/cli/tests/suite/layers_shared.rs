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

/// Eight, each with a base of its own or at least with an image of its own.
const EIGHT: &str =
    "linux/amd64,linux/arm64,linux/arm/v7,linux/386,linux/ppc64le,linux/s390x,linux/amd64/v2,linux/amd64/v3";

/// Numbers whose text compresses to about half: 32 MiB are a layer that is uploaded while it is made.
fn write_large_context(scene: &Scene) {
    let mut state: u64 = 1;
    for file in 0..64 {
        let mut text = String::new();
        while text.len() < 512 << 10 {
            // Knuth's MMIX generator: any will do.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += &format!("{state:016x}\n");
        }
        scene.file(&format!("data/d{}/{file}", file % 5), &text);
    }
}

#[test]
fn a_large_context_for_eight_platforms_is_written_and_uploaded_once() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY data /srv/data/\nWORKDIR /srv/work\n");
    write_large_context(&scene);
    scene.push(EIGHT);
    let first = ImageIndex::pushed(&scene.image("1"));
    assert_eq!(first.children.len(), 8);
    // The bases' layers are mounted.
    let made = |index: &ImageIndex| -> BTreeSet<String> {
        index.children.iter().flat_map(|child| child.layer_digests().split_off(1)).collect()
    };
    assert_eq!(made(&first).len(), 2, "COPY and WORKDIR");
    let stored = |directory: &str| std::fs::read_dir(scene.cli.root().join(directory)).unwrap().count();
    let snapshots = stored("snapshots");

    let requests = scene.requests();
    let uploads = |layers: BTreeSet<String>| {
        let ends = |layer: &String| {
            let name = layer.trim_start_matches("sha256:").to_owned();
            let is_end = move |request: &&archway_testkit::registry::Request| {
                request.method == "PUT"
                    && request.path.contains("/blobs/uploads/")
                    && request.path.contains(&name)
            };
            scene.requests().iter().filter(is_end).count()
        };
        layers.iter().map(ends).collect::<Vec<_>>()
    };
    assert_eq!(uploads(made(&first)), [1, 1], "{requests:#?}");

    // One file more: one more delta, one more layer for all eight.
    scene.file("data/d0/more", "of the same");
    scene.push(EIGHT);
    let second = ImageIndex::pushed(&scene.image("1"));
    let changed: BTreeSet<String> = made(&second).difference(&made(&first)).cloned().collect();
    assert_eq!(uploads(changed), [1]);
    assert_eq!(stored("snapshots"), snapshots + 1);
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
