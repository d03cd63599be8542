//! What happens when a platform fails: the others, the publication, the next attempt.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use archway_oci::{ContainerConfig, Reference};
use archway_testkit::image::{Image, LayerBuilder, PlatformImage};
use serde_json::{Value, json};

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

/// The image for arm64 is as good as the file `arm`; that for amd64 does not know it.
const SPLIT: &str = "FROM BASE AS for-amd64\n\
                     FROM BASE AS for-arm64\nCOPY arm /arm\nRUN grep -q good /arm\n\
                     FROM for-$TARGETARCH\nRUN uname -m > /machine\n";

/// Fails the first time that it runs, also in another attempt of the same build.
const SECOND_TIME: &str = "FROM BASE\nRUN echo first > /first\n\
                           RUN --mount=type=cache,target=/c test -e /c/tried || { touch /c/tried; exit 7; }\n";

fn repository(scene: &Scene) -> String {
    scene.image("x").parse::<Reference>().unwrap().repository_name()
}

/// The platform results of the last build that wrote `meta.json`.
fn results(scene: &Scene) -> Vec<Value> {
    scene.json("meta.json")["archway.platforms"].as_array().unwrap().clone()
}

fn states(scene: &Scene) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    results(scene)
        .iter()
        .map(|result| format!("{} {}", text(&result["state"]), text(&result["reason"])))
        .collect()
}

#[test]
fn a_partial_publication_says_what_is_missing_and_is_completed_later() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(SPLIT);
    scene.file("arm", "bad");
    let image = scene.image("1");
    let build = ["--push", "-t", &image, "--platform", TWO, "--on-failure=publish-partial"];
    let run = scene.build(&[&build[..], &["--metadata-file", "meta.json"]].concat()).exited(3);
    assert!(run.stderr.contains("published without linux/arm64"), "{}", run.stderr);
    assert_eq!(states(&scene), ["Succeeded -", "Failed StepFailed"]);

    let partial = ImageIndex::pushed(&image);
    assert_eq!(partial.digest.to_string(), run.stdout.trim());
    assert_eq!(scene.json("meta.json")["containerimage.digest"], partial.digest.as_str());
    assert_eq!(partial.platforms(), ["linux/amd64"]);
    assert_eq!(partial.children[0].text("machine"), "x86_64\n");
    let missing = json!({"dev.archway.index.missing": "linux/arm64=StepFailed"});
    assert_eq!(partial.document["annotations"], missing);

    scene.file("arm", "good");
    let by_digest = format!("type=image,name={},push=true,push-by-digest=true", repository(&scene));
    let arm64 = scene.build(&["--platform", "linux/arm64", "-o", &by_digest]).succeeded();
    scene.archway(&["index", "create", "--append", "-t", &image, arm64.stdout.trim()]).succeeded();
    let whole = ImageIndex::pushed(&image);
    assert_eq!(whole.platforms(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(whole.children[1].text("machine"), "aarch64\n");
    assert_eq!(whole.document.get("annotations"), None, "nothing is missing");
    // The same as one build makes in which nothing fails.
    assert_eq!(scene.push(TWO), whole.digest.to_string());
}

#[test]
fn a_partial_publication_needs_something_to_publish() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /old\n");
    let old = scene.push(TWO);
    scene.dockerfile("FROM BASE\nRUN exit 7\n");
    let image = scene.image("1");
    let build = ["-q", "--push", "-t", &image, "--platform", TWO, "--on-failure=publish-partial"];
    let run = scene.build(&build).exited(1);
    assert_eq!(run.stdout, "");
    // Each platform's step is told.
    for platform in TWO.split(',') {
        let told = format!("error: {platform}: the command ended with exit code 7");
        assert!(run.stderr.contains(&told), "{}", run.stderr);
    }
    assert_eq!(ImageIndex::pushed(&image).digest.to_string(), old);
}

#[test]
fn every_output_has_the_platforms_that_succeeded() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(SPLIT);
    scene.file("arm", "bad");
    let run = scene.build(&[
        "--platform",
        TWO,
        "--on-failure=publish-partial",
        "-o",
        "type=oci,dest=layout,tar=false,name=app",
        "-o",
        "files",
    ]);
    run.exited(3);
    let layout = format!("oci:{}", scene.cli.work().join("layout").display());
    assert_eq!(ImageIndex::read(&layout).platforms(), ["linux/amd64"]);
    let machine = scene.cli.work().join("files/linux_amd64/machine");
    assert_eq!(fs::read_to_string(machine).unwrap(), "x86_64\n");
    assert!(!scene.cli.work().join("files/linux_arm64").exists());
}

#[test]
fn the_next_build_reuses_what_succeeded() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(SPLIT);
    scene.file("arm", "bad");
    let image = scene.image("1");
    let build = ["-q", "--push", "-t", &image, "--platform", TWO, "--metadata-file", "meta.json"];
    scene.build(&[&build[..], &["--on-failure=continue"]].concat()).exited(1);
    assert_eq!(states(&scene), ["Succeeded -", "Failed StepFailed"]);

    scene.file("arm", "good");
    scene.build(&build).succeeded();
    let ran: Vec<Value> = results(&scene).iter().map(|result| result["stepsRun"].clone()).collect();
    assert_eq!(ran, [0, 3], "amd64 is as it was; arm64 copies, tests and goes on");
}

