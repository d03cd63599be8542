//! Bad input: what the user reads, the exit code, and that nothing was published.

use std::{fs, os::unix::fs::symlink, process::Command};

use archway_oci::Digest;
use archway_testkit::{
    BaseImages, RealRegistry, Skopeo,
    bases::Base,
    cli::Run,
    registry::{Options, PASSWORD, USER},
    tools,
};

use crate::scene::{Scene, TWO, needs_root};

/// What a run ended with, without what differs from run to run.
macro_rules! assert_message {
    ($name:expr, $run:expr) => {{
        let run: &Run = &$run;
        let text = format!("{}exit code {}", run.stderr, run.status.code().unwrap_or(-1));
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "errors",
            filters => vec![
                (r"localhost:\d{2,}", "localhost:PORT"),
                (r"this machine is linux/[\w/]+", "this machine is [HOST]"),
                (r"test-\d+-\d+", "test"),
                (r"/[\w/.-]*/archway-test-\w+", "[DIRECTORY]"),
                (r"sha256:[0-9a-f]{12,64}", "sha256:[DIGEST]"),
                // A line of carets is as long as the port it stands below.
                (r"\^{6,}", "^^^^^^"),
            ],
        }, { insta::assert_snapshot!($name, text) });
    }};
}

/// A build that fails, and the tag that stays what it was.
fn refused(dockerfile: &str, arguments: &[&str]) -> Option<Run> {
    let scene = Scene::new()?;
    scene.file("app.txt", "text");
    scene.file("sub/file", "text");
    symlink("/etc/passwd", scene.cli.work().join("outside")).unwrap();
    symlink("../..", scene.cli.work().join("sub/above")).unwrap();
    scene.dockerfile("FROM BASE\nCOPY app.txt /old\n");
    let old = scene.push("local");

    scene.dockerfile(dockerfile);
    let image = scene.image("1");
    let platform: &[&str] =
        if arguments.contains(&"--platform") { &[] } else { &["--platform", "linux/amd64"] };
    let run = scene.build(&[&["-q", "--push", "-t", &image], platform, arguments].concat());
    assert_eq!(published(&image), old);
    assert_eq!(run.stdout, "");
    // What failed has left the store as good as it was.
    scene.dockerfile("FROM BASE\nCOPY app.txt /old\n");
    assert_eq!(scene.push("local"), old);
    Some(run)
}

fn published(image: &str) -> String {
    Digest::sha256(&Skopeo::new().raw_manifest(&format!("docker://{image}")).unwrap()).to_string()
}

/// `name: Dockerfile, arguments`: a test for each, its message in `errors/NAME.snap`.
macro_rules! refused {
    ($($name:ident: $dockerfile:expr, $arguments:expr;)*) => {$(
        #[test]
        fn $name() {
            let arguments: &[&str] = &$arguments;
            let Some(run) = refused($dockerfile, arguments) else { return };
            assert_message!(stringify!($name), run);
        }
    )*};
}

