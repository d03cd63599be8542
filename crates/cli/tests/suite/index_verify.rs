//! `archway index verify`: good images, and images that lie, in a real registry.

use std::{fs, path::PathBuf};

use archway_oci::{
    ContainerConfig, Descriptor, Digest, ImageConfig, Index, Manifest, Platform, RootFs, layout::Layout,
    media_type,
};
use archway_testkit::{
    Skopeo,
    cli::Run,
    image::{Layer, LayerBuilder},
};
use serde_json::{Value, json};

use super::scene::{Scene, TWO};

const AMD64: u16 = 62;
const ARM64: u16 = 183;

/// An ELF file of a static, position-independent program for `machine`, without code.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 3;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// A layer with a program `app`, and text that makes its bytes this test's own: tests damage blobs, and
/// share a registry.
fn layer(scene: &Scene, machine: u16) -> Layer {
    let builder = LayerBuilder::new().file("app", 0o755, &program(machine)).unwrap();
    builder.file("about", 0o644, scene.image(&machine.to_string()).as_bytes()).unwrap().finish().unwrap()
}

/// What is to become one image of an index.
struct Part {
    descriptor: Descriptor,
    manifest: Manifest,
    config: ImageConfig,
    layer: Layer,
}

/// Two good images in a layout, each changed by `change` before it is written.
struct Forged {
    directory: PathBuf,
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
}

impl Forged {
    fn new(scene: &Scene, change: impl Fn(&mut Part)) -> Self {
        Self::with_more(scene, change, &[])
    }

    fn with_more(scene: &Scene, change: impl Fn(&mut Part), more: &[Descriptor]) -> Self {
        let directory = scene.cli.work().join("forged");
        let layout = Layout::create(&directory).unwrap();
        let (mut manifests, mut layers) = (Vec::new(), Vec::new());
        for (platform, machine) in [("linux/amd64", AMD64), ("linux/arm64", ARM64)] {
            let platform: Platform = platform.parse().unwrap();
            let layer = layer(scene, machine);
            let config = ImageConfig {
                platform: platform.clone(),
                config: ContainerConfig {
                    entrypoint: Some(vec!["/app".into()]),
                    ..ContainerConfig::default()
                },
                rootfs: RootFs { diff_ids: vec![layer.diff_id.clone()], ..RootFs::default() },
                ..ImageConfig::default()
            };
            let manifest =
                Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b""), vec![layer.descriptor.clone()]);
            let descriptor =
                Descriptor { platform: Some(platform), ..Descriptor::of(media_type::OCI_MANIFEST, b"") };
            let mut part = Part { descriptor, manifest, config, layer };
            change(&mut part);
            layout.write_blob(&part.layer.bytes).unwrap();
            let write = |media_type: &str, document: Vec<u8>| {
                layout.write_blob(&document).unwrap();
                Descriptor::of(media_type, &document)
            };
            let config = serde_json::to_vec(&part.config).unwrap();
            let config = write(media_type::OCI_CONFIG, config);
            let manifest = serde_json::to_vec(&Manifest { config, ..part.manifest.clone() }).unwrap();
            let written = write(media_type::OCI_MANIFEST, manifest);
            layers.extend(part.manifest.layers);
            manifests.push(Descriptor { digest: written.digest, size: written.size, ..part.descriptor });
        }
        let all = [manifests.clone(), more.to_vec()].concat();
        let index = serde_json::to_vec(&Index::new(all)).unwrap();
        layout.write_blob(&index).unwrap();
        let index = Descriptor::of(media_type::OCI_INDEX, &index);
        layout.set_reference(&index, Some("latest")).unwrap();
        Self { directory, layers, manifests }
    }

    fn reference(&self) -> String {
        format!("oci:{}:latest", self.directory.display())
    }

    /// Pushes it to the test's repository, as it is.
    fn push(&self, scene: &Scene) -> String {
        let image = scene.image("forged");
        Skopeo::new().copy(&self.reference(), &format!("docker://{image}")).unwrap();
        image
    }
}

