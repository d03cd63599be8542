//! Build caches that leave the machine: `--cache-to` and `--cache-from`.

use std::{fs, path::Path, process::Command, thread};

use archway_testkit::{ObjectStore, cli::Run, object_store, process, tools};
use serde_json::Value;

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

/// A step whose result is another each time it runs, so that a digest tells whether it did.
const CHANCE: &str = "cat /proc/sys/kernel/random/uuid";

/// Two stages: what the final one has of the other depends on chance.
fn staged(scene: &Scene) {
    scene.dockerfile(&format!(
        "FROM BASE AS build\nWORKDIR /src\nCOPY data .\nRUN {CHANCE} > /src/built && dd if=/dev/zero of=/src/big bs=1M count=3\n\
         FROM BASE\nRUN {CHANCE} > /own\nCOPY --from=build /src/built /app/\nRUN cat /app/built > /copy\n"
    ));
    scene.file("data", "1");
}

/// `archway build --push -t IMAGE` with platform results in `meta.json`; the digest it prints.
fn pushed(scene: &Scene, tag: &str, arguments: &[&str]) -> (String, Run) {
    let image = scene.image(tag);
    let run = scene.build(&[&["--push", "-t", &image, "--metadata-file", "meta.json"], arguments].concat());
    let run = run.succeeded();
    (run.stdout.trim().to_owned(), run)
}

/// Steps that ran, and that were found, of the first platform.
fn steps(scene: &Scene) -> (u64, u64) {
    let platform = &scene.json("meta.json")["archway.platforms"][0];
    (platform["stepsRun"].as_u64().unwrap(), platform["stepsCached"].as_u64().unwrap())
}

fn to(reference: &str, more: &str) -> String {
    format!("type=registry,ref={reference}{more}")
}

/// The blobs that were downloaded from the test's repository.
fn downloads(scene: &Scene) -> Vec<String> {
    let requests = scene.requests().into_iter();
    let downloads =
        requests.filter(|request| request.method == "GET" && request.path.contains("/blobs/sha256:"));
    downloads.map(|request| request.path).collect()
}

/// The entries of a cache: manifest and records.
fn entries(reference: &str) -> Vec<(Value, Value)> {
    let skopeo = archway_testkit::Skopeo::new();
    let document = |reference: &str| -> Value {
        serde_json::from_slice(&skopeo.raw_manifest(&format!("docker://{reference}")).unwrap()).unwrap()
    };
    let index = document(reference);
    assert_eq!(index["artifactType"], "application/vnd.archway.cache.v1");
    let repository = reference.rsplit_once(':').unwrap().0;
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let manifest = document(&format!("{repository}@{}", entry["digest"].as_str().unwrap()));
            (entry.clone(), manifest)
        })
        .collect()
}

#[test]
fn another_machine_runs_nothing_and_downloads_no_layer() {
    let Some(scene) = Scene::new() else { return };
    staged(&scene);
    let cache = scene.image("cache");
    let (digest, run) =
        pushed(&scene, "1", &["--platform", TWO, "--progress=plain", "--cache-to", &to(&cache, ",mode=max")]);
    assert!(run.stderr.contains("[cache] export to"), "{}", run.stderr);

    let other = scene.elsewhere();
    staged(&other);
    let before = downloads(&other).len();
    let (same, run) = pushed(&other, "2", &["--platform", TWO, "--progress=plain", "--cache-from", &cache]);
    assert_eq!(same, digest, "{}", run.stderr);
    assert_eq!(steps(&other).0, 0, "{}", run.stderr);
    // The records of both platforms, and nothing else.
    let downloaded = downloads(&other).split_off(before);
    assert_eq!(downloaded.len(), 2, "{downloaded:?}");
    ImageIndex::pushed(&other.image("2"));

    // What was found is of use without the cache only if it is here.
    let nothing = scene.elsewhere();
    staged(&nothing);
    assert_ne!(pushed(&nothing, "3", &["--platform", TWO]).0, digest);
}