refused! {
    unknown_instruction: "FROM BASE\nRUNN make\n", [];
    unknown_instruction_flag: "FROM BASE\nCOPY --chwon=1 app.txt /\n", [];
    empty_dockerfile: "", [];
    unknown_frontend: "# syntax=example/frontend:2\nFROM BASE\n", [];
    unknown_frontend_of_another_language: "// syntax=example/frontend:2\nimport \"app\"\n", [];
    unknown_frontend_by_argument: "FROM BASE\n", ["--build-arg", "BUILDKIT_SYNTAX=example/frontend"];
    argument_for_a_platform_that_is_not_built: "FROM BASE\n", ["--build-arg", "linux/arm64:TOKEN=s3cr3t"];
    argument_for_no_platform: "FROM BASE\n", ["--build-arg", "linux/amd46:TOKEN=s3cr3t"];
    proxy_for_one_platform: "FROM BASE\n", ["--build-arg", "linux/amd64:HTTP_PROXY=http://user:s3cr3t@proxy"];
    secret_in_a_message: "FROM BASE\nARG API_TOKEN\nARG NEXT=\"${MISSING:?with $API_TOKEN}\"\n", ["--build-arg", "API_TOKEN=s3cr3t"];
    secret_as_a_value: "ARG API_TOKEN\nFROM --platform=linux/$API_TOKEN BASE\n", ["--build-arg", "API_TOKEN=s3cr3t"];
    time_of_the_source: "ARG SOURCE_DATE_EPOCH=context\nFROM BASE\n", [];
    instruction_before_from: "RUN true\n", [];
    missing_base: "FROM BASE-nowhere:1\nRUN true\n", [];
    missing_platform: "FROM BASE\nRUN true\n", ["--platform", "linux/amd64,linux/riscv64"];
    unreachable_registry: "FROM localhost:1/x\n", [];
    failing_run: "FROM BASE\nRUN for n in $(seq 25); do echo line $n; done; exit 42\n", ["--platform", "linux/arm64"];
    failing_run_of_an_unknown_program: "FROM BASE\nRUN nosuchprogram\n", [];
    missing_source: "FROM BASE\nCOPY ap.txt /\n", [];
    source_above_the_context: "FROM BASE\nCOPY ../ap.txt /\n", [];
    source_linked_out_of_the_context: "FROM BASE\nCOPY outside /\n", [];
    source_below_a_link_out_of_the_context: "FROM BASE\nCOPY sub/above/x /\n", [];
    missing_source_in_a_stage: "FROM BASE AS build\nFROM BASE\nCOPY --from=build /x /\n", [];
    unknown_target: "FROM BASE AS build\n", ["--target", "buld"];
    unknown_user: "FROM BASE\nUSER nosuch\nRUN true\n", [];
    empty_base_name: "ARG X\nFROM ${X}\n", [];
    unknown_mount_option: "FROM BASE\nRUN --mount=type=cache,tagret=/c true\n", [];
    mount_option_of_another_type: "FROM BASE\nRUN --mount=type=cache,target=/c,size=1g true\n", [];
    missing_mount_source: "FROM BASE\nRUN --mount=from=BASE,source=/nothing,target=/c true\n", [];
    missing_secret: "FROM BASE\nRUN --mount=type=secret,id=key,required true\n", [];
    optional_secret_not_given: "FROM BASE\nRUN --mount=type=secret,id=key cat /run/secrets/key\n", [];
    insecure_step: "FROM BASE\nRUN --security=insecure true\n", [];
    device: "FROM BASE\nRUN --device=vendor.com/gpu true\n", [];
    unreachable_url: "FROM BASE\nADD http://localhost:1/x /\n", [];
    wrong_git_url: "FROM BASE\nADD https://example.com/x.git?brnch=main /\n", [];
    impossible_strategy: "FROM BASE\nRUN true\n", ["--strategy", "native", "--platform", "linux/s390x"];
    unknown_flag: "FROM BASE\n", ["--platfrom", "linux/arm64"];
    unknown_platform: "FROM BASE\n", ["--platform", "linux/amd46"];
    unknown_output_type: "FROM BASE\n", ["-o", "type=registy"];
    unknown_output_key: "FROM BASE\n", ["-o", "type=oci,desst=x"];
    unknown_strategy: "FROM BASE\n", ["--strategy", "emulate"];
    docker_archive_of_several_platforms: "FROM BASE\n", ["-o", "type=docker,dest=x", "--platform", TWO];
}

#[test]
fn missing_files() {
    let Some(scene) = Scene::new() else { return };
    assert_message!("missing_context", scene.archway(&["build", "nowhere"]));
    assert_message!("missing_dockerfile", scene.build(&[]));
    assert_message!("missing_named_dockerfile", scene.build(&["-f", "nowhere"]));
}

#[test]
fn no_name() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    assert_message!("no_name", scene.build(&["--push"]));
}

/// A registry of this test's own with busybox in it.
fn registry() -> RealRegistry {
    let registry = RealRegistry::start().unwrap();
    BaseImages::open().unwrap().push(Base::Busybox, &registry.host()).unwrap();
    registry
}

#[test]
fn unauthorised() {
    let Some(scene) = Scene::new() else { return };
    let private = Options { htpasswd: true, ..Options::default() }.start().unwrap();
    let image = private.reference("app:1");
    scene.dockerfile("FROM BASE\n");
    assert_message!("unauthorised_push", scene.build(&["-q", "--push", "-t", &image]));
    Skopeo::with_credentials(USER, PASSWORD).tags(&private.reference("app")).unwrap_err();
    scene.file("Dockerfile", &format!("FROM {image}\n"));
    assert_message!("unauthorised_base", scene.build(&["-q", "--platform", "linux/amd64"]));
}

