//! The flags of COPY and ADD, on what an image has in the end.

use std::process::Command;

use archway_testkit::{process, tree::assert_same};

use crate::{
    readback::{Child, ImageIndex, directory, file, tree},
    scene::Scene,
};

const ROOT: (u32, u32) = (0, 0);

fn built(scene: &Scene, dockerfile: &str) -> Child {
    scene.dockerfile(dockerfile);
    scene.push("local");
    ImageIndex::pushed(&scene.image("1")).children.remove(0)
}

#[test]
fn parts_of_directories_are_copied() {
    let Some(scene) = Scene::new() else { return };
    for name in ["app/main.go", "app/go.mod", "lib/a/go.mod", "lib/a/a.go", "lib/README.md"] {
        scene.file(name, name);
    }
    let child = built(
        &scene,
        "FROM scratch\nCOPY --parents **/go.mod /src/\nCOPY --parents lib/./a/*.go /pivot/\n\
         COPY --exclude=*.go --exclude=**/*.md --chmod=go= app lib /rest/\n",
    );
    let of = |name: &str, mode| file(name, mode, ROOT);
    let made = directory(0o755, ROOT);
    assert_same(
        &child.root(),
        &tree([
            ("pivot", made.clone()),
            ("pivot/a", made.clone()),
            ("pivot/a/a.go", of("lib/a/a.go", 0o644)),
            ("rest", made.clone()),
            ("rest/a", directory(0o700, ROOT)),
            ("rest/a/a.go", of("lib/a/a.go", 0o600)),
            ("rest/a/go.mod", of("lib/a/go.mod", 0o600)),
            ("rest/go.mod", of("app/go.mod", 0o600)),
            ("src", made.clone()),
            ("src/app", made.clone()),
            ("src/app/go.mod", of("app/go.mod", 0o644)),
            ("src/lib", made.clone()),
            ("src/lib/a", made),
            ("src/lib/a/go.mod", of("lib/a/go.mod", 0o644)),
        ]),
    );
}

#[test]
fn linked_layers_are_the_same_on_every_base() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a.txt", "a");
    let of_base = built(&scene, "FROM BASE\nCOPY --link a.txt /bin/\n");
    let of_scratch = built(&scene, "FROM scratch\nCOPY --link a.txt /bin/\n");
    assert_eq!(of_base.layer_digests().last(), of_scratch.layer_digests().last());
    assert!(of_base.root().entries.contains_key("bin/a.txt"));
}

#[test]
fn archives_are_unpacked_unless_that_is_not_wanted() {
    let Some(scene) = Scene::new() else { return };
    let work = scene.cli.work();
    scene.file("in/file", "content");
    for (flags, name) in [("-cf", "plain.tar"), ("-czf", "zipped")] {
        let mut tar = Command::new("tar");
        process::output(tar.current_dir(&work).args([flags, name, "in"])).unwrap();
    }
    let child = built(
        &scene,
        "FROM scratch\nADD plain.tar /\nADD --unpack=true zipped /unpacked/\nADD --unpack=false zipped plain.tar /kept/\n\
         ADD --link --chown=7:8 --chmod=600 zipped /owned/\n",
    );
    let root = child.root();
    for (path, owner) in [("in/file", ROOT), ("unpacked/in/file", ROOT), ("owned/in/file", (7, 8))] {
        let entry = &root.entries[path];
        assert_eq!(
            (&entry.kind, entry.uid, entry.gid),
            (&file("content", 0, ROOT).kind, owner.0, owner.1),
            "{path}"
        );
    }
    // A mode is for what is copied, not for what is unpacked.
    assert_eq!(root.entries["owned"], directory(0o755, (7, 8)));
    assert!(root.entries.contains_key("kept/zipped") && root.entries.contains_key("kept/plain.tar"));
}

#[test]
fn doubtful_sources_are_copied_with_a_warning() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a.txt", "a");
    scene.file("b.txt", "b");
    scene.dockerfile("FROM scratch\nCOPY ../a.txt /up/\nCOPY a.txt b.txt /both\nEXPOSE 8080:80\n");
    let run = scene.build(&["--push", "-t", &scene.image("1"), "--platform", "local"]).succeeded();
    let told = run.stderr;
    for warning in ["`../a.txt` leads out of the build context", "to the file `/both`", "EXPOSE 8080:80"] {
        assert!(told.contains(warning), "{warning}: {told}");
    }
    let child = ImageIndex::pushed(&scene.image("1")).children.remove(0);
    assert_eq!(child.root().entries["up/a.txt"], file("a", 0o644, ROOT));
    assert_eq!(child.root().entries["both"], file("b", 0o644, ROOT));
}
