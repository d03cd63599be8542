//! Every kind of `--output`, read by other tools; and the local store.

use std::{fs, path::Path, process::Command};

use archway_oci::{Digest, Platform};
use archway_testkit::{
    Skopeo, Umoci, process, tools,
    tree::{Tree, assert_same},
};
use serde_json::{Value, json};

use crate::{
    readback::{ImageIndex, file},
    scene::{Scene, TWO},
};

const DOCKERFILE: &str = "FROM BASE\nRUN uname -m > /machine && chown 33:50 /machine\nCOPY data /srv/\nCMD [\"cat\", \"/machine\"]\n";

/// A build context, and what it makes pushed as `image("1")` for comparison.
fn scene() -> Option<(Scene, ImageIndex)> {
    let scene = Scene::new()?;
    scene.dockerfile(DOCKERFILE);
    scene.file("data", "data\n");
    scene.push(TWO);
    let index = ImageIndex::pushed(&scene.image("1"));
    Some((scene, index))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn extracted(tar: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("tar");
    process::output(command.arg("-xf").arg(tar).arg("-C").arg(directory.path())).unwrap();
    directory
}

#[test]
fn an_oci_layout_is_accepted_by_skopeo_and_umoci() {
    let Some((scene, pushed)) = scene() else { return };
    scene
        .build(&["-t", "app:1", "-o", "type=oci,dest=layout,tar=false", "--platform", TWO, "-q"])
        .succeeded();
    let layout = scene.cli.work().join("layout");
    let read = ImageIndex::read(&format!("oci:{}:1", layout.display()));
    assert_eq!(read.digest, pushed.digest);
    for (read, pushed) in read.children.iter().zip(&pushed.children) {
        assert_eq!(read.manifest, pushed.manifest);
        assert_same(&read.root(), &pushed.root());
    }
    if !tools::require("umoci") {
        return;
    }
    // umoci reads a tag that names a manifest, so one platform at a time.
    let single = scene.cli.work().join("single");
    scene.build(&["-t", "app:1", "-o", "type=oci,dest=all.tar", "--platform", TWO, "-q"]).succeeded();
    let archive = format!("oci-archive:{}", scene.cli.work().join("all.tar").display());
    let directory = tempfile::tempdir().unwrap();
    let arm64: Platform = "linux/arm64".parse().unwrap();
    Skopeo::new().copy_to_directory(&archive, &arm64, directory.path()).unwrap();
    let source = format!("dir:{}", directory.path().display());
    Skopeo::new().copy(&source, &format!("oci:{}:app", single.display())).unwrap();
    let history = Umoci.stat(&single, "app").unwrap();
    assert!(history["history"].as_array().is_some_and(|history| history.len() >= 3), "{history}");
    let bundle = scene.cli.work().join("bundle");
    Umoci.unpack(&single, "app", &bundle).unwrap();
    let unpacked = Tree::of_directory(&bundle.join("rootfs")).unwrap();
    let want = pushed.children[1].root();
    let unpacked = unpacked.without_xattrs("user.").without_owners();
    assert_same(&unpacked, &want.without_owners());
}

#[test]
fn an_oci_archive_on_standard_output_is_the_same_image() {
    let Some((scene, pushed)) = scene() else { return };
    let arguments = ["build", "-t", "app:1", "-o", "type=oci,dest=-", "--platform", TWO, "."];
    let output = scene.cli.command().args(arguments).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("→ standard output"), "{said}");
    let file = scene.cli.work().join("piped.tar");
    fs::write(&file, output.stdout).unwrap();
    assert_eq!(ImageIndex::read(&format!("oci-archive:{}", file.display())).digest, pushed.digest);
}

