//! `archway scan` and the gate of `archway build`: an OSV directory, and stand-ins for installed scanners.

use std::process::Command;

use archway_testkit::{Skopeo, cli::Run, process};
use serde_json::{Value, json};

use super::scene::{Scene, TWO};

/// A record about the Python distribution that the images here have.
fn record(id: &str, vector: Option<&str>, fixed: Option<&str>) -> Value {
    let mut events = vec![json!({"introduced": "0"})];
    events.extend(fixed.map(|fixed| json!({"fixed": fixed})));
    let severity: Vec<Value> = vector
        .iter()
        .map(|vector| json!({"type": "CVSS_V3", "score": format!("CVSS:3.1/{vector}")}))
        .collect();
    json!({
        "id": id, "modified": "2024-05-01T00:00:00Z", "summary": format!("about {id}"), "severity": severity,
        "affected": [{"package": {"ecosystem": "PyPI", "name": "six"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
    })
}

const LOW: &str = "AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N";
const CRITICAL: &str = "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";

/// A Dockerfile with one Python distribution, and records about it in `osv`.
fn scene(records: &[Value]) -> Option<Scene> {
    let scene = Scene::new()?;
    scene.file("METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n");
    scene.dockerfile("FROM BASE\nCOPY METADATA /opt/six-1.16.0.dist-info/METADATA\n");
    for record in records {
        scene.file(&format!("osv/PyPI/{}.json", record["id"].as_str().unwrap()), &record.to_string());
    }
    Some(scene)
}

/// Whether the image has its tag.
fn is_published(scene: &Scene) -> bool {
    Skopeo::new().raw_manifest(&format!("docker://{}", scene.image("1"))).is_ok()
}

fn build(scene: &Scene, arguments: &[&str]) -> Run {
    let image = scene.image("1");
    let common = ["--push", "-t", &image, "--platform", TWO, "--metadata-file", "metadata.json"];
    scene.build(&[&common[..], arguments].concat())
}

#[test]
fn a_grave_vulnerability_stops_the_publication_before_the_tag() {
    let records =
        [record("CVE-2024-1", Some(CRITICAL), Some("1.17.0")), record("CVE-2024-2", Some(LOW), None)];
    let Some(scene) = scene(&records) else { return };
    let run = build(&scene, &["--scan=osv:osv"]).exited(4);
    assert!(run.stderr.contains("1 vulnerability of severity high or above"), "{}", run.stderr);
    assert!(run.stderr.contains("CVE-2024-1") && run.stderr.contains("1.17.0"), "{}", run.stderr);
    assert!(!is_published(&scene));
    let found = scene.json("metadata.json")["vulnerabilities"].clone();
    let ids: Vec<&str> = found.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["CVE-2024-1", "CVE-2024-2"]);
    assert_eq!(found[0]["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!((&found[0]["severity"], &found[0]["fixed"]), (&json!("critical"), &json!("1.17.0")));

    // What was accepted stops nothing.
    scene.file("accepted", "CVE-2024-1 # not reachable\n");
    build(&scene, &["--scan=osv:osv", "--scan-ignore", "./accepted"]).succeeded();
    assert!(is_published(&scene));
    let found = scene.json("metadata.json")["vulnerabilities"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1);
}

#[test]
fn an_image_that_exists_is_scanned() {
    let records = [record("CVE-2024-1", Some(CRITICAL), None), record("PYSEC-9", None, Some("2.0"))];
    let Some(scene) = scene(&records) else { return };
    build(&scene, &[]).succeeded();
    let image = scene.image("1");
    let scan =
        |arguments: &[&str]| scene.archway(&[&["scan", "--with", "osv:osv"], arguments, &[&image]].concat());
    let run = scan(&["--format", "json"]).exited(4);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["vulnerabilities"][0]["id"], "CVE-2024-1");
    assert_eq!(report["vulnerabilities"][1]["severity"], "unknown");
    assert_eq!(report["platforms"][1]["vulnerabilities"], json!({"unknown": 1, "critical": 1}));
    assert_eq!(report["database"], json!({"records": 2, "newest": "2024-05-01T00:00:00Z"}));
    let run = scan(&["--ignore", "unfixed"]).succeeded();
    assert!(run.stdout.contains("PYSEC-9") && !run.stdout.contains("CVE-2024-1"), "{}", run.stdout);
    scan(&["--threshold", "severe"]).exited(2);
    scene.archway(&["scan", "--with", "clair", &image]).exited(2);
    // No answer is not a good one.
    scene.file("osv/broken.json", "{");
    let run = scan(&[]).exited(1);
    assert!(run.stderr.contains("broken.json"), "{}", run.stderr);
}

/// A program called `name` that checks how it is called and prints `output`, in place of the real one; a `PATH` with it.
fn stand_in(scene: &Scene, name: &str, check: &str, output: &Value) -> String {
    let script = format!("#!/bin/sh\nset -e\n{check}\ncat <<'END'\n{output}\nEND\n");
    let text = scene.file(&format!("{name}.sh"), &script);
    let program = scene.cli.work().join("bin").join(name);
    // Another process writes it: Linux starts no program that a process started meanwhile has open for writing.
    let mut install = Command::new("install");
    install.args(["-D", "--mode=755"]).args([&text, &program]);
    process::output(&mut install).unwrap();
    let others = std::env::var("PATH").unwrap();
    format!("{}:{others}", program.parent().unwrap().display())
}

#[test]
fn an_installed_scanner_is_given_the_bill_of_each_platform() {
    let Some(scene) = scene(&[]) else { return };
    let trivy = json!({"SchemaVersion": 2, "Results": [{"Target": "Python", "Type": "python-pkg", "Vulnerabilities": [
        {"VulnerabilityID": "CVE-2024-5", "PkgName": "six", "InstalledVersion": "1.16.0", "Severity": "HIGH",
         "PkgIdentifier": {"PURL": "pkg:pypi/six@1.16.0"}}]}]});
    let check =
        "test \"$1\" = sbom && grep -q '\"purl\":\"pkg:pypi/six@1.16.0\"' \"$5\" && grep -q CycloneDX \"$5\"";
    let path = stand_in(&scene, "trivy", check, &trivy);
    build(&scene, &[]).succeeded();
    let image = scene.image("1");
    let run = |program: &str| {
        let mut command = scene.cli.command();
        command.env("PATH", &path).args(["scan", "--format", "json", "--with", program, &image]);
        command.output().unwrap()
    };
    let output = run("trivy");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &report["vulnerabilities"][0];
    assert_eq!((&found["id"], &found["type"]), (&json!("CVE-2024-5"), &json!("pypi")));
    assert_eq!(found["platforms"], json!(["linux/amd64", "linux/arm64"]));

    stand_in(&scene, "grype", "echo no database >&2; exit 1", &Value::Null);
    let output = run("grype");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no database") && said.contains("linux/amd64"), "{said}");

    stand_in(&scene, "grype", "", &json!({"matches": []}));
    assert!(run("grype").status.success());
}
