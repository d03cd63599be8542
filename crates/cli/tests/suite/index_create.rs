//! `archway index create`: sources of every kind, read back by skopeo.

use std::{fs, process::Command};

use archway_oci::{ContainerConfig, Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use archway_testkit::{
    Skopeo,
    image::{Image, LayerBuilder, PlatformImage},
    process,
};
use serde_json::{Value, json};

use super::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

/// An image for each platform, whose file says `text` and its platform, in a layout.
pub(crate) fn layout(scene: &Scene, name: &str, text: &str, platforms: &[&str]) -> Image {
    let image = |name: &&str| PlatformImage {
        platform: name.parse().unwrap(),
        layers: vec![
            LayerBuilder::new()
                .file("says", 0o644, format!("{text} {name}").as_bytes())
                .unwrap()
                .finish()
                .unwrap(),
        ],
        config: ContainerConfig::default(),
    };
    let images: Vec<PlatformImage> = platforms.iter().map(image).collect();
    Image::write(&scene.cli.work().join(name), &images).unwrap()
}

/// The same, pushed to the test's repository as `tag`.
pub(crate) fn pushed(scene: &Scene, tag: &str, platforms: &[&str]) -> Image {
    let image = layout(scene, &format!("layout-{tag}"), tag, platforms);
    image.push(&scene.image(tag)).unwrap();
    image
}

fn create(scene: &Scene, arguments: &[&str]) -> Digest {
    let run = scene.archway(&[&["index", "create"], arguments].concat()).succeeded();
    run.stdout.trim().parse().unwrap()
}

pub(crate) fn repository(scene: &Scene) -> String {
    scene.image("x").parse::<Reference>().unwrap().repository_name()
}

#[test]
fn each_machine_builds_its_platform_and_the_last_job_merges() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN uname -m > /machine\n");
    let output = format!("type=image,name={},push=true,push-by-digest=true", repository(&scene));
    let digests = TWO.split(',').map(|platform| {
        let run = scene.build(&["--platform", platform, "-o", &output]).succeeded();
        run.stdout.trim().to_owned()
    });
    let mut arguments = vec!["-t".to_owned(), scene.image("1"), "-t".to_owned(), scene.image("latest")];
    arguments.extend(digests);
    let before = scene.requests().len();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let digest = create(&scene, &arguments);
    let merged = ImageIndex::pushed(&scene.image("1"));
    assert_eq!(merged.digest, digest);
    assert_eq!(merged.platforms(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(
        [merged.children[0].text("machine"), merged.children[1].text("machine")],
        ["x86_64\n", "aarch64\n"]
    );
    assert_eq!(ImageIndex::pushed(&scene.image("latest")).digest, digest);
    // Nothing is copied within a repository: the index is all that is written, once for each tag.
    let writes: Vec<_> =
        scene.requests().split_off(before).into_iter().filter(|r| r.method == "PUT").collect();
    assert_eq!(writes.len(), 2, "{writes:?}");
    // The same as one build makes.
    assert_eq!(scene.push(TWO), digest.to_string());
}

#[test]
fn sources_may_be_layouts_archives_references_and_descriptors() {
    let Some(scene) = Scene::new() else { return };
    let arm64 = layout(&scene, "arm64", "layout", &["linux/arm64"]);
    let s390x = layout(&scene, "s390x", "archive", &["linux/s390x"]);
    let archive = scene.cli.work().join("s390x.tar");
    Skopeo::new().copy(&s390x.oci_reference(), &format!("oci-archive:{}", archive.display())).unwrap();
    pushed(&scene, "amd64", &["linux/amd64"]);
    let both = pushed(&scene, "both", &["linux/386", "linux/ppc64le"]);
    let mut described =
        Descriptor { annotations: [("k".into(), "v".into())].into(), ..both.manifests[1].clone() };
    described.platform = None;
    scene.file("descriptor.json", &serde_json::to_string(&described).unwrap());

    let archive = format!("oci-archive:{}", archive.display());
    let digest = create(
        &scene,
        &[
            "-t",
            &scene.image("all"),
            "--file",
            "descriptor.json",
            &scene.image("amd64"),
            &arm64.oci_reference(),
            &archive,
        ],
    );
    let made = ImageIndex::pushed(&scene.image("all"));
    assert_eq!(made.digest, digest);
    assert_eq!(made.platforms(), ["linux/ppc64le", "linux/amd64", "linux/arm64", "linux/s390x"]);
    assert_eq!(made.document["manifests"][0]["annotations"], json!({"k": "v"}));
    for (child, text) in made.children.iter().zip(["both", "amd64", "layout", "archive"]) {
        assert_eq!(child.text("says"), format!("{text} {}", child.platform));
    }
}

#[test]
fn what_is_appended_replaces_its_platform_only() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    pushed(&scene, "fixed", &["linux/arm64", "linux/s390x"]);
    let tag = scene.image("app");
    create(&scene, &["--append", "-t", &tag, "--annotation", "org.example.fixed=arm", &scene.image("fixed")]);
    let made = ImageIndex::pushed(&tag);
    assert_eq!(made.platforms(), ["linux/amd64", "linux/arm64", "linux/s390x"]);
    let texts: Vec<String> = made.children.iter().map(|child| child.text("says")).collect();
    assert_eq!(texts, ["app linux/amd64", "fixed linux/arm64", "fixed linux/s390x"]);
    assert_eq!(made.document["annotations"], json!({"org.example.fixed": "arm"}));
}

#[test]
fn two_images_for_one_platform_are_an_error_and_move_no_tag() {
    let Some(scene) = Scene::new() else { return };
    let there = pushed(&scene, "app", &["linux/amd64"]);
    pushed(&scene, "other", &["linux/amd64"]);
    let run = scene.archway(&[
        "index",
        "create",
        "-t",
        &scene.image("app"),
        &scene.image("app"),
        &scene.image("other"),
    ]);
    let run = run.exited(1);
    assert!(run.stderr.contains("are both for linux/amd64"), "{}", run.stderr);
    assert_eq!(ImageIndex::pushed(&scene.image("app")).digest, there.descriptor.digest);
}

#[test]
fn platforms_are_chosen_and_a_missing_one_is_said() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/amd64", "linux/arm64", "linux/s390x"]);
    let (from, to) = (scene.image("app"), scene.image("less"));
    create(&scene, &["-t", &to, "--platform", "linux/s390x,linux/aarch64", &from]);
    assert_eq!(ImageIndex::pushed(&to).platforms(), ["linux/arm64", "linux/s390x"]);
    let run = scene.archway(&["index", "create", "-t", &to, "--platform", "linux/riscv64", &from]).exited(1);
    assert!(run.stderr.contains("there is no image for linux/riscv64"), "{}", run.stderr);
    assert!(run.stderr.contains("there is linux/amd64, linux/arm64, linux/s390x"), "{}", run.stderr);
}

