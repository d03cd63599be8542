//! The build cache from outside: what there is, what goes, and that builds do not notice.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::Value;

use crate::scene::Scene;

/// What `cache ls` with these arguments shows, as JSON.
fn list(scene: &Scene, arguments: &[&str]) -> Vec<Value> {
    let run = scene.archway(&[&["cache", "ls", "--format=json"], arguments].concat()).succeeded();
    serde_json::from_str(&run.stdout).unwrap()
}

fn descriptions(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["description"].as_str().unwrap()).collect()
}

fn built(scene: &Scene, dockerfile: &str) {
    scene.dockerfile(dockerfile);
    scene.build(&["-o", "type=cacheonly"]).succeeded();
}

#[test]
fn everything_in_the_cache_has_a_name_and_a_size() {
    let Some(scene) = Scene::new() else { return };
    scene.file("file", "content");
    built(
        &scene,
        "FROM BASE AS tools\nCOPY file /file\nRUN --mount=type=cache,id=mod,target=/c head -c 300000 /dev/urandom > /big\n",
    );
    let steps = list(&scene, &["--type=step"]);
    let expected = [
        "[tools 2/3] COPY file /file",
        "[tools 3/3] RUN --mount=type=cache,id=mod,target=/c head -c 300000 /dev/urandom > /big",
    ];
    assert_eq!(descriptions(&steps), expected);
    assert!(steps[1]["size"].as_u64().unwrap() >= 300_000);
    assert_eq!(steps[1]["platform"], archway_oci::Platform::host().to_string());
    assert_eq!(steps[1]["parent"], steps[0]["id"]);
    let layers = list(&scene, &["--type=base-layer"]);
    assert!(descriptions(&layers)[0].starts_with("layer of "), "{layers:?}");
    assert_eq!(descriptions(&list(&scene, &["mod"])), ["mod"]);
    let key = &steps[0]["id"].as_str().unwrap()[..12];
    assert_eq!(descriptions(&list(&scene, &[key])), [expected[0]]);
    assert_eq!(list(&scene, &["--type=regular"]).len(), 2 + layers.len());

    let usage = scene.archway(&["cache", "du"]).succeeded().stdout;
    assert!(usage.starts_with("TYPE ") && usage.contains("\ncache-mount "), "{usage}");
    assert!(usage.contains("What nobody used for 60 days is removed."), "{usage}");
    let verbose = scene.archway(&["cache", "du", "--verbose", "--filter=type=step"]).succeeded().stdout;
    assert!(verbose.contains("COPY file /file") && !verbose.contains("cache-mount"), "{verbose}");
    let run = scene.archway(&["cache", "ls", "nothing"]).exited(1);
    assert!(run.stderr.contains("nothing in the build cache is called `nothing`"), "{}", run.stderr);
    let run = scene.archway(&["cache", "du", "--filter=type=stepp"]).exited(2);
    assert!(run.stderr.contains("did you mean `step`?"), "{}", run.stderr);
}

#[test]
fn what_is_pruned_is_built_again() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile =
        "FROM BASE\nRUN echo one > /one\nRUN --mount=type=cache,id=mod,target=/c echo two > /c/two\n";
    built(&scene, dockerfile);
    scene.build(&["-t", "kept"]).succeeded();
    // The image needs the files of the steps; the cache mount is nobody's.
    let dry = scene.archway(&["cache", "prune", "--dry-run"]).succeeded().stdout;
    assert!(dry.contains("1 item would go") && dry.contains(" mod\n"), "{dry}");
    let done = scene.archway(&["cache", "prune"]).succeeded().stdout;
    assert!(done.starts_with("1 item removed: "), "{done}");
    assert_eq!(list(&scene, &["--filter=shared", "--type=step"]).len(), 2);

    scene.archway(&["rmi", "kept"]).succeeded();
    scene.archway(&["cache", "prune", "--filter", "description~=echo two"]).succeeded();
    assert_eq!(descriptions(&list(&scene, &["--type=step"])), ["[2/3] RUN echo one > /one"]);
    scene.archway(&["cache", "prune", "--filter", "until=1h"]).succeeded();
    assert_eq!(list(&scene, &["--type=step"]).len(), 1);
    scene.archway(&["cache", "prune", "-a", "-f"]).succeeded();
    assert_eq!(list(&scene, &[]), [] as [Value; 0]);
    for objects in ["snapshots", "blobs/sha256", "trash"] {
        assert_eq!(fs::read_dir(scene.cli.root().join(objects)).unwrap().count(), 0, "{objects}");
    }
    let run = scene.build(&["-o", "type=cacheonly", "--progress=plain"]).succeeded();
    assert!(!run.stderr.contains("cached"), "{}", run.stderr);
}

#[test]
fn a_limit_takes_steps_from_the_top() {
    let Some(scene) = Scene::rootless() else { return };
    built(
        &scene,
        "FROM BASE\nRUN head -c 1000000 /dev/urandom > /a\nRUN head -c 1000000 /dev/urandom > /b\n",
    );
    let total = scene.archway(&["cache", "du", "--format=json"]).succeeded().stdout;
    let total = serde_json::from_str::<Value>(&total).unwrap()["total"].as_u64().unwrap();
    let limit = format!("--max-used-space={}", total - 1);
    let run = scene.archway(&["cache", "prune", &limit, "--filter=type=step"]).succeeded();
    assert!(run.stdout.starts_with("1 item removed"), "{}", run.stdout);
    let left = list(&scene, &["--type=step"]);
    assert!(descriptions(&left)[0].ends_with("/a") && left.len() == 1, "{left:?}");
    let run = scene.archway(&["cache", "prune", "--max-used-space=lots"]).exited(2);
    assert!(run.stderr.contains("no size"), "{}", run.stderr);
}

#[test]
fn builds_do_not_notice_that_everything_is_pruned_all_the_time() {
    const BUILDS: usize = 6;

    let Some(scene) = Scene::new() else { return };
    scene.file("file", "content");
    scene.dockerfile(
        "FROM BASE AS first\nRUN --mount=type=cache,id=mod,target=/c echo made >> /c/log && echo first > /first\n\
         FROM BASE\nCOPY file /file\nCOPY --from=first /first /copied\n\
         RUN cat /file /copied > /both && echo\n",
    );
    let over = AtomicBool::new(false);
    let prunes = thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut prunes = 0;
            while !over.load(Ordering::Relaxed) {
                scene.archway(&["cache", "prune", "--all", "--force"]).succeeded();
                prunes += 1;
            }
            prunes
        });
        let build = |name: &'static str| {
            let scene = &scene;
            scope.spawn(move || {
                for number in 0..BUILDS {
                    let output = format!("type=local,dest=out-{name}-{number}");
                    scene.build(&["-o", &output]).succeeded();
                    let both = scene.cli.work().join(format!("out-{name}-{number}/both"));
                    assert_eq!(fs::read_to_string(both).unwrap(), "contentfirst\n");
                }
            })
        };
        let builders = [build("a"), build("b")];
        let ended = builders.map(thread::ScopedJoinHandle::join);
        over.store(true, Ordering::Relaxed);
        let prunes = pruner.join().unwrap();
        assert!(ended.iter().all(Result::is_ok), "a build failed");
        prunes
    });
    assert!(prunes > 1, "{prunes}");
}

#[test]
fn a_policy_that_means_nothing_is_refused() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    let mut build = scene.cli.command();
    let output = build.args(["build", "."]).env("ARCHWAY_CACHE_POLICY", "max-used=1GB").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("did you mean `max-used-space`?"), "{text}");
}
