//! `archway copy`: between repositories, registries, layouts and archives, read back by skopeo.

use std::{fs, process::Command};

use archway_oci::{ContainerConfig, Digest, Index, media_type};
use archway_testkit::{
    RealRegistry, Skopeo,
    image::{Image, LayerBuilder, PlatformImage},
    peers::Peer,
    process,
    registry::Request,
};
use serde_json::Value;

use super::{
    index_create::{attest, docker_manifest, layout, pushed, repository},
    readback::ImageIndex,
    referrers::{SIGNATURE, listed, sign},
    scene::{Scene, TWO},
};

fn copy(scene: &Scene, arguments: &[&str]) -> Digest {
    let run = scene.archway(&[&["copy"], arguments].concat()).succeeded();
    run.stdout.trim().parse().unwrap()
}

/// Requests that carry bytes of blobs.
fn uploads(requests: Vec<Request>) -> Vec<Request> {
    let is_upload = |request: &Request| {
        request.path.contains("/blobs/uploads/") && ["PATCH", "PUT"].contains(&request.method.as_str())
    };
    requests.into_iter().filter(is_upload).collect()
}

#[test]
fn within_a_registry_no_byte_of_a_blob_moves() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN uname -m > /machine\n");
    let digest = scene.push(TWO);
    let Some(other) = Scene::new() else { return };
    let before = scene.requests().len();
    // On another machine: what the first has in its store does not help.
    let copied = copy(&other, &[&scene.image("1"), &other.image("copy")]);
    assert_eq!(copied.to_string(), digest);
    let there = ImageIndex::pushed(&other.image("copy"));
    assert_eq!(there.digest, copied);
    assert_eq!(there.children[1].text("machine"), "aarch64\n");
    let to = other.requests();
    assert_eq!(uploads(to.clone()), []);
    let mounts = to.iter().filter(|request| request.method == "POST" && request.status == 201);
    assert!(mounts.count() >= 4, "two configs, two layers and their bases: {to:?}");
    let from = scene.requests().split_off(before);
    assert!(from.iter().all(|request| !request.path.contains("/blobs/")), "{from:?}");
}

#[test]
fn another_registry_gets_everything_once_and_the_tag_last() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let registry = RealRegistry::start().unwrap();
    let target = registry.reference("team/app:1");
    assert_eq!(copy(&scene, &[&scene.image("app"), &target]), image.descriptor.digest);
    let there = ImageIndex::pushed(&target);
    assert_eq!(there.digest, image.descriptor.digest);
    assert_eq!(there.children[0].text("says"), "app linux/amd64");
    let requests = registry.requests().unwrap();
    let manifests: Vec<&str> = requests
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/manifests/"))
        .map(|request| request.path.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(manifests.len(), 3, "{manifests:?}");
    assert_eq!(manifests[2], "1");
    // A copy leaves no layers behind.
    let layer = there.children[0].layer_digests().remove(0);
    let hex = layer.trim_start_matches("sha256:");
    let mut find = Command::new("find");
    find.arg(scene.cli.root()).args(["-name", &format!("*{hex}*")]);
    assert_eq!(process::output(&mut find).unwrap(), b"");

    let before = registry.requests().unwrap().len();
    let run = scene.archway(&["copy", "--progress", "plain", &scene.image("app"), &target]).succeeded();
    assert_eq!(uploads(registry.requests().unwrap().split_off(before)), []);
    assert!(run.stderr.contains("0 blobs copied"), "{}", run.stderr);
}

#[test]
fn a_layer_that_is_larger_than_a_piece_arrives_whole() {
    let Some(scene) = Scene::new() else { return };
    let mut noise = 1_u64;
    let mut byte = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    };
    let large: Vec<u8> = (0..20 << 20).map(|_| byte()).collect();
    let layer = LayerBuilder::new().file("large", 0o644, &large).unwrap().finish().unwrap();
    let config = ContainerConfig::default();
    let image = PlatformImage { platform: "linux/amd64".parse().unwrap(), layers: vec![layer], config };
    let image = Image::write(&scene.cli.work().join("large"), &[image]).unwrap();
    image.push(&scene.image("large")).unwrap();
    let registry = RealRegistry::start().unwrap();
    let target = registry.reference("app:1");
    assert_eq!(copy(&scene, &[&scene.image("large"), &target]), image.descriptor.digest);
    assert!(ImageIndex::pushed(&target).children[0].bytes("large") == large);
}