#[test]
fn an_index_that_is_as_it_should_be_keeps_its_digest() {
    let Some(scene) = Scene::new() else { return };
    let there = pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let digest = create(&scene, &["-t", &scene.image("copy"), &scene.image("app")]);
    assert_eq!(digest, there.descriptor.digest);
    assert_eq!(ImageIndex::pushed(&scene.image("copy")).digest, digest);
}

#[test]
fn a_single_image_becomes_an_index_unless_it_is_not_to() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/arm64"]);
    let manifest = &image.manifests[0].digest;
    let source = format!("{}@{manifest}", repository(&scene));
    create(&scene, &["-t", &scene.image("index"), &source]);
    assert_eq!(ImageIndex::pushed(&scene.image("index")).platforms(), ["linux/arm64"]);
    let digest = create(&scene, &["-t", &scene.image("bare"), "--prefer-index=false", &source]);
    assert_eq!(digest, *manifest);
    let bare = Skopeo::new().raw_manifest(&format!("docker://{}", scene.image("bare"))).unwrap();
    assert_eq!(Digest::sha256(&bare), *manifest);
}

#[test]
fn another_repository_gets_the_blobs_by_mounting_them() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let Some(other) = Scene::new() else { return };
    let digest = create(&scene, &["-t", &other.image("1"), &scene.image("app")]);
    let copied = ImageIndex::pushed(&other.image("1"));
    assert_eq!(copied.digest, digest);
    assert_eq!(copied.children[1].text("says"), "app linux/arm64");
    let methods: Vec<_> =
        other.requests().into_iter().filter(|r| r.path.contains("/blobs/uploads/")).collect();
    assert_eq!(methods.len(), 4, "two configs and two layers are mounted: {methods:?}");
    assert!(methods.iter().all(|request| request.method == "POST" && request.status == 201), "{methods:?}");
}