fn verify(scene: &Scene, arguments: &[&str]) -> Run {
    scene.archway(&[&["index", "verify"], arguments].concat())
}

/// The findings, each as `severity check platform message`.
fn findings(run: &Run) -> Vec<String> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("-").to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    all.map(|finding| ["severity", "check", "platform", "message"].map(|key| text(finding, key)).join(" "))
        .collect()
}

/// Verifies as JSON, expects errors, and gives them.
#[track_caller]
fn errors(scene: &Scene, image: &str) -> Vec<String> {
    let run = verify(scene, &[image, "--format", "json"]).exited(4);
    assert!(run.stderr.contains("is not what it says it is"), "{}", run.stderr);
    findings(&run).into_iter().filter(|finding| finding.starts_with("error")).collect()
}

#[test]
fn an_image_of_ours_is_what_it_says_it_is() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN echo hello > /hello\nENTRYPOINT [\"/bin/busybox\"]\n");
    scene.push(TWO);
    let image = scene.image("1");
    let run = verify(&scene, &[&image, "--audit", "fail", "--format", "json"]).succeeded();
    assert_eq!(findings(&run), [""; 0]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let platforms = report["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for platform in platforms {
        assert!(platform["programs"].as_u64().unwrap() > 0, "{platform}");
    }
    let text = verify(&scene, &[&image]).succeeded().stdout;
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("linux/")).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.ends_with("good")), "{text}");
    // A name in the local store does not hide what the registry has.
    scene.archway(&["build", "-t", &image, "--platform", "linux/amd64", "."]).succeeded();
    assert_eq!(verify(&scene, &[&image]).succeeded().stdout, text);
}

#[test]
fn files_of_another_machine_are_found_by_what_they_are() {
    let Some(scene) = Scene::new() else { return };
    let forged = Forged::new(&scene, |part| {
        part.layer = layer(&scene, AMD64);
        part.manifest.layers = vec![part.layer.descriptor.clone()];
        part.config.rootfs.diff_ids = vec![part.layer.diff_id.clone()];
    });
    let image = forged.push(&scene);
    let expected = "error foreign-program linux/arm64 the entrypoint `app` is a program for amd64, and does not run on linux/arm64";
    assert_eq!(errors(&scene, &image), [expected]);
    assert_eq!(errors(&scene, &forged.reference()), [expected]);
    let text = verify(&scene, &[&image]).exited(4).stdout;
    assert!(text.contains(&format!("(layer sha256:{})", forged.layers[1].digest.short())), "{text}");
    assert!(text.contains("1 error"), "{text}");

    verify(&scene, &[&image, "--platform", "linux/amd64"]).succeeded();
    verify(&scene, &[&image, "--audit", "off"]).succeeded();
    verify(&scene, &[&image, "--audit-allow", "/app"]).succeeded();
    verify(&scene, &[&image, "--audit-allow", "opt/**"]).exited(4);
    let missing = verify(&scene, &[&image, "--platform", "linux/s390x"]).exited(1).stderr;
    assert!(
        missing.contains("linux/s390x") && missing.contains("it offers linux/amd64, linux/arm64"),
        "{missing}"
    );
}

#[test]
fn an_image_built_on_another_platforms_base_is_refused() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM --platform=linux/amd64 BASE\nCMD [\"busybox\", \"true\"]\n");
    scene.build(&["--push", "-t", &scene.image("1"), "--platform", "linux/arm64"]).succeeded();
    let errors = errors(&scene, &scene.image("1"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("`bin/busybox` is a program for amd64"), "{errors:?}");
}

