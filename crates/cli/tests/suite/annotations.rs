//! `--annotation`: each document of an image gets those that are for it, and no other.

use serde_json::json;

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

#[test]
fn every_document_has_the_annotations_that_are_for_it() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    let arguments = [
        "--push",
        "-t",
        &scene.image("1"),
        "--platform",
        TWO,
        "--annotation",
        "all=manifests",
        "--annotation",
        "manifest[linux/arm64]:one=arm64",
        "--annotation",
        "index,manifest-descriptor:both=yes",
    ];
    scene.build(&arguments).succeeded();
    let index = ImageIndex::pushed(&scene.image("1"));
    assert_eq!(index.document["annotations"], json!({"both": "yes"}));
    let manifests: Vec<_> = index.children.iter().map(|child| &child.manifest["annotations"]).collect();
    assert_eq!(manifests, [&json!({"all": "manifests"}), &json!({"all": "manifests", "one": "arm64"})]);
    for child in index.document["manifests"].as_array().unwrap() {
        assert_eq!(child["annotations"], json!({"both": "yes"}));
    }
}

#[test]
fn an_output_has_annotations_as_keys() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    let output = "type=oci,dest=out,tar=false,annotation-index-descriptor.Where=layout,annotation.who=me";
    scene.build(&["-o", output]).succeeded();
    let layout = scene.json("out/index.json");
    assert_eq!(layout["manifests"][0]["annotations"]["Where"], "layout");
    let index = ImageIndex::read(&format!("oci:{}", scene.cli.work().join("out").display()));
    assert_eq!(index.document.get("annotations"), None);
    assert_eq!(index.children[0].manifest["annotations"], json!({"who": "me"}));
}

#[test]
fn a_scope_that_does_not_exist_is_an_error() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    let run = scene.build(&["--annotation", "manifests:a=b"]).exited(2);
    assert!(run.stderr.contains("did you mean `manifest`?"), "{}", run.stderr);
}