#[test]
fn only_what_a_step_reads_is_fetched() {
    let Some(scene) = Scene::new() else { return };
    staged(&scene);
    let cache = scene.image("cache");
    pushed(&scene, "1", &["--cache-to", &to(&cache, ",mode=max")]);
    let first = ImageIndex::pushed(&scene.image("1")).children.remove(0);

    let other = scene.elsewhere();
    staged(&other);
    let dockerfile = fs::read_to_string(other.cli.work().join("Dockerfile")).unwrap();
    other.file("Dockerfile", &dockerfile.replace("cat /app/built > /copy", "cat /app/built /own > /both"));
    let before = downloads(&other).len();
    let (_, run) = pushed(&other, "2", &["--cache-from", &cache]);
    assert_eq!(steps(&other).0, 2, "the last step, and the base that it reads: {}", run.stderr);
    // Records, and the layers below the step; not those of the other stage.
    let downloaded = downloads(&other).split_off(before);
    assert_eq!(downloaded.len(), 3, "{downloaded:?}");
    let second = ImageIndex::pushed(&other.image("2")).children.remove(0);
    assert_eq!(second.layer_digests()[..3], first.layer_digests()[..3]);
    assert_eq!(second.text("both"), format!("{}{}", first.text("app/built"), first.text("own")));

    // What was fetched is found here now, without the cache.
    let dockerfile = fs::read_to_string(other.cli.work().join("Dockerfile")).unwrap();
    other.file("Dockerfile", &dockerfile.replace("RUN cat /app", "RUN true && cat /app"));
    pushed(&other, "3", &["--cache-from", &scene.image("none")]);
    let third = ImageIndex::pushed(&other.image("3")).children.remove(0);
    assert_eq!(third.text("own"), first.text("own"));
}

#[test]
fn a_fetched_delta_is_what_the_step_made() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile = |last: &str| {
        format!(
            "FROM BASE\nRUN mkdir -p /a/b /gone && echo {last} > /dev/null && ln -s b /a/link && echo x > /a/b/f && ln /a/b/f /a/hard\n\
             RUN {CHANCE} > /a/id && chmod 4751 /a/id && chown 12:34 /a/id && rm /a/link && rm -r /a/b && mkdir /a/b && touch /a/b/new\n\
             RUN rmdir /gone && chmod 1777 /a\n"
        )
    };
    scene.dockerfile(&dockerfile("x"));
    let cache = scene.image("cache");
    pushed(&scene, "1", &["--cache-to", &to(&cache, "")]);

    // Another compression makes every layer anew, of what was fetched.
    let other = scene.elsewhere();
    other.dockerfile(&dockerfile("x"));
    pushed(&other, "2", &["--cache-from", &cache, "--compression", "zstd"]);
    let [first, second] = ["1", "2"]
        .map(|tag| ImageIndex::pushed(&scene.image(tag)).children.remove(0).config["rootfs"].clone());
    assert_eq!(first, second, "the same diffIDs");
}

#[test]
fn exporters_at_the_same_time_lose_nothing() {
    let Some(scene) = Scene::new() else { return };
    let cache = scene.image("cache");
    let platforms = ["linux/amd64", "linux/arm64"];
    // Eight machines: two platforms, four contents each.
    let machines: Vec<(Scene, &str, String)> = (0..8)
        .map(|number| {
            let machine = scene.elsewhere();
            machine.dockerfile(&format!("FROM BASE\nCOPY data /\nRUN {CHANCE} > /id\n"));
            machine.file("data", &format!("{}", number / 2));
            (machine, platforms[number % 2], format!("{number}"))
        })
        .collect();
    let digests: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|(machine, platform, tag)| {
                let cache = to(&cache, "");
                scope.spawn(move || pushed(machine, tag, &["--platform", platform, "--cache-to", &cache]).0)
            })
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut listed: Vec<String> = entries(&cache)
        .iter()
        .map(|(entry, _)| entry["platform"]["architecture"].as_str().unwrap().into())
        .collect();
    listed.dedup();
    assert_eq!(listed, ["amd64", "arm64"]);
    for ((machine, platform, tag), digest) in machines.iter().zip(digests) {
        let other = scene.elsewhere();
        other.dockerfile(&format!("FROM BASE\nCOPY data /\nRUN {CHANCE} > /id\n"));
        other.file("data", &fs::read_to_string(machine.cli.work().join("data")).unwrap());
        let tag = format!("{tag}-again");
        let (same, run) = pushed(&other, &tag, &["--platform", platform, "--cache-from", &cache]);
        assert_eq!(same, digest, "{platform}: {}", run.stderr);
    }
}