#[test]
fn a_build_refuses_what_would_not_run() {
    let Some(scene) = Scene::new() else { return };
    fs::write(scene.cli.work().join("app"), program(ARM64)).unwrap();
    fs::write(scene.cli.work().join("other"), program(ARM64)).unwrap();
    scene.dockerfile(
        "FROM BASE\nCOPY --chmod=755 app /opt/app\nCOPY --chmod=755 other /opt/other\nENTRYPOINT [\"/opt/app\"]\n",
    );
    let image = scene.image("1");
    let build = |more: &[&str]| scene.build(&[&["--push", "-t", &image, "--platform", TWO], more].concat());
    // The second time what was found in the layers is taken from the store.
    for _ in 0..2 {
        let run = build(&[]).exited(4);
        let expected = "the image for linux/amd64 is not what it says it is: the entrypoint `opt/app` is a \
                        program for arm64, and does not run on linux/amd64";
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert!(run.stderr.contains("--audit-allow PATTERN"), "{}", run.stderr);
        assert!(run.stderr.contains("linux/amd64: `opt/other` is a program for arm64"), "{}", run.stderr);
        assert!(
            !scene
                .requests()
                .iter()
                .any(|request| request.path.ends_with("/manifests/1") && request.method == "PUT")
        );
    }
    // What was found is told also where it is why nothing was published.
    build(&["--metadata-file", "meta.json"]).exited(4);
    let audits: Vec<Value> = scene.json("meta.json")["archway.platforms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["audit"].clone())
        .collect();
    let told: Vec<(&str, &str)> = audits[0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["severity"].as_str().unwrap(), finding["path"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("error", "opt/app"), ("warning", "opt/other")]);
    assert_eq!(audits[0]["findings"][0]["check"], "foreign-program");
    assert_eq!((&audits[1]["programs"], &audits[1]["findings"]), (&json!(2), &json!([])));
    assert_eq!(audits[1]["unreadLayers"], 1, "that of the base");
    let allowed = build(&["--audit-allow", "/opt"]).succeeded();
    assert!(!allowed.stderr.contains("is a program for"), "{}", allowed.stderr);
    build(&["--verify", "off", "--metadata-file", "meta.json"]).succeeded();
    assert_eq!(scene.json("meta.json")["archway.platforms"][0].get("audit"), None);
    build(&["--audit-allow", "opt/app"]).succeeded();
    build(&["--audit-allow", "opt/app", "--verify", "fail"]).exited(4);
    // What is gone from the image does no harm.
    scene.dockerfile(
        "FROM BASE\nCOPY --chmod=755 app /opt/app\nRUN rm /opt/app && ln -s /bin/busybox /opt/app\nENTRYPOINT [\"/opt/app\"]\n",
    );
    let gone = build(&["--verify", "fail"]).succeeded();
    assert!(!gone.stderr.contains("arm64, and"), "{}", gone.stderr);
}

#[test]
fn a_config_for_another_variant_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let forged = Forged::new(&scene, |part| {
        if part.descriptor.platform.as_ref().is_some_and(|platform| platform.architecture == "arm64") {
            part.config.platform.variant = Some("v9".into());
        }
    });
    let expected = "error platform linux/arm64 the image config is for linux/arm64/v9, not linux/arm64";
    assert_eq!(errors(&scene, &forged.push(&scene)), [expected]);
}

#[test]
fn a_wrong_diff_id_is_found_in_the_same_pass() {
    let Some(scene) = Scene::new() else { return };
    let forged = Forged::new(&scene, |part| {
        if part.config.platform.architecture == "amd64" {
            part.config.rootfs.diff_ids = vec![Digest::sha256(b"something else")];
        }
    });
    let found = errors(&scene, &forged.push(&scene));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error diff-id linux/amd64 layer 0 has the diffID sha256:"), "{found:?}");
}