#[test]
fn another_machine_reuses_what_succeeded_too_if_there_is_a_cache() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(SPLIT);
    scene.file("arm", "bad");
    let cache = scene.cli.work().join("cache");
    let to = format!("type=local,dest={}", cache.display());
    let build = ["-q", "-t", "app", "--platform", TWO, "--cache-to", &to];
    scene.build(&build).exited(1);
    assert!(!cache.join("index.json").exists(), "a build that ends at once does not wait for caches");
    scene.build(&[&build[..], &["--on-failure=continue"]].concat()).exited(1);

    let other = scene.elsewhere();
    other.dockerfile(SPLIT);
    other.file("arm", "good");
    let from = format!("type=local,src={}", cache.display());
    let build = ["-q", "-t", "app", "--platform", TWO, "--cache-from", &from, "--metadata-file", "meta.json"];
    other.build(&build).succeeded();
    let ran: Vec<Value> = results(&other).iter().map(|result| result["stepsRun"].clone()).collect();
    assert_eq!(ran, [0, 4], "amd64 comes from the cache; arm64 fetches its base, copies, tests and goes on");
}

#[test]
fn a_platform_is_tried_again_and_keeps_its_results() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(SECOND_TIME);
    let build = ["--progress=plain", "-t", "app", "--metadata-file", "meta.json", "--retry=2"];
    let run = scene.build(&[&build[..], &["--retry-on=stepfailed"]].concat()).succeeded();
    let result = &results(&scene)[0];
    assert_eq!((&result["state"], &result["attempts"]), (&json!("Succeeded"), &json!(2)));
    assert_eq!(result["stepsRun"], 3, "what succeeded did not run again: {}", run.stderr);
    let told = "attempt 1 failed: StepFailed: the command ended with exit code 7; trying again in 1.0s";
    assert_eq!(run.stderr.matches(told).count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("ATTEMPTS"), "{}", run.stderr);
}

#[test]
fn a_step_of_the_source_is_not_tried_again_unless_that_is_asked_for() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(SECOND_TIME);
    scene.build(&["-q", "--metadata-file", "meta.json", "--retry=3"]).exited(1);
    assert_eq!(results(&scene)[0]["attempts"], 1);
    let run = scene.build(&["--retry=1", "--retry-on=StepFaild"]).exited(2);
    assert!(run.stderr.contains("did you mean `StepFailed`?"), "{}", run.stderr);
}

#[test]
fn a_base_that_cannot_be_pulled_is_tried_again() {
    let Some(scene) = Scene::new() else { return };
    let text = format!("only in {}", scene.image("base"));
    let layer = LayerBuilder::new().file("says", 0o644, text.as_bytes()).unwrap().finish().unwrap();
    let base = PlatformImage {
        platform: "linux/amd64".parse().unwrap(),
        layers: vec![layer],
        config: ContainerConfig::default(),
    };
    let base = Image::write(&scene.cli.work().join("layout"), &[base]).unwrap();
    base.push(&scene.image("base")).unwrap();
    let bytes = fs::read(base.directory.join("blobs/sha256").join(base.manifests[0].digest.hex())).unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let stored = scene.stored_blob(manifest["layers"][0]["digest"].as_str().unwrap());
    let away = scene.cli.work().join("away");
    fs::copy(&stored, &away).unwrap();
    fs::remove_file(&stored).unwrap();

    let text = format!("FROM {} AS base\nFROM scratch\nCOPY --from=base /says /\n", scene.image("base"));
    scene.dockerfile(&text);
    let mut archway = scene.cli.command();
    let arguments = ["build", "--progress=plain", "-o", "files", "--platform=linux/amd64", "--retry=5", "."];
    let mut build = archway.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told = "attempt 1 failed: ImagePullFailed";
    assert!(lines.by_ref().any(|line| line.contains(told)), "the first attempt fails");
    fs::copy(&away, &stored).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(build.wait().unwrap().success(), "{rest:#?}");
    let says = fs::read_to_string(scene.cli.work().join("files/says")).unwrap();
    assert!(says.starts_with("only in "), "{says}");
}

#[test]
fn the_time_limit_of_a_platform_is_its_own() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE\nARG TARGETARCH\nRUN if test $TARGETARCH = arm64; then sleep 1000; fi; uname -m > /machine\n",
    );
    let image = scene.image("1");
    let build = ["--push", "-t", &image, "--platform", TWO, "--metadata-file", "meta.json"];
    let late = "--timeout=linux/arm64=3s";
    let run = scene.build(&[&build[..], &[late, "--on-failure=publish-partial"]].concat()).exited(3);
    assert_eq!(states(&scene), ["Succeeded -", "Failed TimedOut"]);
    assert!(run.stderr.contains("error: linux/arm64: its time limit of 3s was reached"), "{}", run.stderr);
    let index = ImageIndex::pushed(&image);
    assert_eq!(index.document["annotations"]["dev.archway.index.missing"], "linux/arm64=TimedOut");

    scene.build(&[&build[..], &[late]].concat()).exited(1);
    assert_eq!(states(&scene), ["Succeeded -", "Failed TimedOut"], "amd64 is found in the cache");
    assert_eq!(ImageIndex::pushed(&image).digest, index.digest, "nothing was published");
    let run = scene.build(&["--platform=linux/amd64", late]).exited(2);
    assert!(run.stderr.contains("linux/arm64 is not one of the platforms to build"), "{}", run.stderr);
}

#[test]
fn events_say_why_a_platform_failed() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN exit 7\n");
    let run = scene.build(&["--progress=rawjson", "--retry=1", "--retry-on=StepFailed"]).exited(1);
    let events: Vec<Value> = run.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    let retries = of("platform_retry");
    assert_eq!(retries.len(), 1);
    assert_eq!((&retries[0]["attempt"], &retries[0]["reason"]), (&json!(1), &json!("StepFailed")));
    let states = of("platform_state");
    let last = states.last().unwrap();
    assert_eq!((&last["state"], &last["reason"]), (&json!("Failed"), &json!("StepFailed")));
    assert_eq!(last["message"], "the command ended with exit code 7");
}
