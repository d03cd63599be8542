//! `archway index annotate`.

use archway_oci::{Digest, Index};
use archway_testkit::Skopeo;

use super::{
    index_create::{layout, pushed},
    readback::ImageIndex,
    scene::Scene,
};

fn annotate(scene: &Scene, arguments: &[&str]) -> Digest {
    let run = scene.archway(&[&["index", "annotate"], arguments].concat()).succeeded();
    run.stdout.trim().parse().unwrap()
}

fn index(place: &str) -> Index {
    Index::parse(&Skopeo::new().raw_manifest(place).unwrap()).unwrap()
}

#[test]
fn a_tag_gets_an_index_with_other_annotations_and_the_same_images() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let (tag, place) = (scene.image("app"), format!("docker://{}", scene.image("app")));
    let old = index(&place);
    let before = scene.requests().len();
    let digest = annotate(&scene, &[&tag, "a=1", "manifest-descriptor[linux/arm64]:b=2", "index:c=3"]);
    let new = index(&place);
    assert_eq!(ImageIndex::pushed(&tag).digest, digest);
    assert_eq!((&*new.annotations["a"], &*new.annotations["c"]), ("1", "3"));
    assert!(new.manifests[0] == old.manifests[0] && new.manifests[1].annotations["b"] == "2");
    assert_eq!(new.manifests[1].digest, old.manifests[1].digest);
    let writes: Vec<_> =
        scene.requests().split_off(before).into_iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(writes.len(), 1, "{writes:?}");

    annotate(&scene, &[&tag, "--remove", "a", "--remove", "manifest-descriptor:b", "c=4"]);
    let last = index(&place);
    assert_eq!(last.annotations, [("c".to_owned(), "4".to_owned())].into());
    assert_eq!(last.manifests, old.manifests);
}

#[test]
fn a_layout_s_image_keeps_its_name() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64"]);
    let place = image.oci_reference();
    let digest = annotate(&scene, &[&format!("oci:{}", image.directory.display()), "a=1"]);
    let annotated = ImageIndex::read(&place);
    assert_eq!(annotated.digest, digest);
    assert_eq!(annotated.document["annotations"]["a"], "1");
}

#[test]
fn a_dry_run_shows_and_what_is_so_already_changes_nothing() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64"]);
    let tag = scene.image("app");
    let shown = scene.archway(&["index", "annotate", "--dry-run", &tag, "a=1"]).succeeded();
    assert_eq!(Index::parse(shown.stdout.as_bytes()).unwrap().annotations["a"], "1");
    assert_eq!(ImageIndex::pushed(&tag).digest, image.descriptor.digest);
    let digest = annotate(&scene, &[&tag, "a=1", "--metadata-file", "meta.json"]);
    assert_eq!(digest, Digest::sha256(shown.stdout.as_bytes()));
    assert_eq!(scene.json("meta.json")["containerimage.digest"], digest.as_str());
    let run = scene.archway(&["index", "annotate", &tag, "a=1"]).succeeded();
    assert_eq!(run.stdout.trim(), digest.as_str());
    assert!(run.stderr.contains("already is so"), "{}", run.stderr);
}

#[test]
fn an_expected_digest_protects_what_others_did() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64"]);
    let (tag, old) = (scene.image("app"), image.descriptor.digest.to_string());
    let new = annotate(&scene, &[&tag, "a=1", "--expect-digest", &old]);
    let run = scene.archway(&["index", "annotate", &tag, "a=2", "--expect-digest", &old]).exited(4);
    assert!(run.stderr.contains(&format!("points at {new}, and not at {old}")), "{}", run.stderr);
    assert_eq!(ImageIndex::pushed(&tag).digest, new);
}

#[test]
fn what_cannot_be_annotated_is_said() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64"]);
    let tag = scene.image("app");
    let by_digest = format!("{}@{}", tag, image.descriptor.digest);
    let single = scene.image("single");
    let one = format!("{}@{}", tag, image.manifests[0].digest);
    scene.archway(&["index", "create", "-t", &single, "--prefer-index=false", &one]).succeeded();
    let table: &[(i32, &[&str], &str)] = &[
        (2, &[&by_digest, "a=1"], "cannot point at another index"),
        (2, &[&single, "a=1"], "is the image of one platform, and no index"),
        (2, &[&tag, "--remove", "a"], "there is no annotation `a` to remove"),
        (2, &[&tag, "manifest:a=1"], "manifests stay as they are"),
        (2, &[&tag, "--remove", "manifest:a"], "manifests stay as they are"),
        (2, &[&tag], "[SCOPE:]KEY=VALUE"),
        (1, &[&tag, "manifest-descriptor[linux/s390x]:a=1"], "there is no image for linux/s390x"),
        (1, &[&scene.image("none"), "a=1"], "none"),
    ];
    for (code, arguments, expected) in table {
        let run = scene.archway(&[&["index", "annotate"], *arguments].concat()).exited(*code);
        assert!(run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(ImageIndex::pushed(&tag).digest, image.descriptor.digest);
}