#[test]
fn a_docker_archive_is_accepted_by_skopeo() {
    let Some((scene, pushed)) = scene() else { return };
    let arguments = ["-t", "app:1", "-o", "type=docker,dest=docker.tar", "--platform", "linux/arm64"];
    scene.build(&arguments).succeeded();
    let archive = format!("docker-archive:{}:app:1", scene.cli.work().join("docker.tar").display());
    let config = Skopeo::new().config(&archive, &"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(config, pushed.children[1].config);
    let manifest = extracted(&scene.cli.work().join("docker.tar"));
    let manifest: Value =
        serde_json::from_slice(&fs::read(manifest.path().join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest[0]["RepoTags"], json!(["app:1"]));
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 3);
}

#[test]
fn a_local_directory_has_the_files_of_each_platform() {
    let Some((scene, pushed)) = scene() else { return };
    scene.build(&["-o", "type=local,dest=out", "--platform", TWO]).succeeded();
    let out = scene.cli.work().join("out");
    assert_eq!(names(&out), ["linux_amd64", "linux_arm64"]);
    for child in &pushed.children {
        let files = Tree::of_directory(&out.join(child.platform.to_string().replace('/', "_"))).unwrap();
        assert_same(&files.without_owners(), &child.root().without_owners());
    }
}

#[test]
fn a_local_directory_is_split_only_if_asked_or_needed() {
    let Some((scene, pushed)) = scene() else { return };
    scene.build(&["-o", "plain", "--platform", "linux/amd64"]).succeeded();
    scene
        .build(&["-o", "type=local,dest=split,platform-split=true", "--platform", "linux/amd64"])
        .succeeded();
    let want = pushed.children[0].root().without_owners();
    for directory in ["plain", "split/linux_amd64"] {
        let files = Tree::of_directory(&scene.cli.work().join(directory)).unwrap();
        assert_same(&files.without_owners(), &want);
    }
}

#[test]
fn a_tar_has_the_files_and_their_owners() {
    let Some((scene, pushed)) = scene() else { return };
    scene.build(&["-o", "type=tar,dest=files.tar", "--platform", TWO]).succeeded();
    let mut list = Command::new("tar");
    let list = process::output(list.arg("-tf").arg(scene.cli.work().join("files.tar"))).unwrap();
    let list = String::from_utf8(list).unwrap();
    assert!(list.contains("linux_arm64/srv/data\n") && list.contains("linux_amd64/bin/sh\n"), "{list}");

    let output = scene.cli.command().args(["build", "-o", "-", "--platform", "linux/arm64", "."]).output();
    let files = Tree::of_tar(&output.unwrap().stdout[..]).unwrap();
    assert_eq!(files.entries["machine"], file("aarch64\n", 0o644, (33, 50)));
    assert_same(&files, &pushed.children[1].root());
}

#[test]
fn cacheonly_writes_nothing_and_fills_the_cache() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN echo once > /x\n");
    let build = ["-o", "type=cacheonly", "--platform", TWO, "--metadata-file", "meta.json"];
    scene.build(&build).succeeded();
    assert_eq!(names(&scene.cli.work()), ["Dockerfile", "meta.json"]);
    let steps = |key: &str| scene.json("meta.json")["archway.platforms"][1][key].as_u64();
    assert_eq!((steps("stepsRun"), steps("stepsCached")), (Some(2), Some(0)));
    scene.build(&build).succeeded();
    assert_eq!((steps("stepsRun"), steps("stepsCached")), (Some(0), Some(2)));
    assert_eq!(scene.archway(&["images", "--format", "json"]).succeeded().stdout.trim(), "[]");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_before_anything_is_published() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(DOCKERFILE);
    scene.file("data", "data\n");
    let image = scene.image("1");
    for flag in ["--metadata-file", "--iidfile"] {
        let run = scene.build(&["--push", "-t", &image, flag, "missing/file"]).exited(2);
        assert!(run.stderr.contains("missing/file"), "{}", run.stderr);
    }
    assert!(scene.requests().is_empty(), "the registry was asked for something");
}

#[test]
fn files_tell_what_was_built() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(DOCKERFILE);
    scene.file("data", "data\n");
    let image = scene.image("1");
    let files = ["--iidfile", "id", "--metadata-file", "meta.json", "--platform", TWO];
    let run = scene.build(&[&["--push", "-t", &image][..], &files].concat()).succeeded();
    let index = ImageIndex::pushed(&image);
    let digest = index.digest.to_string();
    assert_eq!(run.stdout, format!("{digest}\n"));
    assert_eq!(fs::read_to_string(scene.cli.work().join("id")).unwrap(), digest);
    let metadata = scene.json("meta.json");
    assert_eq!(metadata["containerimage.digest"], *digest);
    assert_eq!(metadata["containerimage.descriptor"]["digest"], *digest);
    assert_eq!(metadata["containerimage.descriptor"]["mediaType"], index.document["mediaType"]);
    assert_eq!(metadata["image.name"], *image);
    let platforms = metadata["archway.platforms"].as_array().unwrap();
    for (result, child) in platforms.iter().zip(index.document["manifests"].as_array().unwrap()) {
        assert_eq!(result["digest"], child["digest"]);
        assert_eq!(result["state"], "Succeeded");
        assert_eq!(result["platform"]["architecture"], child["platform"]["architecture"]);
    }
    scene.build(&["-t", "app", "--metadata-file", "one.json", "--platform", "linux/arm64"]).succeeded();
    let config: Digest =
        serde_json::from_value(scene.json("one.json")["containerimage.config.digest"].clone()).unwrap();
    assert_eq!(config.to_string(), index.children[1].manifest["config"]["digest"]);
}