#[test]
fn what_others_exported_stays() {
    let Some(scene) = Scene::new() else { return };
    let cache = to(&scene.image("cache"), "");
    let build = |machine: &Scene, content: &str| {
        machine.dockerfile(&format!("FROM BASE\nCOPY data /\nRUN {CHANCE} > /id\n"));
        machine.file("data", content);
        let from = machine.image("cache");
        pushed(machine, content, &["--cache-from", &from, "--cache-to", &cache]).0
    };
    let first = build(&scene, "one");
    build(&scene.elsewhere(), "two");
    let manifest = || {
        archway_testkit::Skopeo::new().raw_manifest(&format!("docker://{}", scene.image("cache"))).unwrap()
    };
    let before = manifest();
    assert_eq!(build(&scene.elsewhere(), "one"), first);
    assert_eq!(manifest(), before, "nothing new is nothing written");
    let [(_, entry)] = &*entries(&scene.image("cache")) else { panic!("not one entry") };
    assert_eq!(entry["layers"].as_array().unwrap().len(), 4);
}

#[test]
fn a_cache_can_be_copied_by_other_tools() {
    let Some(scene) = Scene::new() else { return };
    staged(&scene);
    let (cache, moved) = (scene.image("cache"), scene.image("moved"));
    let (digest, _) = pushed(&scene, "1", &["--cache-to", &to(&cache, ",mode=max")]);
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    process::output(copy.args([format!("docker://{cache}"), format!("docker://{moved}")])).unwrap();
    let other = scene.elsewhere();
    staged(&other);
    assert_eq!(pushed(&other, "2", &["--cache-from", &moved]).0, digest);
}

#[test]
fn min_has_the_layers_of_the_image_and_max_all() {
    let Some(scene) = Scene::new() else { return };
    staged(&scene);
    let layers = |mode: &str| {
        let cache = scene.image(mode);
        pushed(&scene, "1", &["--cache-to", &to(&cache, &format!(",mode={mode}"))]);
        entries(&cache)[0].1["layers"].as_array().unwrap().len()
    };
    assert_eq!([layers("min"), layers("max")], [3, 6]);
    // With `min`, the other stage has to run; what it made is another, and so are the steps on it.
    let other = scene.elsewhere();
    staged(&other);
    pushed(&other, "2", &["--cache-from", &scene.image("min")]);
    let [first, second] = ["1", "2"].map(|tag| ImageIndex::pushed(&scene.image(tag)).children.remove(0));
    assert_eq!(first.text("own"), second.text("own"));
    assert_ne!(first.text("copy"), second.text("copy"));
}

