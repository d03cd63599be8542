//! Credentials: asked for, stored, used, forgotten.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use archway_testkit::{
    RealRegistry, Skopeo,
    registry::{Options, PASSWORD, USER},
};

use crate::scene::Scene;

fn private(tls: bool) -> RealRegistry {
    Options { htpasswd: true, tls, ..Options::default() }.start().unwrap()
}

fn login(scene: &Scene, registry: &RealRegistry, password: &str, more: &[String]) -> Output {
    let mut archway = scene.cli.command();
    archway.args(["login", "-u", USER, "--password-stdin", &registry.host()]).args(more);
    archway.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut login = archway.spawn().unwrap();
    login.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    login.wait_with_output().unwrap()
}

fn stored(scene: &Scene) -> String {
    fs::read_to_string(scene.cli.docker_config().join("config.json")).unwrap_or_default()
}

#[test]
fn a_login_lets_a_push_through_and_a_logout_does_not() {
    let Some(scene) = Scene::new() else { return };
    let registry = private(false);
    let image = registry.reference("app:1");
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    let push = || scene.build(&["-q", "--push", "-t", &image]);
    push().exited(1);

    let wrong = login(&scene, &registry, "wrong", &[]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(!stored(&scene).contains(&registry.host()), "a wrong password is not stored");
    push().exited(1);

    let right = login(&scene, &registry, &format!("{PASSWORD}\n"), &[]);
    let said = String::from_utf8_lossy(&right.stdout).into_owned() + &String::from_utf8_lossy(&right.stderr);
    assert!(right.status.success(), "{said}");
    assert!(!said.contains(PASSWORD));
    assert!(stored(&scene).contains(&registry.host()));
    let digest = push().succeeded().stdout;
    let pushed = Skopeo::with_credentials(USER, PASSWORD).raw_manifest(&format!("docker://{image}")).unwrap();
    assert_eq!(archway_oci::Digest::sha256(&pushed).to_string(), digest.trim());
    scene.archway(&["inspect", "--pull", &image]).succeeded();

    scene.archway(&["logout", &registry.host()]).succeeded();
    assert!(!stored(&scene).contains(&registry.host()));
    scene.archway(&["inspect", "--pull", &image]).exited(1);
}

#[test]
fn other_settings_in_the_configuration_stay() {
    let Some(scene) = Scene::new() else { return };
    let registry = private(false);
    let file = scene.cli.docker_config().join("config.json");
    let other = r#"{"auths":{"example.com":{"auth":"YTpi"}},"psFormat":"table"}"#;
    fs::write(&file, other).unwrap();
    assert!(login(&scene, &registry, PASSWORD, &[]).status.success());
    scene.archway(&["logout", &registry.host()]).succeeded();
    let after: serde_json::Value = serde_json::from_str(&stored(&scene)).unwrap();
    assert_eq!(after, serde_json::from_str::<serde_json::Value>(other).unwrap());
}

#[test]
fn a_registry_with_its_own_authority_needs_its_certificate() {
    let Some(scene) = Scene::new() else { return };
    if !archway_testkit::tools::require("openssl") {
        return;
    }
    let registry = private(true);
    let image = registry.reference("app:1");
    let refused = login(&scene, &registry, PASSWORD, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let authority = ["--registry-ca".to_owned(), registry.ca_file().display().to_string()];
    let accepted = login(&scene, &registry, PASSWORD, &authority);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    let push = ["-q", "--push", "-t", &image];
    scene.build(&push).exited(1);
    scene.build(&[&push[..], &[&authority[0], &authority[1]]].concat()).succeeded();
    scene.build(&[&push[..], &["--insecure-registry", &registry.host()]].concat()).succeeded();
}
