//! Programs of other architectures.

mod fixture;

use archway_oci::Platform;
use archway_sandbox::{Activation, Exit, Sandbox, Spec, User};
use archway_testkit::tools;
use fixture::{Fixture, is_root, output, run};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// A spec for a platform, or none if this machine lacks its emulator.
fn emulated(sandbox: &Sandbox, fixture: &Fixture, platform: &Platform, script: &str) -> Option<Spec> {
    match sandbox.emulation().for_platform(platform) {
        Ok(interpreter) => Some(Spec { interpreter, ..fixture.shell(script) }),
        Err(error) => {
            tools::skip(&error.to_string());
            None
        }
    }
}

#[tokio::test]
async fn emulated_processes_start_others() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::start().unwrap();
    for (name, machine) in [
        ("linux/arm64", "aarch64"),
        ("linux/arm/v7", "armv7l"),
        ("linux/ppc64le", "ppc64le"),
        ("linux/s390x", "s390x"),
        ("linux/amd64", "x86_64"),
    ] {
        let platform = platform(name);
        let fixture = Fixture::of(&platform);
        let script = "uname -m; /bin/busybox sh -c 'busybox uname -m'; touch /made; id -u; exit 3";
        let Some(spec) = emulated(&sandbox, &fixture, &platform, script) else { continue };
        let (exit, text) = run(&sandbox, &spec).await.unwrap();
        assert_eq!(text, format!("{machine}\n{machine}\n0\n"), "{name}");
        assert_eq!(exit, Exit::Code(3), "{name}");
        assert_eq!(fixture.changes(), ["made"], "{name}");
    }
}

#[tokio::test]
async fn users_and_owners_are_the_same_under_emulation() {
    if !is_root() {
        return;
    }
    let (sandbox, platform) = (Sandbox::start().unwrap(), platform("linux/arm64"));
    let fixture = Fixture::of(&platform);
    let script =
        "touch /tmp/f && chown 5:6 /tmp/f && stat -c %u:%g /tmp/f; grep -E 'CapEff|CapBnd' /proc/self/status";
    let Some(mut spec) = emulated(&sandbox, &fixture, &platform, &format!("mkdir -p /tmp; {script}")) else {
        return;
    };
    let text = output(&sandbox, &spec).await;
    assert_eq!(text, "5:6\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n");
    spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![7] };
    spec.argv = ["sh", "-c", "id -u; id -G; echo hi > /dev/stdout"].map(str::to_owned).to_vec();
    assert_eq!(output(&sandbox, &spec).await, "1000\n1000 7\nhi\n");
}

#[tokio::test]
async fn the_first_process_can_be_emulated_by_hand() {
    if !is_root() {
        return;
    }
    let (sandbox, platform) = (Sandbox::start().unwrap(), platform("linux/arm64"));
    let fixture = Fixture::of(&platform);
    let Some(mut spec) = emulated(&sandbox, &fixture, &platform, "true") else { return };
    if let Some(interpreter) = &mut spec.interpreter {
        interpreter.activation = Activation::FirstProcess;
    }
    spec.argv = ["uname", "-m"].map(str::to_owned).to_vec();
    assert_eq!(output(&sandbox, &spec).await, "aarch64\n");
    spec.argv = vec!["nosuch".into()];
    assert!(run(&sandbox, &spec).await.unwrap_err().is_program_missing());
}

#[tokio::test]
async fn without_an_emulator_the_platform_is_named() {
    if !is_root() {
        return;
    }
    let (sandbox, platform) = (Sandbox::start().unwrap(), platform("linux/arm64"));
    if platform.runs_natively_on(&Platform::host_processor()) {
        return;
    }
    let fixture = Fixture::of(&platform);
    let error = run(&sandbox, &fixture.shell("true")).await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` is not a program for this platform");
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn programs_of_32_bits_run_natively() {
    if !is_root() {
        return;
    }
    let (sandbox, platform) = (Sandbox::start().unwrap(), platform("linux/386"));
    assert_eq!(sandbox.emulation().for_platform(&platform), Ok(None));
    let fixture = Fixture::of(&platform);
    let text = output(
        &sandbox,
        &fixture.shell("echo $(busybox echo works); umount /proc 2>&1 | grep -c 'not permitted'"),
    )
    .await;
    assert_eq!(text, "works\n1\n");
}