#[test]
fn a_cache_that_is_missing_or_damaged_makes_no_difference() {
    let Some(scene) = Scene::new() else { return };
    staged(&scene);
    let cache = scene.image("cache");
    let (_, run) =
        pushed(&scene, "1", &["--progress=plain", "--cache-from", &cache, "--cache-from", "localhost:1/a:b"]);
    assert!(run.stderr.contains("nothing there yet"), "{}", run.stderr);
    assert!(run.stderr.contains("the build cache localhost:1/a:b is not used"), "{}", run.stderr);
    pushed(&scene, "1", &["--cache-to", &to(&cache, ",mode=max")]);

    // An image is no cache, and is not overwritten by one.
    let (_, run) = pushed(&scene, "1", &["--progress=plain", "--cache-from", &scene.image("1")]);
    assert!(run.stderr.contains("an image without build cache"), "{}", run.stderr);
    let image = scene.image("1");
    let failed = scene.build(&["-t", &image, "--cache-to", &to(&image, "")]).exited(1);
    assert!(failed.stderr.contains("it is an image, not a cache"), "{}", failed.stderr);

    // One layer that a step has to read is damaged, another one is gone.
    let first = ImageIndex::pushed(&scene.image("1")).children.remove(0);
    let [own, copied] = [1, 2].map(|at| scene.stored_blob(&first.layer_digests()[at]));
    let other = scene.elsewhere();
    staged(&other);
    let dockerfile = fs::read_to_string(other.cli.work().join("Dockerfile")).unwrap();
    other.file("Dockerfile", &dockerfile.replace("cat /app/built > /copy", "cat /app/built /own > /both"));
    let content = fs::read(&own).unwrap();
    fs::write(&own, vec![b'x'; content.len()]).unwrap();
    let again = ["--progress=plain", "--cache-from", &cache];
    let oci = other.cli.work().join("oci.tar");
    let output = format!("type=oci,dest={}", oci.display());
    let run = other.build(&[&again[..], &["-o", &output]].concat()).succeeded();
    assert!(run.stderr.contains("cannot use the layer"), "{}", run.stderr);
    assert!(run.stderr.contains("run again"), "{}", run.stderr);
    let read = ImageIndex::read(&format!("oci-archive:{}", oci.display())).children.remove(0);
    assert_ne!(read.text("own"), first.text("own"));
    assert_eq!(read.text("both"), format!("{}{}", read.text("app/built"), read.text("own")));
    fs::write(&own, content).unwrap();
    fs::remove_file(copied).unwrap();
    let gone = scene.elsewhere();
    staged(&gone);
    let output = format!("type=oci,dest={}", gone.cli.work().join("oci.tar").display());
    let run = gone.build(&[&again[..], &["-o", &output]].concat()).succeeded();
    assert!(run.stderr.contains("run again"), "{}", run.stderr);
}

#[test]
fn a_cache_that_cannot_be_written_fails_the_build_unless_that_is_wanted() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    let image = scene.image("1");
    let push = ["--push", "-t", &image, "--cache-to"];
    let failed = scene.build(&[&push[..], &["type=registry,ref=localhost:1/a:b"]].concat()).exited(1);
    assert!(failed.stderr.contains("cannot write the build cache localhost:1/a:b"), "{}", failed.stderr);
    ImageIndex::pushed(&image);
    let ignored = ["type=registry,ref=localhost:1/a:b,ignore-error=true"];
    let run = scene.build(&[&push[..], &ignored].concat()).succeeded();
    assert!(run.stderr.contains("was not written"), "{}", run.stderr);
}

#[test]
fn steps_run_whatever_the_cache_knows_if_that_is_wanted() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(&format!("FROM BASE\nRUN {CHANCE} > /id\n"));
    let (cache, both) = (scene.image("cache"), scene.elsewhere());
    let (first, _) = pushed(&scene, "1", &["--cache-to", &to(&cache, "")]);
    both.dockerfile(&format!("FROM BASE\nRUN {CHANCE} > /id\n"));
    // Results have whole seconds, and the later one counts.
    thread::sleep(std::time::Duration::from_millis(1100));
    let (second, _) =
        pushed(&both, "2", &["--no-cache", "--cache-from", &cache, "--cache-to", &to(&cache, "")]);
    assert_ne!(first, second);
    let third = scene.elsewhere();
    third.dockerfile(&format!("FROM BASE\nRUN {CHANCE} > /id\n"));
    assert_eq!(pushed(&third, "3", &["--cache-from", &cache]).0, second);
}

#[test]
fn a_directory_is_a_cache() {
    let Some(scene) = Scene::new() else { return };
    staged(&scene);
    let directory = scene.cli.work().parent().unwrap().join("cache");
    let path = directory.to_str().unwrap();
    let cache_to = format!("type=local,dest={path},mode=max");
    let (digest, _) = pushed(&scene, "1", &["--cache-to", &cache_to]);
    let other = scene.elsewhere();
    staged(&other);
    let from = format!("type=local,src={path}");
    assert_eq!(pushed(&other, "2", &["--cache-from", &from]).0, digest);
    assert_eq!(steps(&other).0, 0);

    // What the cache does not need any more is removed from the directory.
    let blobs = || fs::read_dir(directory.join("blobs/sha256")).unwrap().count();
    let before = blobs();
    scene.file("data", "2");
    // Results have whole seconds, and those of this one are not older than that.
    thread::sleep(std::time::Duration::from_millis(1100));
    pushed(&scene, "3", &["--cache-to", &format!("type=local,dest={path},mode=max,max-age=0s")]);
    assert!(blobs() <= before, "{} blobs, then {}", before, blobs());
    let valid =
        Command::new("skopeo").args(["inspect", "--raw", &format!("oci:{path}:latest")]).output().unwrap();
    assert!(valid.status.success());
}