#[test]
fn blobs_that_are_missing_short_or_changed_are_refused() {
    let Some(scene) = Scene::new() else { return };
    let forged = Forged::new(&scene, |_| {});
    let image = forged.push(&scene);
    verify(&scene, &[&image, "--audit", "fail"]).succeeded();
    let blob = |place: usize| scene.stored_blob(forged.layers[place].digest.as_str());
    let whole = fs::read(blob(1)).unwrap();

    fs::write(blob(1), &whole[..whole.len() - 10]).unwrap();
    let found = errors(&scene, &image);
    let expected = format!(
        "error blob-size linux/arm64 blob {} has {} bytes, and not {}",
        forged.layers[1].digest,
        whole.len() - 10,
        whole.len()
    );
    assert_eq!(found, [expected]);

    let mut changed = whole.clone();
    let middle = whole.len() / 2;
    changed[middle] ^= 1;
    fs::write(blob(1), &changed).unwrap();
    let found = errors(&scene, &image);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error blob-digest linux/arm64"), "{found:?}");

    fs::remove_file(blob(1)).unwrap();
    let expected = format!("error missing-blob linux/arm64 blob {} is missing", forged.layers[1].digest);
    assert_eq!(errors(&scene, &image), [expected]);
    // The other platform is as good as before.
    verify(&scene, &[&image, "--platform", "linux/amd64"]).succeeded();

    fs::remove_file(scene.stored_blob(forged.manifests[0].digest.as_str())).unwrap();
    let found = errors(&scene, &image);
    assert!(found[0].starts_with("error missing-blob linux/amd64"), "{found:?}");
}

#[test]
fn a_layer_that_ends_early_is_no_layer() {
    let Some(scene) = Scene::new() else { return };
    let forged = Forged::new(&scene, |part| {
        if part.config.platform.architecture == "amd64" {
            let whole = LayerBuilder::new().file("app", 0o755, &program(AMD64)).unwrap().finish().unwrap();
            let bytes = whole.bytes[..whole.bytes.len() - 12].to_vec();
            let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, &bytes);
            part.manifest.layers = vec![descriptor.clone()];
            part.layer = Layer { bytes, descriptor, ..part.layer.clone() };
        }
    });
    let found = errors(&scene, &forged.push(&scene));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error unreadable-layer linux/amd64"), "{found:?}");
}

#[test]
fn an_attestation_about_nothing_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let good = Forged::new(&scene, |_| {});
    let attestation = |subject: &str| {
        let unknown =
            Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() };
        let annotations = [
            ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
            ("vnd.docker.reference.digest".to_owned(), subject.to_owned()),
        ];
        // Any manifest whose blobs are there will do.
        let about = good.manifests[0].clone();
        Descriptor { platform: Some(unknown), annotations: annotations.into(), ..about }
    };
    let right = attestation(good.manifests[1].digest.as_str());
    verify(&scene, &[&Forged::with_more(&scene, |_| {}, &[right]).reference()]).succeeded();
    let absent = Digest::sha256(b"absent");
    let wrong = Forged::with_more(&scene, |_| {}, &[attestation(absent.as_str())]);
    let expected = format!(
        "error attestation-subject - the attestation is about {absent}, which the index does not list"
    );
    assert_eq!(errors(&scene, &wrong.reference()), [expected]);
}

#[test]
fn platforms_that_differ_in_more_than_their_architecture_are_told_apart() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nARG TARGETARCH\nRUN mkdir -p /srv/$TARGETARCH && touch /srv/$TARGETARCH/data && if [ $TARGETARCH = amd64 ]; then touch /only; fi\n");
    scene.push(TWO);
    let run = verify(&scene, &[&scene.image("1"), "--format", "json"]).succeeded();
    assert_eq!(findings(&run), ["note files - 1 file is only in linux/amd64: only"]);
}

#[test]
fn what_cannot_be_verified_is_an_error_of_its_own() {
    let Some(scene) = Scene::new() else { return };
    let run = verify(&scene, &[&scene.image("absent")]).exited(1);
    assert!(run.stderr.contains("cannot read") && run.stdout.is_empty(), "{}", run.stderr);
    verify(&scene, &[&scene.image("1"), "--audit-allow", "["]).exited(2);
    verify(&scene, &[&scene.image("1"), "--audit", "maybe"]).exited(2);
}
