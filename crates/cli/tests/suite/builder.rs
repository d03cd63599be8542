//! Builders: the file, certificates, and what daemons say, as users see it.

use std::{fs, process::Command};

use archway_testkit::{
    Buildkit, Cli,
    buildkit::{Options, Tcp},
    cli::Run,
    tools,
};
use serde_json::Value;

fn cli() -> Cli {
    Cli::new(env!("CARGO_BIN_EXE_archway")).unwrap()
}

fn builder(cli: &Cli, arguments: &[&str]) -> Run {
    cli.run(["builder"].iter().chain(arguments)).unwrap()
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.succeeded().stdout).unwrap()
}

/// What a daemon says that was built from its module, and does not know its release.
const VERSION: &str = "v0.0.0+unknown";

/// What a run ended with, without what differs from run to run.
macro_rules! assert_message {
    ($name:expr, $run:expr) => {{
        let run: &Run = &$run;
        let text = format!("{}exit code {}", run.stderr, run.status.code().unwrap_or(-1));
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "builder",
            filters => vec![
                (r"/[\w/.-]*/archway-test-\w+", "[DIRECTORY]"),
                (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
            ],
        }, { insta::assert_snapshot!($name, text) });
    }};
}

const CLIENT: [&str; 6] =
    ["--cacert", "certs/client/ca.pem", "--cert", "certs/client/cert.pem", "--key", "certs/client/key.pem"];

/// A daemon with the certificates that the command line made, in `certs` of its working directory.
fn daemon(cli: &Cli) -> Option<Buildkit> {
    builder(cli, &["certs", "--dir", "certs", "--server", "127.0.0.1"]).succeeded();
    let file = |name: &str| cli.work().join("certs/server").join(name);
    let tcp = Tcp::Mutual { authority: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") };
    let platforms = vec!["linux/arm64".to_owned(), "linux/arm/v7".to_owned(), "linux/amd64".to_owned()];
    Buildkit::required(&Options { tcp: Some(tcp), platforms, ..Options::default() })
}

fn file(cli: &Cli) -> String {
    fs::read_to_string(cli.home().join(".config/archway/builders.toml")).unwrap_or_default()
}

#[test]
fn a_daemon_becomes_a_builder_and_goes_again() {
    let cli = cli();
    let Some(buildkit) = daemon(&cli) else { return };
    let endpoint = format!("tcp://127.0.0.1:{}", buildkit.port().unwrap());

    // It says more, of what this machine's processor can.
    let wanted = ["--platform", "linux/arm64,linux/arm/v7,linux/amd64"];
    let created =
        builder(&cli, &[&["create", "pool", &endpoint, "--use"], &wanted[..], &CLIENT].concat()).succeeded();
    assert_eq!(created.stdout, "pool\n");
    let said =
        format!("{endpoint} is BuildKit {VERSION}, builds linux/arm64 linux/arm/v7, emulates linux/amd64");
    assert_eq!(created.stderr.trim(), said);
    // Certificates are found from anywhere.
    assert!(
        file(&cli).contains(&format!("cacert = \"{}\"", cli.work().join("certs/client/ca.pem").display()))
    );

    let dead = builder(&cli, &["create", "pool", "--append", "unix:///nowhere/socket"]).succeeded();
    assert!(dead.stderr.starts_with("note: unix:///nowhere/socket cannot be reached"), "{}", dead.stderr);
    let list = builder(&cli, &["ls"]).succeeded();
    let rows: Vec<Vec<&str>> = list.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "ENDPOINT", "STATUS", "VERSION", "NATIVE", "EMULATED", "CACHE"]);
    assert_eq!(rows[1][..4], ["embedded", "this", "machine", "running"]);
    assert_eq!(
        rows[2][..6],
        ["pool*", &endpoint, "running", VERSION, "linux/arm64,linux/arm/v7", "linux/amd64"]
    );
    assert_eq!(rows[3][..2], ["unix:///nowhere/socket", "error"]);
    assert!(
        list.stderr.starts_with("error: pool: unix:///nowhere/socket cannot be reached"),
        "{}",
        list.stderr
    );

    let all = json(builder(&cli, &["ls", "--format", "json"]));
    assert_eq!((&all[0]["name"], &all[0]["current"]), (&"embedded".into(), &false.into()));
    let node = &all[1]["nodes"][0];
    assert_eq!(
        (&node["status"], &node["version"], &node["runningBuilds"]),
        (&"running".into(), &VERSION.into(), &0.into())
    );
    assert_eq!(node["platforms"]["native"], serde_json::json!(["linux/arm64", "linux/arm/v7"]));
    assert!(node["disk"]["total"].is_u64());
    assert!(all[1]["nodes"][1]["error"]["hint"].as_str().unwrap().contains("daemon"));

    let shown = builder(&cli, &["inspect"]).succeeded().stdout;
    for part in [
        "Name:     pool\nCurrent:  yes\n",
        "Native:       linux/arm64, linux/arm/v7\n",
        "valid until 20",
        "Worker:",
        "error: unix:///",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }

    builder(&cli, &["rm", "pool", "--node", "unix:///nowhere/socket"]).succeeded();
    builder(&cli, &["use", "embedded"]).succeeded();
    assert_eq!(json(builder(&cli, &["inspect", "--format", "json"]))["name"], "embedded");
    builder(&cli, &["use", "pool"]).succeeded();
    builder(&cli, &["rm", "pool"]).succeeded();
    assert_eq!(file(&cli), "", "what was written is gone");
    assert_eq!(json(builder(&cli, &["ls", "--format", "json"])).as_array().unwrap().len(), 1);
}

