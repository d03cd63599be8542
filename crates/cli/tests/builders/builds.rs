//! What is built at daemons is what the embedded engine would have built, and is published in the same way.

use archway_testkit::Buildkit;

use crate::scene::{Scene, TWO, endpoint};

/// A Dockerfile in which something runs on each platform.
const BUILD: &str = r#"
FROM BASE AS build
COPY src /src
RUN ["/bin/busybox", "sh", "-c", "read text < /src/text; echo $text > /made"]
FROM scratch
COPY --from=build /made /made
LABEL who=daemons
"#;

#[test]
fn each_platform_is_built_at_its_daemon_and_one_index_is_published() {
    let Some(scene) = Scene::new() else { return };
    let Some(amd64) = scene.daemon(&[]) else { return };
    let arm64 = scene.daemon(&["linux/arm64"]).unwrap();
    scene.add(&amd64);
    scene.add(&arm64);
    scene.dockerfile(BUILD);
    scene.cli.write("src/text", "hello\n").unwrap();

    let image = scene.image("1");
    let plan = scene.archway(&["plan", "--builder=pool", "--platform", TWO, "."]).succeeded();
    for daemon in [&amd64, &arm64] {
        assert!(plan.stdout.contains(&format!("{} is linux/", endpoint(daemon))), "{}", plan.stdout);
    }
    let arguments =
        ["--builder=pool", "--platform", TWO, "--push", "-t", &image, "--metadata-file=metadata.json"];
    let run = scene.build(&arguments).succeeded();

    let metadata = scene.json("metadata.json");
    let results = metadata["archway.platforms"].as_array().unwrap();
    assert!(results.iter().all(|result| result["state"] == "Succeeded" && result["strategy"] == "native"));
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(run.stdout.trim(), digest);
    let index = scene.published(&image).unwrap();
    let children: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["digest"].as_str().unwrap())
        .collect();
    let built: Vec<&str> = results.iter().map(|result| result["digest"].as_str().unwrap()).collect();
    assert_eq!(children, built);
    scene.archway(&["index", "verify", &image]).succeeded();

    // Nothing has changed: all steps are found, and the tag stays where it is.
    let again = scene.build(&arguments).succeeded();
    assert_eq!(again.stdout, run.stdout);
    let results = &scene.json("metadata.json")["archway.platforms"];
    assert!(results.as_array().unwrap().iter().all(|result| result["stepsRun"] == 0), "{results}");
}

#[test]
fn this_machine_and_a_daemon_build_one_image() {
    let Some(scene) = Scene::new() else { return };
    let Some(arm64) = scene.daemon(&["linux/arm64"]) else { return };
    scene.add(&arm64);
    scene.dockerfile(BUILD);
    scene.cli.write("src/text", "hello\n").unwrap();
    let image = scene.image("1");
    let builders = ["--builder=linux/arm64=pool", "--builder=linux/amd64=embedded"];
    let run =
        scene.build(&[&builders[..], &["--platform", TWO, "--push", "-t", &image]].concat()).succeeded();
    assert!(run.stderr.contains("[linux/arm64 internal] load build context"), "{}", run.stderr);
    scene.archway(&["index", "verify", &image]).succeeded();

    // The same files, whoever built them.
    let listing = |arguments: &[&str], directory: &str| {
        scene.build(&[arguments, &["--platform", TWO, "-o", directory]].concat()).succeeded();
        let text = |platform: &str| {
            let file = scene.cli.work().join(directory).join(platform).join("made");
            std::fs::read_to_string(file).unwrap()
        };
        [text("linux_amd64"), text("linux_arm64")]
    };
    assert_eq!(listing(&builders, "mixed"), ["hello\n", "hello\n"]);
    assert_eq!(listing(&builders, "mixed"), listing(&[], "embedded"));
}

#[test]
fn outputs_that_are_not_pushed_come_here() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    scene.dockerfile(BUILD);
    scene.cli.write("src/text", "hello\n").unwrap();
    let outputs =
        ["-o=type=oci,dest=image.tar", "-o=type=tar,dest=files.tar", "-t=local/app:1", "-o=type=image"];
    scene.build(&[&["--builder=pool"], &outputs[..]].concat()).succeeded();
    let made = scene.archway(&["inspect", "oci-archive:image.tar", "--format=json"]).succeeded();
    assert!(made.stdout.contains("linux/amd64") || made.stdout.contains("amd64"), "{}", made.stdout);
    let tar = std::fs::read(scene.cli.work().join("files.tar")).unwrap();
    let names: Vec<String> = tar::Archive::new(&tar[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["made"]);
    let images = scene.archway(&["images"]).succeeded();
    assert!(images.stdout.contains("local/app:1"), "{}", images.stdout);
}

#[test]
fn packages_and_programs_are_looked_at_before_anything_is_published() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&["linux/arm64"]) else { return };
    scene.add(&daemon);
    // A program for another machine, as the entrypoint of an image that says it is for arm64.
    scene.dockerfile("FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\n");
    std::fs::copy("/bin/true", scene.cli.work().join("program")).unwrap();
    let image = scene.image("1");
    let run = scene.build(&["--builder=pool", "--platform=linux/arm64", "--push", "-t", &image]);
    let run = run.exited(4);
    assert!(run.stderr.contains("/program"), "{}", run.stderr);
    assert!(scene.published(&image).is_none(), "no tag was made");
}

