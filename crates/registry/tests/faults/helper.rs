//! A credential helper: a program that keeps credentials in place of `config.json`.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use archway_registry::{
    Client, ClientOptions, Error, Keychain,
    credentials::{self, Credential},
};

use crate::server::{Answer, Server, blob, options};

const SCRIPT: &str = r#"#!/bin/sh
kept="$(dirname "$0")/kept"
case "$1" in
    store) cat > "$kept" ;;
    get) [ -e "$kept" ] || { echo 'credentials not found in native keychain'; exit 1; }; cat "$kept" ;;
    erase) rm "$kept" ;;
esac
"#;

/// Set in the process whose `PATH` has the helper.
const PREPARED: &str = "ARCHWAY_TEST_HELPER";

fn in_another_process(test: &str, configuration: &str) {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("docker-credential-test");
    std::fs::write(&helper, SCRIPT).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(directory.path().join("config.json"), configuration).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("PATH", path)
        .env("DOCKER_CONFIG", directory.path())
        .env(PREPARED, directory.path())
        .env_remove("REGISTRY_AUTH_FILE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn visit(registry: &Server) -> Result<bool, Error> {
    let client = Client::new(ClientOptions { credentials: Keychain::from_environment(), ..options() });
    client.blob_exists(&registry.reference("app"), &blob(1).1.digest).await
}

#[tokio::test]
async fn a_helper_keeps_what_the_file_does_not() {
    let Some(directory) = std::env::var_os(PREPARED) else {
        let test = "helper::a_helper_keeps_what_the_file_does_not";
        return in_another_process(test, r#"{"credsStore": "test"}"#);
    };
    let registry = Server::start(|seen| match seen.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => Answer::status(200),
        _ => Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
    })
    .await;
    let credential = Credential::Password { username: "me".into(), password: "hunter2".into() };
    assert!(matches!(visit(&registry).await, Err(Error::Unauthorized { .. })));
    assert_eq!(credentials::store(&registry.host, &credential).await.unwrap(), "docker-credential-test");
    assert!(visit(&registry).await.unwrap());
    let file = std::fs::read_to_string(Path::new(&directory).join("config.json")).unwrap();
    assert_eq!(file, r#"{"credsStore": "test"}"#);
    assert!(credentials::erase(&registry.host).await.unwrap());
    assert!(!credentials::erase(&registry.host).await.unwrap());
    assert!(matches!(visit(&registry).await, Err(Error::Unauthorized { .. })));
}

#[tokio::test]
async fn a_missing_helper_is_named() {
    if std::env::var_os(PREPARED).is_none() {
        return in_another_process("helper::a_missing_helper_is_named", r#"{"credsStore": "absent"}"#);
    }
    let registry =
        Server::start(|_| Answer::status(401).header("www-authenticate", "Basic realm=\"r\"")).await;
    let error = visit(&registry).await.unwrap_err();
    assert!(error.to_string().contains("docker-credential-absent"), "{error}");
}
