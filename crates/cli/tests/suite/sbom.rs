//! `archway sbom`, compared with what the image's own tools say.

use std::{collections::BTreeSet, fs};

use archway_testkit::{BaseImages, Peer, Skopeo, bases::Architecture, process};
use serde_json::Value;

use super::scene::{Scene, TWO};

/// `NAME VERSION` of the packages that dpkg has in an image.
fn of_dpkg(scene: &Scene, image: &str) -> BTreeSet<String> {
    let query = ["run", image, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n"];
    scene.archway(&query).succeeded().stdout.lines().map(str::to_owned).collect()
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_bill_lists_what_dpkg_lists() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image("debian");
    // This machine's only: those of others run under emulation.
    let native = Architecture::host().unwrap();
    BaseImages::open().unwrap().debian(&[native]).unwrap().push(&image).unwrap();
    let expected = of_dpkg(&scene, &image);
    assert!(expected.len() > 50, "{expected:?}");

    let arguments = ["sbom", "--platform", "local", "--format", "spdx", &image];
    let spdx = document(&scene.archway(&arguments).succeeded().stdout);
    let is_deb = |package: &&Value| {
        package["externalRefs"][0]["referenceLocator"]
            .as_str()
            .is_some_and(|purl| purl.starts_with("pkg:deb/debian/"))
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed: BTreeSet<String> = spdx["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_deb)
        .map(|package| format!("{} {}", text(&package["name"]), text(&package["versionInfo"])))
        .collect();
    assert_eq!(listed, expected);
    // The same document each time.
    assert_eq!(document(&scene.archway(&arguments).succeeded().stdout), spdx);

    let arguments = ["sbom", "--platform", "local", "--format", "cyclonedx", "-o", "bom.json", &image];
    scene.archway(&arguments).succeeded();
    let bom = scene.json("bom.json");
    let libraries =
        bom["components"].as_array().unwrap().iter().filter(|component| component["type"] == "library");
    assert_eq!(libraries.count(), spdx["packages"].as_array().unwrap().len() - 2);
    assert_eq!(bom["metadata"]["component"]["name"], spdx["name"]);

    let table = scene.archway(&["sbom", "--platform", "local", &image]).succeeded().stdout;
    assert!(table.contains("Debian GNU/Linux") && table.contains("libc6"), "{table}");
}

#[test]
fn packages_of_layers_are_listed_for_each_platform() {
    let Some(scene) = Scene::new() else { return };
    scene.file("METADATA", "Metadata-Version: 2.1\nName: Six\nVersion: 1.16.0\nLicense: MIT\n");
    scene.file("package.json", r#"{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}"#);
    scene.dockerfile(
        "FROM BASE\nARG TARGETARCH\nCOPY METADATA /opt/six-1.16.0.dist-info/METADATA\n\
         COPY package.json /opt/node_modules/left-pad/package.json\n\
         RUN if [ $TARGETARCH = arm64 ]; then rm -r /opt/node_modules; fi\n",
    );
    scene.build(&["-t", "app:1", "--platform", TWO]).succeeded();
    let bill = |platform: &str| {
        let run =
            scene.archway(&["sbom", "--format", "cyclonedx", "--platform", platform, "app:1"]).succeeded();
        let purls = document(&run.stdout)["components"].as_array().unwrap().clone();
        purls.iter().filter_map(|component| component["purl"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let has = |purls: &[String], purl: &str| purls.iter().any(|listed| listed == purl);
    let (amd64, arm64) = (bill("linux/amd64"), bill("linux/arm64"));
    assert!(has(&amd64, "pkg:pypi/six@1.16.0") && has(&amd64, "pkg:npm/left-pad@1.3.0"), "{amd64:?}");
    assert!(has(&arm64, "pkg:pypi/six@1.16.0") && !has(&arm64, "pkg:npm/left-pad@1.3.0"), "{arm64:?}");

    let run = scene.archway(&["sbom", "--format", "spdx", "app:1"]).exited(2);
    assert!(run.stderr.contains("choose one with --platform: linux/amd64, linux/arm64"), "{}", run.stderr);
    scene.archway(&["sbom", "--platform", "linux/s390x", "app:1"]).exited(1);
}

/// A Dockerfile that adds one Python distribution to the base.
fn with_six(scene: &Scene) {
    scene.file("METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\nLicense: MIT\n");
    scene.dockerfile("FROM BASE\nCOPY METADATA /opt/six-1.16.0.dist-info/METADATA\n");
}

#[test]
fn a_build_attaches_the_bill_that_is_printed_later() {
    let Some(scene) = Scene::new() else { return };
    with_six(&scene);
    let image = scene.image("1");
    let build =
        || scene.build(&["--push", "-t", &image, "--platform", TWO, "--sbom=true"]).succeeded().stdout;
    let digest = build();
    assert_eq!(build(), digest, "bills of materials depend on the image alone");
    let read =
        |reference: &str| document_of(&Skopeo::new().raw_manifest(&format!("docker://{reference}")).unwrap());
    let index = read(&image);
    let repository = image.rsplit_once(':').unwrap().0;
    let children = index["manifests"].as_array().unwrap();
    assert_eq!(children.len(), 4);
    for (child, platform) in children[2..].iter().zip(TWO.split(',')) {
        let manifest = read(&format!("{repository}@{}", child["digest"].as_str().unwrap()));
        let layer = &manifest["layers"][0];
        assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], "https://spdx.dev/Document");
        let statement = document_of(&fs::read(scene.stored_blob(layer["digest"].as_str().unwrap())).unwrap());
        let printed = scene
            .archway(&["sbom", "--pull", "--format", "spdx", "--platform", platform, &image])
            .succeeded();
        assert_eq!(statement["predicate"], document(&printed.stdout));
    }
    let Some(buildx) = Peer::required("buildx") else { return };
    let mut inspect = buildx.command();
    inspect.args(["imagetools", "inspect", &image, "--format", "{{json .SBOM}}"]);
    let shown = document_of(&process::output(&mut inspect).unwrap());
    let names =
        shown["linux/arm64"]["SPDX"]["packages"].as_array().unwrap().iter().map(|package| &package["name"]);
    assert!(names.into_iter().any(|name| name == "six"), "{shown}");
}

#[test]
fn outputs_that_are_files_have_the_bill_among_them() {
    let Some(scene) = Scene::new() else { return };
    with_six(&scene);
    scene.build(&["-o", "out", "--sbom=format=cyclonedx"]).succeeded();
    let statement = scene.json("out/sbom.cdx.json");
    let bom = if statement["predicate"].is_null() { &statement } else { &statement["predicate"] };
    let purls: Vec<&Value> =
        bom["components"].as_array().unwrap().iter().map(|component| &component["purl"]).collect();
    assert!(purls.iter().any(|purl| **purl == "pkg:pypi/six@1.16.0"), "{purls:?}");
    let run = scene.build(&["-o", "out", "--sbom=generator=docker/scout-sbom-indexer"]).exited(2);
    assert!(run.stderr.contains("no generator image runs here"), "{}", run.stderr);
}

#[test]
fn what_was_found_in_a_layer_is_kept() {
    let Some(scene) = Scene::new() else { return };
    with_six(&scene);
    scene.build(&["-o", "type=oci,dest=layout,tar=false"]).succeeded();
    let arguments = ["sbom", "--platform", "local", "--format", "spdx", "oci:layout"];
    let first = scene.archway(&arguments).succeeded().stdout;
    assert!(first.contains("pkg:pypi/six@1.16.0"), "{first}");
    // Without its layers, the image can be described by what is known of them, and by that alone.
    let manifest = &scene.json("layout/index.json")["manifests"][0]["digest"];
    let blob = |digest: &Value| {
        format!("layout/blobs/sha256/{}", digest.as_str().unwrap().trim_start_matches("sha256:"))
    };
    let mut document = scene.json(&blob(manifest));
    while let Some(child) = document.get("manifests") {
        document = scene.json(&blob(&child[0]["digest"]));
    }
    for layer in document["layers"].as_array().unwrap() {
        fs::remove_file(scene.cli.work().join(blob(&layer["digest"]))).unwrap();
    }
    assert_eq!(scene.archway(&arguments).succeeded().stdout, first);
    fs::remove_dir_all(scene.cli.root().join("facts")).unwrap();
    let run = scene.archway(&arguments).exited(4);
    assert!(run.stderr.contains("is missing"), "{}", run.stderr);
}

fn document_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
