//! That `buildkitd` does what its configuration says: its reader of TOML passes over what it does not know.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
};

use archway_testkit::{buildkit::Programs, certificate, tools};

use crate::scene::{POOLS, find, objects};

fn programs() -> Option<Programs> {
    let programs = Programs::find();
    if programs.is_none() {
        tools::skip("scripts/peers has not built buildkitd");
    }
    programs
}

/// `buildkitd.toml` of the daemons of amd64.
fn configuration(values: &str) -> String {
    let all = objects(values);
    let map = all.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    map["data"]["buildkitd.toml"].as_str().unwrap().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// What a daemon says that reads the text and then ends, as it does not know the format of its log.
fn read(programs: &Programs, text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("buildkitd.toml");
    fs::write(&file, text).unwrap();
    let output = Command::new(programs.buildkitd()).arg("--config").arg(&file).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_key_is_one_that_buildkitd_reads() {
    let Some(programs) = programs() else { return };
    if !tools::require_root() {
        return;
    }
    let text = configuration(POOLS[3].1).replace("format = \"json\"", "format = \"none\"");
    assert!(read(&programs, &text).contains("unsupported log type"));
    let keys = text.lines().filter(|line| line.contains(" = ") && !line.contains("format"));
    for line in keys {
        let (key, _) = line.split_once(" = ").unwrap();
        // What no key takes: where the key is known, the daemon does not get as far as its log.
        let said = read(&programs, &text.replace(line, &format!("{key} = [[[1]]]")));
        assert!(said.contains("failed to parse config"), "{key} is not read: {said}");
    }
}

/// The text with the paths and ports of this machine in place of the pod's.
fn here(text: &str, own: &Path, port: u16, metrics: u16) -> String {
    let own = own.display();
    let mut text = text.to_owned();
    for (theirs, ours) in [
        ("/home/user/.local/share/buildkit/daemon", format!("{own}/root")),
        ("/run/user/1000/buildkit/buildkitd.sock", format!("{own}/socket")),
        ("/etc/buildkit-tls", own.to_string()),
        ("tcp://:1234", format!("tcp://127.0.0.1:{port}")),
        ("tcp://:6060", format!("tcp://127.0.0.1:{metrics}")),
        // Another daemon's socket, if there is one, is none of ours.
        ("[worker.oci]\n", "[cdi]\ndisabled = true\n\n[worker.oci]\n".to_owned()),
    ] {
        assert!(text.contains(theirs), "{theirs} is not in\n{text}");
        text = text.replace(theirs, &ours);
    }
    text
}

#[test]
fn a_daemon_takes_clients_with_a_certificate_and_tells_its_metrics() {
    let Some(programs) = programs() else { return };
    if !tools::require_root() || !tools::require_each(&["openssl", "runc", "unshare"]) {
        return;
    }
    let (port, metrics) = (free_port(), free_port());
    let text = configuration(POOLS[3].1);
    let mut own = None;
    let buildkit = programs
        .start_with(|directory| {
            certificate::make(directory).unwrap();
            own = Some(directory.to_owned());
            here(&text, directory, port, metrics)
        })
        .unwrap();
    let own = own.unwrap();

    let workers = |arguments: &[&str]| -> Output {
        let mut command = buildkit.buildctl();
        command.args(arguments).args(["debug", "workers", "--verbose"]).current_dir(&own);
        command.output().unwrap()
    };
    let policies = String::from_utf8(workers(&[]).stdout).unwrap();
    // A tenth and four fifths of 55Gi, in units of 1000 as buildctl shows them.
    for part in ["type==source.local type==source.git.checkout", "48h0m0s", "5.905580032GB", "47.244640256GB"]
    {
        assert!(policies.contains(part), "{part} is not in\n{policies}");
    }

    let address = format!("--addr=tcp://localhost:{port}");
    let with_certificate = [address.as_str(), "--tlscacert=ca.pem", "--tlscert=cert.pem", "--tlskey=key.pem"];
    let output = workers(&with_certificate);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let without = workers(&[&address, "--tlscacert=ca.pem", "--tlsservername=localhost", "--timeout=5"]);
    assert!(!without.status.success(), "a client without a certificate was taken");

    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, metrics)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.contains("\ngo_goroutines "), "{answer}");
}

#[test]
fn without_metrics_no_debugging_page_is_open() {
    let all = objects(POOLS[0].1);
    let text = find(&all, "ConfigMap buildkitd-amd64")["data"]["buildkitd.toml"].as_str().unwrap();
    assert!(!text.contains("debugAddress"));
    let ports =
        &find(&all, "StatefulSet buildkitd-amd64")["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(ports.as_array().map(Vec::len), Some(1), "{ports}");
}