#[test]
fn secrets_reach_steps_and_nothing_else() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    scene.dockerfile(
        "FROM BASE\nRUN --mount=type=secret,id=token [\"/bin/busybox\", \"sh\", \"-c\", \"read t < /run/secrets/token; [ ${#t} = 6 ]\"]\n",
    );
    scene.cli.write("token", "s3cr3t\n").unwrap();
    let image = scene.image("1");
    let run =
        scene.build(&["--builder=pool", "--secret=id=token,src=token", "--push", "-t", &image]).succeeded();
    assert!(!run.stderr.contains("s3cr3t"));
    assert!(!daemon.log().contains("s3cr3t"));
}

#[test]
fn what_the_daemons_of_a_builder_cannot_build_is_built_here() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&["linux/arm64"]) else { return };
    scene.add(&daemon);
    scene.dockerfile("FROM BASE\nRUN [\"/bin/busybox\", \"true\"]\n");
    let plan =
        scene.archway(&["plan", "--builder=pool", "--platform=linux/arm64,linux/s390x", "."]).succeeded();
    let line =
        |platform: &str| plan.stdout.lines().find(|line| line.starts_with(platform)).unwrap().to_owned();
    assert!(line("linux/arm64").contains("builder `pool`"), "{}", plan.stdout);
    assert!(line("linux/s390x").contains("no daemon of `pool` builds for it"), "{}", plan.stdout);
}

#[test]
fn a_daemons_cache_is_pruned() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    scene.dockerfile("FROM BASE\nRUN [\"/bin/busybox\", \"dd\", \"if=/dev/zero\", \"of=/zeros\", \"bs=1M\", \"count=3\"]\n");
    scene.build(&["--builder=pool"]).succeeded();
    let total = || {
        let list = scene.archway(&["builder", "ls", "--format=json"]).succeeded();
        let builders: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
        let pool = builders.as_array().unwrap().iter().find(|builder| builder["name"] == "pool").unwrap();
        pool["nodes"][0]["disk"]["total"].as_u64().unwrap()
    };
    let before = total();
    assert!(before > 3 << 20, "{before}");
    scene.archway(&["builder", "prune", "pool", "--unused-for=1h"]).succeeded();
    assert_eq!(total(), before, "all of it was used just now");
    let run = scene.archway(&["builder", "prune", "pool", "--all"]).succeeded();
    assert!(run.stdout.contains(&endpoint(&daemon)), "{}", run.stdout);
    assert!(total() < 1 << 20, "{} of {before}", total());
}

#[test]
fn a_new_daemon_goes_on_with_the_cache_of_another_one() {
    let Some(scene) = Scene::new() else { return };
    let Some(first) = scene.daemon(&[]) else { return };
    scene.dockerfile(BUILD);
    scene.cli.write("src/text", "hello\n").unwrap();
    let (cache, image) = (scene.image("cache"), scene.image("1"));
    let to = format!("--cache-to=type=registry,ref={cache},mode=max");
    let from = format!("--cache-from=type=registry,ref={cache}");
    let build = |daemon: &Buildkit, cache: &str| {
        let builder = format!("--builder=unix://{}", daemon.socket().display());
        let arguments = [&builder, cache, "--push", "-t", &image, "--metadata-file=metadata.json"];
        scene.build(&arguments).succeeded();
        scene.json("metadata.json")["archway.platforms"][0]["stepsRun"].as_u64().unwrap()
    };
    // A cache that is not there yet is no failure.
    assert_ne!(build(&first, &from), 0);
    build(&first, &to);
    let second = scene.daemon(&[]).unwrap();
    assert_eq!(build(&second, &from), 0, "all steps are in the cache");
    // Each platform has its own, because BuildKit's do not merge.
    assert!(scene.published(&format!("{cache}-linux-amd64")).is_some());
}

#[test]
fn what_the_daemon_would_read_otherwise_is_said_in_its_way() {
    let Some(scene) = Scene::new() else { return };
    let Some(daemon) = scene.daemon(&[]) else { return };
    scene.add(&daemon);
    // No frontend is fetched for `# syntax=`; a context is found under any of its names; the time of an archive is known
    // here only.
    scene.dockerfile(
        "# syntax=docker/dockerfile:1\nFROM docker.io/library/other\nARG SOURCE_DATE_EPOCH\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"read a b < /etc/hosts; grep -q 2001:db8::7 /etc/hosts && echo $SOURCE_DATE_EPOCH > /epoch\"]\n",
    );
    let base = format!(
        "--build-context=other:latest=docker-image://{}",
        crate::scene::registry().reference("busybox")
    );
    scene
        .build(&[
            "--builder=pool",
            &base,
            "--add-host=db=2001:db8::7",
            "--build-arg=SOURCE_DATE_EPOCH=5",
            "-o=out",
        ])
        .succeeded();
    let epoch = std::fs::read_to_string(scene.cli.work().join("out/epoch")).unwrap();
    assert_eq!(epoch.trim(), "5");
}
