//! Many builds at a time on one store.

use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
};

use archway_oci::Digest;
use archway_testkit::Cli;

use crate::{
    place::{BINARY, Repository, archway, is_ready, registry},
    store,
};

const BUILDS: usize = 20;
/// So many of them build the same.
const SAME: usize = 10;

#[test]
fn twenty_builds_on_one_store_are_all_right() {
    if is_ready() {
        build_all(&archway());
    }
}

#[test]
fn twenty_builds_of_a_normal_user_on_one_store_are_all_right() {
    let user = is_ready().then(|| Cli::rootless(BINARY).expect("a directory for the test"));
    if let Some(cli) = user.flatten() {
        build_all(&cli);
    }
}

fn build_all(cli: &Cli) {
    let repository = Repository::new();
    let base = registry().reference("busybox");
    let start = |number: usize| -> Child {
        let content = if number < SAME { "same".to_owned() } else { format!("other {number}") };
        let directory = number.to_string();
        cli.write(format!("{directory}/data"), &content).unwrap();
        let dockerfile = format!(
            "FROM {base}\nCOPY data /data\nRUN --mount=type=cache,target=/kept echo >> /kept/count && cat /data > /made\n"
        );
        cli.write(format!("{directory}/Dockerfile"), dockerfile).unwrap();
        cli.command()
            .args(["build", "--quiet", "--push", "--build-arg=SOURCE_DATE_EPOCH=1700000000"])
            .args(["-t", &repository.image(&directory), &directory])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let builds: Vec<Child> = (0..BUILDS).map(start).collect();
    let mut digests: Vec<Digest> = Vec::new();
    for (number, build) in builds.into_iter().enumerate() {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "build {number}: {}", String::from_utf8_lossy(&output.stderr));
        let digest: Digest = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert_eq!(repository.tagged(&number.to_string()).as_ref(), Some(&digest));
        repository.assert_whole(&digest);
        digests.push(digest);
    }
    assert!(digests[..SAME].iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let different: BTreeSet<&Digest> = digests[SAME..].iter().collect();
    assert_eq!(different.len(), BUILDS - SAME);
    store::assert_valid(cli, "after all of them");
    let single = archway();
    single.write("data", "same").unwrap();
    let dockerfile = std::fs::read(cli.work().join("0/Dockerfile")).unwrap();
    single.write("Dockerfile", dockerfile).unwrap();
    let alone = single
        .run([
            "build",
            "--quiet",
            "--push",
            "--build-arg=SOURCE_DATE_EPOCH=1700000000",
            "-t",
            &repository.image("alone"),
            ".",
        ])
        .unwrap()
        .succeeded();
    assert_eq!(alone.stdout.trim(), digests[0].to_string(), "a build alone gives the same");
}