#[test]
fn a_bucket_is_a_cache() {
    if !tools::require(object_store::PROGRAM) {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let objects = ObjectStore::start().unwrap();
    let cache = format!(
        "type=s3,bucket={},region=eu-1,prefix=ci/,endpoint_url={},use_path_style=true,access_key_id=a,secret_access_key=b",
        object_store::BUCKET,
        objects.endpoint()
    );
    let text = format!("FROM BASE\nCOPY data /\nRUN {CHANCE} > /id\n");
    let machine = |content: &str| {
        let machine = scene.elsewhere();
        machine.dockerfile(&text);
        machine.file("data", content);
        machine
    };
    let contents = ["one", "two", "three"];
    let machines = contents.map(machine);
    let digests: Vec<String> = thread::scope(|scope| {
        let cache = &*cache;
        let running = contents.iter().zip(&machines).map(|(content, machine)| {
            scope.spawn(move || pushed(machine, content, &["--cache-to", cache]).0)
        });
        running.collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (content, digest) in contents.iter().zip(digests) {
        let other = machine(content);
        let (same, run) = pushed(&other, &format!("{content}-again"), &["--cache-from", &cache]);
        assert_eq!(same, digest, "{}", run.stderr);
        assert_eq!(steps(&other).0, 0);
    }
    let other = machine("one");
    let from = cache.replace("prefix=ci/", "prefix=none/");
    let (_, run) = pushed(&other, "none", &["--progress=plain", "--cache-from", &from]);
    assert!(run.stderr.contains("nothing there yet"), "{}", run.stderr);
}

#[test]
fn an_image_is_a_cache_of_its_own_layers() {
    let Some(scene) = Scene::new() else { return };
    let text = format!("FROM BASE\nCOPY data /\nWORKDIR /w\nRUN {CHANCE} > /id\n");
    scene.dockerfile(&text);
    scene.file("data", "1");
    let (digest, _) = pushed(&scene, "1", &["--platform", TWO, "--cache-to", "type=inline"]);
    assert_eq!(pushed(&scene, "1", &["--platform", TWO, "--cache-to", "type=inline"]).0, digest);

    let other = scene.elsewhere();
    other.dockerfile(&text);
    other.file("data", "1");
    let image = scene.image("1");
    let arguments = ["--platform", TWO, "--cache-from", &image, "--build-arg", "BUILDKIT_INLINE_CACHE=1"];
    assert_eq!(pushed(&other, "2", &arguments).0, digest);
    assert_eq!(steps(&other).0, 0);
    let files = other.build(&["-o", "out", "--cache-to", "type=inline"]).exited(2);
    assert!(files.stderr.contains("no image that could hold"), "{}", files.stderr);
}

#[test]
fn secrets_and_commands_are_not_in_the_cache() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE\nARG TOKEN\nRUN --mount=type=secret,id=s test -n \"$(cat /run/secrets/s)\" # hush\n",
    );
    scene.file("secret", "swordfish");
    let cache = scene.cli.work().join("cache");
    let cache_to = format!("type=local,dest={},mode=max", cache.display());
    pushed(
        &scene,
        "1",
        &["--cache-to", &cache_to, "--secret", "id=s,src=secret", "--build-arg", "TOKEN=marlin"],
    );
    let mut read = 0;
    for file in documents(&cache) {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        assert!(!["swordfish", "marlin", "hush"].iter().any(|word| text.contains(word)), "{text}");
        read += 1;
    }
    assert!(read >= 4);
}

fn documents(directory: &Path) -> Vec<std::path::PathBuf> {
    let blobs = fs::read_dir(directory.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    blobs.chain([directory.join("index.json")]).collect()
}