#[test]
fn another_registry_gets_copies_of_everything() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let registry = archway_testkit::RealRegistry::start().unwrap();
    let (one, two) = (registry.reference("a/app:1"), scene.image("copy"));
    let digest =
        create(&scene, &["-t", &one, "-t", &two, "--metadata-file", "meta.json", &scene.image("app")]);
    for name in [&one, &two] {
        let copied = ImageIndex::pushed(name);
        assert_eq!(copied.digest, digest);
        assert_eq!(copied.children[0].text("says"), "app linux/amd64");
    }
    let metadata = scene.json("meta.json");
    assert_eq!(metadata["containerimage.digest"], digest.as_str());
    assert_eq!(metadata["containerimage.descriptor"]["digest"], digest.as_str());
    assert_eq!(metadata["image.name"], format!("{one},{two}"));
}

#[test]
fn a_dry_run_shows_the_index_and_publishes_nothing() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let arguments = [
        "index",
        "create",
        "--dry-run",
        "-t",
        &scene.image("new"),
        "--annotation",
        "index:a=b",
        "--annotation",
        "manifest-descriptor[linux/arm64]:c=d",
        &scene.image("app"),
    ];
    let run = scene.archway(&arguments).succeeded();
    let index: Index = Index::parse(run.stdout.as_bytes()).unwrap();
    assert_eq!(index.annotations["a"], "b");
    let annotated: Vec<bool> =
        index.manifests.iter().map(|child| child.annotations.contains_key("c")).collect();
    assert_eq!(annotated, [false, true]);
    let tags = Skopeo::new().tags(&repository(&scene)).unwrap();
    assert_eq!(tags, ["app"]);
}

#[test]
fn docker_s_manifests_make_a_manifest_list() {
    let Some(scene) = Scene::new() else { return };
    for (tag, platform) in [("amd64", "linux/amd64"), ("arm64", "linux/arm64")] {
        let image = layout(&scene, tag, tag, &[platform]);
        docker_manifest(&image, &scene.image(tag));
    }
    create(&scene, &["-t", &scene.image("list"), &scene.image("amd64"), &scene.image("arm64")]);
    let list = ImageIndex::pushed(&scene.image("list"));
    assert_eq!(list.document["mediaType"], media_type::DOCKER_INDEX);
    assert_eq!(list.document["manifests"][0]["mediaType"], media_type::DOCKER_MANIFEST);
    assert_eq!(list.platforms(), ["linux/amd64", "linux/arm64"]);
    create(&scene, &["-t", &scene.image("index"), "--annotation", "a=b", &scene.image("list")]);
    assert_eq!(ImageIndex::pushed(&scene.image("index")).document["mediaType"], media_type::OCI_INDEX);
}

/// Pushes an image as Docker would: skopeo converts it.
pub(crate) fn docker_manifest(image: &Image, reference: &str) {
    let mut skopeo = Command::new("skopeo");
    let architecture = image.platforms().next().unwrap().architecture.clone();
    skopeo.args([
        "--override-arch",
        &architecture,
        "copy",
        "--quiet",
        "--format",
        "v2s2",
        "--dest-tls-verify=false",
    ]);
    process::output(skopeo.arg(image.oci_reference()).arg(format!("docker://{reference}"))).unwrap();
}