#[test]
fn a_damaged_layer_is_not_used() {
    let Some(scene) = Scene::new() else { return };
    let registry = registry();
    let image = BaseImages::open().unwrap().get(Base::Busybox).unwrap();
    let manifest = image.manifests[0].digest.hex();
    let manifest = fs::read(image.directory.join("blobs/sha256").join(manifest)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let digest: Digest = serde_json::from_value(manifest["layers"][0]["digest"].clone()).unwrap();
    let stored = format!("docker/registry/v2/blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    let stored = registry.storage().join(stored);
    let good = fs::read(&stored).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&stored, bad).unwrap();

    scene.file("Dockerfile", &format!("FROM {}\nRUN true\n", registry.reference("busybox")));
    let build = ["-q", "-t", "app:1", "--platform", "linux/amd64"];
    assert_message!("damaged_layer", scene.build(&build));
    fs::write(&stored, good).unwrap();
    scene.build(&build).succeeded();
}

#[test]
fn a_damaged_manifest_is_not_used() {
    let Some(scene) = Scene::new() else { return };
    let registry = registry();
    let image = BaseImages::open().unwrap().get(Base::Busybox).unwrap();
    let digest = &image.manifests[0].digest;
    let stored = format!("docker/registry/v2/blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    let stored = registry.storage().join(stored);
    let mut bytes = fs::read(&stored).unwrap();
    bytes.push(b' ');
    fs::write(&stored, bytes).unwrap();
    scene.file("Dockerfile", &format!("FROM {}\nRUN true\n", registry.reference("busybox")));
    let run = scene.build(&["-q", "--platform", "linux/amd64"]).exited(1);
    assert!(run.stderr.contains("damaged content"), "{}", run.stderr);
}

/// Runs a script in a mount namespace of its own, where the store is on a file system of 4 MB.
fn with_a_small_store(scene: &Scene, script: &str) -> Run {
    fs::create_dir_all(scene.cli.root()).unwrap();
    let archway = scene.cli.command();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c"]);
    shell.arg(format!("mount -t tmpfs -o size=4m none \"$ARCHWAY_ROOT\" || exit 99\n{script}"));
    shell.arg(archway.get_program()).env_clear();
    shell.envs(archway.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.current_dir(scene.cli.work()).output().unwrap();
    Run {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_store_stays_good() {
    if !needs_root() || !tools::require("unshare") {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY app.txt /old\n");
    scene.file("app.txt", "text");
    let old = scene.push("linux/amd64");
    let image = scene.image("1");

    scene.dockerfile("FROM BASE\nCOPY big /big\n");
    let noise: Vec<u8> =
        (0..8_u64 << 20).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    fs::write(scene.cli.work().join("big"), noise).unwrap();
    fs::remove_dir_all(scene.cli.root()).unwrap();
    let build = format!("\"$0\" build -q --push -t {image} --platform linux/amd64 .");
    assert_message!("full_disk", with_a_small_store(&scene, &build));
    assert_eq!(published(&image), old);

    let script =
        format!("{build} 2> /dev/null && exit 98; mount -o remount,size=200m \"$ARCHWAY_ROOT\"; {build}");
    let run = with_a_small_store(&scene, &script).succeeded();
    assert_eq!(published(&image), run.stdout.trim());
}

#[test]
fn a_program_that_fills_the_disk_fails_its_step() {
    if !needs_root() || !tools::require("unshare") {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN dd if=/dev/zero of=/big bs=1M count=50 2> /dev/null\n");
    let build = "\"$0\" build -q -t app --platform linux/amd64 .";
    let script = format!("{build} && exit 98; \"$0\" images --format json");
    let run = with_a_small_store(&scene, &script).succeeded();
    assert_eq!(run.stdout, "[]\n");
    assert!(run.stderr.contains("RUN dd") && run.stderr.contains("exit code 1"), "{}", run.stderr);
}

#[test]
fn one_failed_platform_publishes_nothing() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /old\n");
    let old = scene.push(TWO);
    let image = scene.image("1");
    scene.dockerfile("FROM BASE\nRUN test \"$(uname -m)\" = x86_64\nRUN echo went on > /x\n");
    let states = |policy: &str| -> Vec<(String, u64)> {
        let arguments = ["-q", "--push", "-t", &image, "--platform", TWO, "--on-failure", policy];
        scene.build(&[&arguments[..], &["--metadata-file", "meta.json"]].concat()).exited(1);
        assert_eq!(published(&image), old, "{policy}");
        let metadata = scene.json("meta.json");
        let platforms = metadata["archway.platforms"].as_array().unwrap().iter();
        let state = |result: &serde_json::Value| result["state"].as_str().unwrap().to_owned();
        platforms.map(|result| (state(result), result["stepsRun"].as_u64().unwrap())).collect()
    };
    let aborted = states("abort");
    assert_eq!(aborted[1].0, "Failed");
    let continued = states("continue");
    assert_eq!((&*continued[0].0, &*continued[1].0), ("Succeeded", "Failed"));
    let metadata = scene.json("meta.json");
    assert_eq!(metadata.get("containerimage.digest"), None, "there is no index");

    scene.dockerfile("FROM BASE\nRUN test \"$(uname -m)\" = x86_64 || true\nRUN echo went on > /x\n");
    assert_ne!(scene.push(TWO), old);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let Some(scene) = Scene::new() else { return };
    let (_, nobody_reads) = std::io::pipe().unwrap();
    let output = scene.cli.command().args(["images"]).stdout(nobody_reads).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