#[test]
fn a_copy_that_was_interrupted_sends_what_is_missing() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64", "linux/arm64"]);
    let registry = RealRegistry::start().unwrap();
    // All blobs of one platform, and no manifest.
    let one = format!("oci:{}", image.directory.display());
    copy(&scene, &[&one, "--platform", "linux/amd64", &registry.reference("app:half")]);
    let before = registry.requests().unwrap().len();
    copy(&scene, &[&one, &registry.reference("app:1")]);
    let sent = uploads(registry.requests().unwrap().split_off(before));
    assert_eq!(
        sent.iter().filter(|request| request.method == "PUT").count(),
        2,
        "a config and a layer: {sent:?}"
    );
    assert_eq!(ImageIndex::pushed(&registry.reference("app:1")).digest, image.descriptor.digest);
}

#[test]
fn files_are_places_like_any_other() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let digest = image.descriptor.digest;
    let registry = RealRegistry::start().unwrap();
    let last = registry.reference("app:2");
    let places = [&*scene.image("app"), "oci:dir:one", "oci-archive:a.tar", "oci:other", &last];
    for pair in places.windows(2) {
        assert_eq!(copy(&scene, &[pair[0], pair[1]]), digest, "{pair:?}");
    }
    let work = scene.cli.work();
    for place in [
        format!("oci:{}:one", work.join("dir").display()),
        format!("oci-archive:{}", work.join("a.tar").display()),
        format!("oci:{}", work.join("other").display()),
        format!("docker://{last}"),
    ] {
        let there = ImageIndex::read(&place);
        assert_eq!(there.digest, digest, "{place}");
        assert_eq!(there.children[1].text("says"), "app linux/arm64", "{place}");
    }
    // The archive is the same each time.
    copy(&scene, &["oci:dir:one", "oci-archive:b.tar"]);
    assert_eq!(fs::read(work.join("a.tar")).unwrap(), fs::read(work.join("b.tar")).unwrap());
}

#[test]
fn a_docker_archive_holds_one_platform() {
    let Some(scene) = Scene::new() else { return };
    pushed(&scene, "app", &["linux/386", "linux/arm64", "linux/s390x"]);
    let from = scene.image("app");
    let run = scene.archway(&["copy", &from, "docker-archive:x.tar", "--platform", "linux/386,linux/arm64"]);
    assert!(run.exited(2).stderr.contains("a Docker archive holds the image of one platform"));
    copy(&scene, &[&from, "docker-archive:arm.tar", "--platform", "linux/arm64"]);
    let place = format!("docker-archive:{}", scene.cli.work().join("arm.tar").display());
    let config = Skopeo::new().config(&place, &"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(config["architecture"], "arm64");
    // And back, as an image that others understand.
    copy(&scene, &["docker-archive:arm.tar", &scene.image("back")]);
    let place = format!("docker://{}", scene.image("back"));
    assert_eq!(Skopeo::new().config(&place, &"linux/arm64".parse().unwrap()).unwrap(), config);
}

#[test]
fn chosen_platforms_make_an_index_of_their_own_with_their_attestations() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "attested", "app", &["linux/amd64", "linux/arm64", "linux/s390x"]);
    attest(&image);
    let source = format!("oci:{}:attested", image.directory.display());
    copy(&scene, &[&source, &scene.image("all")]);
    let platforms = ["--platform", "linux/arm64,linux/s390x", "--progress", "plain"];
    let to = scene.image("some");
    let run = scene.archway(&[&["copy", &scene.image("all"), &to][..], &platforms].concat()).succeeded();
    assert!(run.stderr.contains("another digest than the source"), "{}", run.stderr);
    let raw = Skopeo::new().raw_manifest(&format!("docker://{to}")).unwrap();
    assert_eq!(Digest::sha256(&raw).to_string(), run.stdout.trim());
    let index = Index::parse(&raw).unwrap();
    let listed: Vec<String> = index
        .manifests
        .iter()
        .map(|child| match child.annotations.get("vnd.docker.reference.digest") {
            Some(subject) => format!("about {subject}"),
            None => child.digest.to_string(),
        })
        .collect();
    let [arm64, s390x] = [1, 2].map(|number| image.manifests[number].digest.to_string());
    let expected = [arm64.clone(), s390x.clone(), format!("about {arm64}"), format!("about {s390x}")];
    assert_eq!(listed, expected);
    let missing = scene.archway(&["copy", &scene.image("all"), &to, "--platform", "linux/386"]).exited(1);
    assert!(missing.stderr.contains("there is no image for linux/386"), "{}", missing.stderr);
}

