use archway_layer::contents::LayerContents;

use super::*;
use crate::made::{self, Elf, Files};

const AMD64: u16 = 62;
const ARM64: u16 = 183;
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn program(machine: u16) -> Vec<u8> {
    Elf::new(machine).bytes()
}

fn config(entrypoint: &[&str]) -> ContainerConfig {
    let words = entrypoint.iter().map(|word| (*word).to_owned()).collect();
    ContainerConfig { entrypoint: Some(words), ..ContainerConfig::default() }
}

/// Severity and text of all findings.
#[track_caller]
fn findings(platform: &str, policy: Policy, config: &ContainerConfig, files: &Files) -> Vec<String> {
    audited(platform, policy, config, files, true)
        .findings
        .iter()
        .map(|finding| format!("{:?}: {finding}", finding.severity))
        .collect()
}

fn audited(
    platform: &str,
    policy: Policy,
    config: &ContainerConfig,
    files: &Files,
    is_complete: bool,
) -> Audit {
    let layer: LayerContents = files.layer();
    let contents = Contents::stack([&layer]);
    let platform: Platform = platform.parse().unwrap();
    let image = Image { platform: &platform, config, contents: &contents, is_complete };
    let allowed = |path: &str| path.starts_with("opt/foreign/");
    audit(&image, &Rules { policy, allowed: &allowed })
}

/// A small image for amd64 of which everything is good.
fn good() -> Files {
    Files::default()
        .file("lib64/ld-linux-x86-64.so.2", 0o755, &program(AMD64))
        .file("usr/bin/bash", 0o755, &Elf::new(AMD64).interpreter(LOADER).bytes())
        .symlink("bin", "usr/bin")
        .symlink("usr/bin/sh", "bash")
        .file("usr/lib/libc.so.6", 0o644, &program(AMD64))
        .file("start", 0o755, b"#!/bin/sh\nexec app\n")
}

#[test]
fn a_good_image_has_no_findings() {
    let audit = audited("linux/amd64", Policy::Fail, &config(&["/start"]), &good(), true);
    assert_eq!(audit.findings, []);
    assert_eq!((audit.programs, audit.scripts), (3, 1));
}

#[test]
fn an_entrypoint_of_another_machine_is_an_error_under_any_policy() {
    let files = good().file("usr/local/bin/app", 0o755, &program(ARM64));
    let expected =
        "Error: the entrypoint `usr/local/bin/app` is a program for arm64, and does not run on linux/amd64";
    for policy in [Policy::Warn, Policy::Fail] {
        assert_eq!(findings("linux/amd64", policy, &config(&["app"]), &files), [expected]);
        assert_eq!(
            findings("linux/amd64", policy, &config(&["/usr/local/bin/app", "-x"]), &files),
            [expected]
        );
    }
    assert_eq!(findings("linux/amd64", Policy::Off, &config(&["app"]), &files), [""; 0]);
}