#[test]
fn several_outputs_come_from_one_build() {
    let Some((scene, pushed)) = scene() else { return };
    let outputs = ["-o", "type=oci,dest=a.tar", "-o", "files", "-o", "type=image", "--push"];
    let image = scene.image("2");
    scene.build(&[&["-t", &image, "--platform", TWO][..], &outputs].concat()).succeeded();
    let archive = format!("oci-archive:{}", scene.cli.work().join("a.tar").display());
    assert_eq!(ImageIndex::read(&archive).digest, pushed.digest);
    assert_eq!(ImageIndex::pushed(&image).digest, pushed.digest);
    assert!(scene.cli.work().join("files/linux_arm64/machine").exists());
}

#[test]
fn push_by_digest_moves_no_tag() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    let name = scene.image("1");
    let repository = name.rsplit_once(':').unwrap().0;
    let output = format!("type=image,name={repository},push=true,push-by-digest=true");
    let run = scene.build(&["-o", &output, "--platform", TWO]).succeeded();
    let index = ImageIndex::pushed(&format!("{repository}@{}", run.stdout.trim()));
    assert_eq!(index.platforms(), ["linux/amd64", "linux/arm64"]);
    Skopeo::new().raw_manifest(&format!("docker://{name}")).unwrap_err();
}

#[test]
fn the_store_keeps_all_platforms_under_names() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN uname -m > /machine\n");
    scene.build(&["-t", "app:1", "--platform", TWO]).succeeded();
    scene.archway(&["tag", "app:1", "other:2"]).succeeded();
    let list = || -> Vec<String> {
        let text = scene.archway(&["images", "--format", "json"]).succeeded().stdout;
        let images: Vec<Value> = serde_json::from_str(&text).unwrap();
        images
            .iter()
            .map(|image| format!("{} {}", image["name"], image["platforms"].as_array().unwrap().len()))
            .collect()
    };
    assert_eq!(list(), [r#""app:1" 2"#, r#""other:2" 2"#]);
    scene.archway(&["rmi", "app:1"]).succeeded();
    assert_eq!(list(), [r#""other:2" 2"#]);
    let run = scene.archway(&["rmi", "othr:2"]).exited(1);
    assert!(run.stderr.contains("othr:2"), "{}", run.stderr);

    scene.file("Dockerfile", "FROM other:2\nRUN echo more >> /machine\n");
    scene.push(TWO);
    let index = ImageIndex::pushed(&scene.image("1"));
    let machines: Vec<String> = index.children.iter().map(|child| child.text("machine")).collect();
    assert_eq!(machines, ["x86_64\nmore\n", "aarch64\nmore\n"]);
}

#[test]
fn layers_are_compressed_as_the_output_asks() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nCOPY Dockerfile text /\n");
    scene.file("text", &"the same again and again, or nearly so\n".repeat(2000));
    let layer = |name: &str, keys: &str| {
        scene.build(&["-o", &format!("type=oci,dest={name},tar=false{keys}")]).succeeded();
        let image = ImageIndex::read(&format!("oci:{}", scene.cli.work().join(name).display()));
        let child = &image.children[0];
        let kind = child.manifest["layers"][0]["mediaType"].as_str().unwrap().to_owned();
        (kind, child.layer_digests(), child.config["rootfs"]["diff_ids"].clone())
    };
    let plain = layer("plain", "");
    let best = layer("best", ",compression=gzip,compression-level=9");
    let zstd = layer("zstd", ",compression=zstd,force-compression=false");
    assert!(plain.0.ends_with("+gzip") && best.0.ends_with("+gzip") && zstd.0.ends_with("+zstd"));
    assert!(plain.1 != best.1 && plain.1 != zstd.1, "{plain:?} {best:?}");
    assert!(plain.2 == best.2 && plain.2 == zstd.2, "the tar is the same");
    let refused = scene.build(&["-o", "type=oci,dest=x,force-compression=true"]).exited(2);
    assert!(refused.stderr.contains("force-compression=true is not supported"), "{}", refused.stderr);
}