#[test]
fn documents_of_docker_stay_as_they_are() {
    let Some(scene) = Scene::new() else { return };
    for (tag, platform) in [("amd64", "linux/amd64"), ("arm64", "linux/arm64")] {
        docker_manifest(&layout(&scene, tag, tag, &[platform]), &scene.image(tag));
    }
    let (list, registry) = (scene.image("list"), RealRegistry::start().unwrap());
    scene
        .archway(&["index", "create", "-t", &list, &scene.image("amd64"), &scene.image("arm64")])
        .succeeded();
    let target = registry.reference("app:1");
    copy(&scene, &[&list, "oci:dir"]);
    copy(&scene, &["oci:dir", &target]);
    let there = ImageIndex::pushed(&target);
    assert_eq!(there.digest, ImageIndex::pushed(&list).digest);
    assert_eq!(there.document["mediaType"], media_type::DOCKER_INDEX);
    assert_eq!(there.children[0].manifest["mediaType"], media_type::DOCKER_MANIFEST);
    assert_eq!(there.children[1].text("says"), "arm64 linux/arm64");
}

#[test]
fn what_refers_to_an_image_goes_with_it() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64", "linux/arm64"]);
    let (index, arm64) = (&image.descriptor, &image.manifests[1]);
    let of_index = sign(&image.directory, index, "the index is good");
    let of_arm64 = sign(&image.directory, arm64, "arm64 is good");
    let of_signature = sign(&image.directory, &of_index, "the signature is good");
    let source = format!("oci:{}", image.directory.display());
    let registry = RealRegistry::start().unwrap();
    let repositories = [repository(&scene), registry.reference("one"), registry.reference("two")];
    let mut from = source.clone();
    for name in &repositories {
        copy(&scene, &[&from, &format!("{name}:1")]);
        for (subject, referrer) in [(index, &of_index), (arm64, &of_arm64), (&of_index, &of_signature)] {
            assert_eq!(listed(name, &subject.digest), std::slice::from_ref(referrer), "{name}");
            let raw = Skopeo::new().raw_manifest(&format!("docker://{name}@{}", referrer.digest)).unwrap();
            assert!(String::from_utf8(raw).unwrap().contains(SIGNATURE));
        }
        assert_eq!(listed(name, &image.manifests[0].digest), []);
        from = format!("{name}:1");
    }
    // Some platforms: what is said of the whole index stays, and that is said.
    let some = registry.reference("some");
    let run = scene
        .archway(&["copy", &from, &format!("{some}:1"), "--platform", "linux/arm64", "--progress", "plain"])
        .succeeded();
    assert!(run.stderr.contains("1 referrer is left behind"), "{}", run.stderr);
    assert_eq!(listed(&some, &arm64.digest), std::slice::from_ref(&of_arm64));
    let without = registry.reference("without");
    copy(&scene, &[&from, &format!("{without}:1"), "--referrers=false"]);
    assert_eq!(Skopeo::new().tags(&without).unwrap(), ["1"]);
    // Back into files, where the image is still the only one without a name.
    for place in ["oci:back", "oci-archive:back.tar"] {
        copy(&scene, &[&from, place]);
        let name = registry.reference(if place == "oci:back" { "layout" } else { "archive" });
        copy(&scene, &[place, &format!("{name}:1")]);
        assert_eq!(listed(&name, &of_index.digest), std::slice::from_ref(&of_signature), "{place}");
    }
}

#[test]
fn an_index_that_is_made_elsewhere_takes_referrers_along() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64", "linux/arm64"]);
    let of_arm64 = sign(&image.directory, &image.manifests[1], "arm64 is good");
    copy(&scene, &[&format!("oci:{}", image.directory.display()), &scene.image("1")]);
    let Some(other) = Scene::new() else { return };
    let to = other.image("1");
    scene
        .archway(&["index", "create", "-t", &to, "--platform", "linux/arm64", &scene.image("1")])
        .succeeded();
    assert_eq!(listed(&repository(&other), &image.manifests[1].digest), [of_arm64]);
}