#[test]
fn what_an_entrypoint_needs_belongs_to_it() {
    let files = Files::default()
        .file("start", 0o755, b"#!/opt/python/bin/python3 -u\n")
        .file("opt/python/bin/python3", 0o755, &program(ARM64))
        .file("static", 0o755, &program(AMD64))
        .file("dynamic", 0o755, &Elf::new(AMD64).interpreter(LOADER).bytes())
        .file("absent", 0o755, b"#!/bin/bash\n");
    let findings = |entrypoint: &str| {
        findings("linux/amd64", Policy::Warn, &config(&[entrypoint]), &files)
            .into_iter()
            .filter(|text| text.contains("the entrypoint"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        findings("/start"),
        [
            "Error: the entrypoint `opt/python/bin/python3` is a program for arm64, and does not run on linux/amd64"
        ]
    );
    assert_eq!(
        findings("/dynamic"),
        ["Warning: the entrypoint `dynamic` needs `/lib64/ld-linux-x86-64.so.2`, which is not in the image"]
    );
    assert_eq!(
        findings("/absent"),
        ["Warning: the entrypoint `absent` needs `/bin/bash`, which is not in the image"]
    );
    assert_eq!(findings("/static"), [""; 0]);
    assert_eq!(
        findings("nothing"),
        ["Warning: the entrypoint `nothing` is not an executable file of the image"]
    );
}

#[test]
fn every_program_and_library_counts_and_data_does_not() {
    let files = good()
        .file("usr/lib/libx.so", 0o644, &program(ARM64))
        .file("usr/bin/tool", 0o755, &Elf::new(ARM64).kind(2).bytes())
        .file("usr/share/firmware", 0o644, &Elf::new(ARM64).kind(2).bytes())
        .file("usr/lib/module.ko", 0o644, &Elf::new(ARM64).kind(1).bytes())
        .file("usr/lib/python/t64.exe", 0o755, &made::pe(0x8664, 3, 0))
        .file("usr/bin/mac", 0o755, &[0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1])
        .file("usr/lib/i386.so", 0o644, &Elf::new(3).bits32().bytes())
        .file("opt/foreign/tool", 0o755, &program(ARM64));
    let paths = |policy| -> Vec<String> {
        let audit = audited("linux/amd64", policy, &config(&["sh"]), &files, true);
        assert_eq!(audit.allowed, 1);
        let shown = |finding: &Finding| format!("{:?} {}", finding.severity, finding.path);
        audit.findings.iter().map(shown).collect()
    };
    assert_eq!(
        paths(Policy::Warn),
        ["Warning usr/bin/mac", "Warning usr/bin/tool", "Note usr/lib/i386.so", "Warning usr/lib/libx.so"]
    );
    assert_eq!(
        paths(Policy::Fail),
        ["Error usr/bin/mac", "Error usr/bin/tool", "Warning usr/lib/i386.so", "Error usr/lib/libx.so"]
    );
}

#[test]
fn of_a_part_of_an_image_nothing_is_said_to_be_missing() {
    let files = Files::default().file("start", 0o755, b"#!/bin/sh\n").file(
        "app",
        0o755,
        &Elf::new(ARM64).interpreter("/lib/ld.so").bytes(),
    );
    for entrypoint in ["/start", "bash"] {
        let audit = audited("linux/amd64", Policy::Warn, &config(&[entrypoint]), &files, false);
        let shown: Vec<String> = audit.findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["`app` is a program for arm64, and does not run on linux/amd64"]);
    }
}

#[test]
fn names_on_windows_have_no_case_and_maybe_no_extension() {
    let files = Files::default().file("app/Tool.exe", 0o644, &made::pe(0xaa64, 3, 0)).file(
        "Windows/System32/cmd.exe",
        0o644,
        &made::pe(0x8664, 3, 0),
    );
    let foreign = "Error: the entrypoint `app/Tool.exe` is a program for windows/arm64, and does not run on windows/amd64";
    for name in ["C:\\app\\tool.exe", "\\app\\tool", "tool"] {
        let config = ContainerConfig { working_dir: "C:\\App".into(), ..config(&[name]) };
        assert_eq!(findings("windows/amd64", Policy::Warn, &config, &files), [foreign], "{name}");
    }
    let shell = findings("windows/amd64", Policy::Warn, &config(&["cmd", "/c"]), &files);
    assert_eq!(shell, [foreign.replace("Error: the entrypoint", "Warning:")]);
}

#[test]
fn the_path_and_the_directory_of_the_config_decide() {
    let files = Files::default()
        .file("opt/bin/app", 0o755, &program(ARM64))
        .file("usr/bin/app", 0o755, &program(AMD64))
        .file("work/app", 0o644, &program(AMD64))
        .file("work/run/app", 0o755, &program(ARM64));
    let is_foreign = |name: &str, path: Option<&str>| {
        let env = path.map(|path| format!("PATH={path}")).into_iter().collect();
        let config = ContainerConfig { env, working_dir: "/work".into(), ..config(&[name]) };
        let found = findings("linux/amd64", Policy::Warn, &config, &files);
        found.iter().any(|text| text.starts_with("Error"))
    };
    assert!(!is_foreign("app", None));
    assert!(is_foreign("app", Some("/opt/bin:/usr/bin")));
    assert!(!is_foreign("app", Some("/work:/usr/bin:/opt/bin")), "what is not executable is passed over");
    assert!(is_foreign("run/app", None));
    assert!(is_foreign("app", Some("run")));
}