#[test]
fn attestations_stay_with_their_image() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "attested", "app", &["linux/amd64", "linux/arm64"]);
    attest(&image);
    let source = format!("oci:{}:attested", image.directory.display());
    create(&scene, &["-t", &scene.image("all"), &source]);
    create(&scene, &["-t", &scene.image("arm64"), "--platform", "linux/arm64", &scene.image("all")]);
    let raw = |tag: &str| -> Value {
        let bytes = Skopeo::new().raw_manifest(&format!("docker://{}", scene.image(tag))).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let subjects = |tag: &str| -> Vec<String> {
        let index = raw(tag);
        let manifests = index["manifests"].as_array().unwrap().iter();
        manifests
            .filter_map(|child| {
                child["annotations"]["vnd.docker.reference.digest"].as_str().map(str::to_owned)
            })
            .collect()
    };
    let digests: Vec<String> = image.manifests.iter().map(|manifest| manifest.digest.to_string()).collect();
    assert_eq!(subjects("all"), digests);
    assert_eq!(subjects("arm64"), digests[1..]);
    assert_eq!(raw("arm64")["manifests"].as_array().unwrap().len(), 2);
}

/// Adds to the layout an index `attested`, with an attestation for each image.
pub(crate) fn attest(image: &Image) {
    let blob = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(image.directory.join("blobs/sha256").join(descriptor.digest.hex()), bytes).unwrap();
        descriptor
    };
    let mut manifests = image.manifests.clone();
    for subject in &image.manifests {
        let mut statement = blob(
            "application/vnd.in-toto+json",
            format!("{{\"subject\":\"{}\"}}", subject.digest).as_bytes(),
        );
        let predicate_type = "https://slsa.dev/provenance/v1".to_owned();
        statement.annotations.insert("in-toto.io/predicate-type".to_owned(), predicate_type);
        let config = blob(media_type::OCI_CONFIG, br#"{"architecture":"unknown","os":"unknown"}"#);
        let manifest = serde_json::to_vec(&Manifest::new(config, vec![statement])).unwrap();
        let mut attestation = blob(media_type::OCI_MANIFEST, &manifest);
        let unknown = || "unknown".to_owned();
        attestation.platform =
            Some(Platform { os: unknown(), architecture: unknown(), ..Platform::default() });
        attestation.annotations = [
            ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
            ("vnd.docker.reference.digest".to_owned(), subject.digest.to_string()),
        ]
        .into();
        manifests.push(attestation);
    }
    let mut index = blob(media_type::OCI_INDEX, &serde_json::to_vec(&Index::new(manifests)).unwrap());
    index.annotations.insert("org.opencontainers.image.ref.name".into(), "attested".into());
    fs::write(image.directory.join("index.json"), serde_json::to_vec(&Index::new(vec![index])).unwrap())
        .unwrap();
}

#[test]
fn an_image_for_another_platform_than_is_said_is_not_listed() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64"]);
    let mut lie = image.manifests[0].clone();
    lie.platform = Some("linux/arm64".parse().unwrap());
    let lie = serde_json::to_string(&lie).unwrap();
    let run = scene.archway(&["index", "create", "-t", &scene.image("lie"), &lie]).exited(4);
    assert!(run.stderr.contains("the image config is for linux/amd64, not linux/arm64"), "{}", run.stderr);
    assert_eq!(Skopeo::new().tags(&repository(&scene)).unwrap(), ["app"]);
}

#[test]
fn what_is_wrong_with_the_command_line_is_said() {
    let Some(scene) = Scene::new() else { return };
    let digest = Digest::sha256(b"x").to_string();
    let table: &[(&[&str], &str)] = &[
        (&["-t", "localhost:1/a:1"], "there is nothing to make an index of"),
        (&["localhost:1/a:1"], "the index needs a name"),
        (&["-t", "localhost:1/a:1", "--annotation", "manifest:a=b", "x"], "manifests stay as they are"),
        (&["-t", "localhost:1/a:1", "localhost:1/b:1", &digest], "it is not clear in which repository"),
    ];
    for (arguments, expected) in table {
        let run = scene.archway(&[&["index", "create"], *arguments].concat()).exited(2);
        assert!(run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
}
