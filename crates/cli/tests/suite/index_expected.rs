//! `--expect-digest` of the index tools: tags move only from where they are expected to be.

use archway_testkit::image::Image;

use super::{
    index_create::{layout, pushed},
    readback::ImageIndex,
    scene::Scene,
};

fn published(scene: &Scene, tag: &str) -> String {
    ImageIndex::pushed(&scene.image(tag)).digest.to_string()
}

fn place(image: &Image) -> String {
    format!("oci:{}", image.directory.display())
}

#[test]
fn an_index_is_not_made_over_what_somebody_else_published() {
    let Some(scene) = Scene::new() else { return };
    let [one, two] =
        ["one", "two"].map(|text| place(&layout(&scene, text, text, &["linux/amd64", "linux/arm64"])));
    let tag = scene.image("1");
    let create = |source: &str, more: &[&str]| {
        scene.archway(&[&["index", "create", "-t", &tag, source], more].concat())
    };
    let first = create(&one, &["--expect-digest=none"]).succeeded().stdout;
    // The same again has nothing to do, and is no conflict.
    create(&one, &["--expect-digest=none"]).succeeded();
    for more in [&["--expect-digest=none"][..], &["--expect-digest=none", "--dry-run"]] {
        let run = create(&two, more).exited(4);
        let found = format!("{tag} points at {}, and not at nothing as expected", first.trim());
        assert!(run.stderr.contains(&found), "{}", run.stderr);
    }
    assert_eq!(published(&scene, "1"), first.trim());
    let named = format!("{tag}={}", first.trim());
    let second = create(&two, &["--expect-digest", &named]).succeeded().stdout;
    assert_eq!(published(&scene, "1"), second.trim());
}

#[test]
fn what_is_appended_to_is_what_was_expected() {
    let Some(scene) = Scene::new() else { return };
    let tag = scene.image("app");
    let old = pushed(&scene, "app", &["linux/amd64"]).descriptor.digest.to_string();
    let arm64 = place(&layout(&scene, "arm64", "arm64", &["linux/arm64"]));
    let s390x = place(&layout(&scene, "s390x", "s390x", &["linux/s390x"]));
    let append = |source: &str| {
        scene.archway(&["index", "create", "-t", &tag, "--append", source, "--expect-digest", &old])
    };
    let new = append(&arm64).succeeded().stdout;
    append(&s390x).exited(4);
    assert_eq!(published(&scene, "app"), new.trim());
}

#[test]
fn a_copy_does_not_take_the_place_of_what_somebody_else_copied() {
    let Some(scene) = Scene::new() else { return };
    let [one, two] = ["one", "two"].map(|text| place(&layout(&scene, text, text, &["linux/amd64"])));
    let tag = scene.image("1");
    let copy =
        |source: &str, expected: &str| scene.archway(&["copy", source, &tag, "--expect-digest", expected]);
    let first = copy(&one, "none").succeeded().stdout;
    copy(&one, "none").succeeded();
    let before = scene.requests().len();
    let run = copy(&two, "none").exited(4);
    assert!(run.stderr.contains("and not at nothing as expected"), "{}", run.stderr);
    let writes = scene.requests().split_off(before).into_iter().filter(|request| request.method != "HEAD");
    assert_eq!(writes.count(), 0, "it is seen before anything is sent");
    assert_eq!(published(&scene, "1"), first.trim());
    let second = copy(&two, first.trim()).succeeded().stdout;
    assert_eq!(published(&scene, "1"), second.trim());
}

#[test]
fn an_annotation_that_is_repeated_finds_its_own_work() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64"]);
    let (tag, old) = (scene.image("app"), image.descriptor.digest.to_string());
    let files = layout(&scene, "files", "files", &["linux/amd64"]);
    for (name, old) in [(tag, &old), (place(&files), &files.descriptor.digest.to_string())] {
        let annotate = |annotation: &str| {
            scene.archway(&["index", "annotate", &name, annotation, "--expect-digest", old])
        };
        let new = annotate("a=1").succeeded().stdout;
        assert_eq!(annotate("a=1").succeeded().stdout, new);
        let run = annotate("a=2").exited(4);
        let found = format!("points at {}, and not at {old} as expected", new.trim());
        assert!(run.stderr.contains(&found), "{}", run.stderr);
        // What is there is none of what was meant: that counts more than what it lacks.
        scene.archway(&["index", "annotate", &name, "--remove", "b", "--expect-digest", old]).exited(4);
        scene.archway(&["index", "annotate", &name, "--remove", "b"]).exited(2);
    }
}

#[test]
fn expectations_of_what_is_not_moved_are_refused() {
    let Some(scene) = Scene::new() else { return };
    let image = place(&layout(&scene, "one", "one", &["linux/amd64"]));
    let (tag, other) = (scene.image("1"), format!("{}=none", scene.image("other")));
    let table: &[(&[&str], &str)] = &[
        (&["copy", &image, "oci:there", "--expect-digest=none"], "none is moved"),
        (&["copy", &image, "docker-archive:there", "--expect-digest=none"], "none is moved"),
        (&["copy", &image, &tag, "--expect-digest", &other], "that is not pushed"),
        (&["index", "create", "--dry-run", &image, "--expect-digest=none"], "none is moved"),
        (&["index", "create", "-t", &tag, &image, "--expect-digest", &other], "that is not pushed"),
    ];
    for (arguments, expected) in table {
        let run = scene.archway(arguments).exited(2);
        assert!(run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
}