#[test]
fn a_tag_does_not_move_to_what_is_not_complete() {
    let Some(scene) = Scene::new() else { return };
    let old = pushed(&scene, "app", &["linux/amd64", "linux/arm64"]);
    let image = layout(&scene, "broken", "new", &["linux/amd64", "linux/arm64"]);
    let source = format!("oci:{}", image.directory.display());
    let blob = |digest: &Digest| image.directory.join("blobs/sha256").join(digest.hex());
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(blob(&image.manifests[1].digest)).unwrap()).unwrap();
    let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let content = fs::read(blob(&layer)).unwrap();
    let mut damaged = content.clone();
    damaged[20] ^= 1;
    fs::write(blob(&layer), damaged).unwrap();
    let target = scene.image("app");
    scene.archway(&["copy", &source, &target]).exited(1);
    for place in ["oci:copy", "oci-archive:copy.tar"] {
        let run = scene.archway(&["copy", &source, place]).exited(1);
        assert!(run.stderr.contains(layer.as_str()), "{}", run.stderr);
    }
    assert!(!scene.cli.work().join("copy.tar").exists());
    let named = Index::parse(&fs::read(scene.cli.work().join("copy/index.json")).unwrap()).unwrap();
    assert_eq!(named.manifests, []);
    fs::remove_file(blob(&layer)).unwrap();
    let run = scene.archway(&["copy", &source, &target]).exited(1);
    assert!(run.stderr.contains(layer.as_str()), "{}", run.stderr);
    assert_eq!(ImageIndex::pushed(&target).digest, old.descriptor.digest);
    fs::write(blob(&layer), content).unwrap();
    copy(&scene, &[&source, &target]);
    assert_eq!(ImageIndex::pushed(&target).digest, image.descriptor.digest);
}

#[test]
fn a_digest_at_the_destination_is_a_condition() {
    let Some(scene) = Scene::new() else { return };
    let image = pushed(&scene, "app", &["linux/amd64"]);
    let Some(other) = Scene::new() else { return };
    let to = |digest: &Digest| format!("{}@{digest}", repository(&other));
    let wrong = scene.archway(&["copy", &scene.image("app"), &to(&Digest::sha256(b"x"))]).exited(2);
    assert!(wrong.stderr.contains("cannot be had: the copy is"), "{}", wrong.stderr);
    copy(&scene, &[&scene.image("app"), &to(&image.descriptor.digest)]);
    let raw = Skopeo::new().raw_manifest(&format!("docker://{}", to(&image.descriptor.digest))).unwrap();
    assert_eq!(Digest::sha256(&raw), image.descriptor.digest);
}

#[test]
fn crane_and_buildx_read_what_was_copied_and_annotated() {
    let Some(scene) = Scene::new() else { return };
    let (Some(buildx), Some(crane)) = (Peer::required("buildx"), Peer::required("crane")) else { return };
    let image = layout(&scene, "attested", "app", &["linux/amd64", "linux/arm64"]);
    attest(&image);
    let target = scene.image("1");
    copy(&scene, &[&format!("oci:{}:attested", image.directory.display()), &target]);
    let run = scene.archway(&["index", "annotate", &target, "org.example.k=v"]).succeeded();
    let digest = run.stdout.trim();

    let mut inspect = buildx.command();
    inspect.args(["imagetools", "inspect", &target, "--format", "{{json .Manifest}}"]);
    let read: Value = serde_json::from_slice(&process::output(&mut inspect).unwrap()).unwrap();
    assert_eq!(read["digest"], digest, "{read}");
    assert_eq!(read["annotations"]["org.example.k"], "v", "{read}");
    assert_eq!(read["manifests"].as_array().unwrap().len(), 4, "{read}");

    let mut read = crane.command();
    read.args(["digest", "--insecure", "--platform", "linux/arm64", &target]);
    let read = String::from_utf8(process::output(&mut read).unwrap()).unwrap();
    assert_eq!(read.trim(), image.manifests[1].digest.as_str());
    // Every blob, with its size and digest; layers with their diffIDs.
    let mut validate = crane.command();
    validate.args(["validate", "--insecure", "--platform", "linux/arm64", "--remote", &target]);
    process::output(&mut validate).unwrap();
    copy(&scene, &[&target, "oci:dir:1"]);
    let mut push = crane.command();
    let pushed = scene.image("by-crane");
    push.args(["push", "--insecure"]).arg(scene.cli.work().join("dir")).arg(&pushed);
    process::output(&mut push).unwrap();
    let raw = Skopeo::new().raw_manifest(&format!("docker://{pushed}")).unwrap();
    assert_eq!(Digest::sha256(&raw).to_string(), digest, "crane reads the layout");
}
