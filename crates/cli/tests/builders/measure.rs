//! What a pool costs in time. Run by hand, on a quiet machine:
//! `cargo test --release -p archway-cli --test builders measure -- --ignored --nocapture`

use std::time::{Duration, Instant};

use crate::scene::{Scene, TWO};

/// How long a step of each platform takes. It waits, so that daemons on one machine do not share processors.
const STEP: u32 = 5;
const ROUNDS: usize = 3;

#[test]
#[ignore = "measures"]
fn two_daemons_take_as_long_as_the_slower_one() {
    let Some(scene) = Scene::new() else { return };
    let Some(amd64) = scene.daemon(&[]) else { return };
    let arm64 = scene.daemon(&["linux/arm64"]).unwrap();
    scene.add(&amd64);
    scene.add(&arm64);
    scene.dockerfile(&format!("FROM BASE\nCOPY src /src\nRUN [\"/bin/busybox\", \"sleep\", \"{STEP}\"]\n"));
    for number in 0..200 {
        scene.cli.write(format!("src/{number}"), format!("{number}\n").repeat(1000)).unwrap();
    }
    let image = scene.image("1");
    let build = |platforms: &str| {
        let started = Instant::now();
        scene
            .build(&["--builder=pool", "--platform", platforms, "--no-cache", "--push", "-t", &image])
            .succeeded();
        started.elapsed()
    };
    build(TWO);
    let platforms = ["linux/amd64", "linux/arm64", TWO];
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (times, platforms) in times.iter_mut().zip(platforms) {
            times.push(build(platforms));
        }
    }
    let medians = times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64()
    });
    let slower = medians[0].max(medians[1]);
    for (platforms, median) in platforms.iter().zip(medians) {
        println!("{platforms}: {median:.2} s");
    }
    println!("both: {:.1} % over the slower one alone", (medians[2] / slower - 1.0) * 100.0);
}