#[test]
fn a_daemon_that_says_no_does_not_become_a_builder() {
    let cli = cli();
    let Some(buildkit) = daemon(&cli) else { return };
    let endpoint = &format!("tcp://127.0.0.1:{}", buildkit.port().unwrap());
    builder(&cli, &["certs", "--dir", "other", "--server", "127.0.0.1"]).succeeded();
    let create = |arguments: &[&str]| builder(&cli, &[&["create", "pool", endpoint], arguments].concat());
    let [cacert, cert, key] = [[CLIENT[0], CLIENT[1]], [CLIENT[2], CLIENT[3]], [CLIENT[4], CLIENT[5]]];
    let of_other = ["--cert", "other/client/cert.pem", "--key", "other/client/key.pem"];
    assert_message!("wrong_authority", create(&[&["--cacert", "other/ca.pem"], &cert[..], &key].concat()));
    assert_message!("no_client_certificate", create(&cacert));
    assert_message!("client_of_others", create(&[&cacert[..], &of_other].concat()));
    assert_message!("wrong_name", create(&[&CLIENT[..], &["--server-name", "elsewhere.example"]].concat()));
    assert_message!("in_the_clear", create(&["--allow-insecure"]));
    assert_message!("without_certificates", create(&[]));
    assert_message!(
        "key_of_another",
        create(&[&cacert[..], &cert, &["--key", "other/client/key.pem"]].concat())
    );
    assert_message!("missing_file", create(&["--cacert", "nowhere.pem"]));
    assert_eq!(file(&cli), "");
}

#[test]
fn what_cannot_be_done_to_builders_is_said() {
    let cli = cli();
    let create = |arguments: &[&str]| builder(&cli, &[&["create"], arguments].concat());
    create(&["pool", "unix:///nowhere/1"]).succeeded();
    assert_message!("there_already", create(&["pool", "unix:///nowhere/2"]));
    assert_message!("node_there_already", create(&["pool", "unix:///nowhere/1", "--append"]));
    assert_message!("nothing_to_append_to", create(&["new", "unix:///nowhere/1", "--append"]));
    assert_message!("reserved", create(&["embedded", "unix:///nowhere/1"]));
    assert_message!("no_endpoint", create(&["new"]));
    assert_message!("no_scheme", create(&["new", "arm-1:1234"]));
    assert_message!("other_driver", create(&["new", "unix:///s", "--driver", "docker-container"]));
    assert_message!("no_such_builder", builder(&cli, &["use", "pol"]));
    assert_message!("no_such_node", builder(&cli, &["rm", "pool", "--node", "unix:///nowhere/3"]));
    assert_message!("embedded_stays", builder(&cli, &["rm", "embedded"]));
    let path = cli.home().join(".config/archway/builders.toml");
    fs::write(&path, "# Mine.\n[[builder.pool.node]]\nendpiont = \"unix:///s\"\n").unwrap();
    assert_message!("unknown_key", builder(&cli, &["ls"]));
    assert_message!("unknown_key_is_not_overwritten", create(&["new", "unix:///s"]));
    assert!(file(&cli).starts_with("# Mine.\n"));
}

#[test]
fn certificates_are_made_once_and_renewed_when_it_is_said() {
    if !tools::require("openssl") {
        return;
    }
    let cli = cli();
    let certs = |arguments: &[&str]| builder(&cli, &[&["certs", "--dir", "certs"], arguments].concat());
    assert_message!("certs_without_names", certs(&[]));
    assert_message!("nothing_to_rotate", certs(&["--rotate"]));
    let made = certs(&["--server", "b.example,10.0.0.7", "--client", "ci"]).succeeded();
    assert!(made.stderr.contains("for b.example, 10.0.0.7, valid until "), "{}", made.stderr);
    assert_message!("certs_there_already", certs(&["--server", "b.example"]));
    assert_message!("certs_for_too_long", certs(&["--rotate", "--validity", "9999d"]));
    let read = || fs::read(cli.work().join("certs/client/cert.pem")).unwrap();
    let before = read();
    let secrets = json(certs(&["--rotate", "--kubernetes-secret=builds/pool"]));
    assert_ne!(read(), before);
    assert_eq!(
        secrets["items"][0]["metadata"],
        serde_json::json!({ "name": "pool-server", "namespace": "builds" })
    );
    let verified = Command::new("openssl")
        .args(["verify", "-CAfile", "certs/ca.pem", "certs/client/cert.pem", "certs/server/cert.pem"])
        .current_dir(cli.work())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn builders_made_at_the_same_time_are_all_there() {
    let cli = cli();
    let names: Vec<String> = (0..6).map(|index| format!("b{index}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| builder(&cli, &["create", name, "unix:///nowhere/socket"]).succeeded());
        }
    });
    let all = json(builder(&cli, &["ls", "--format", "json"]));
    let found: Vec<&str> =
        all.as_array().unwrap().iter().map(|builder| builder["name"].as_str().unwrap()).collect();
    assert_eq!(found[1..], names);
}
