//! The registry starts, serves, asks for credentials and disappears.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use archway_oci::{ContainerConfig, Platform};
use archway_testkit::{
    RealRegistry, Skopeo,
    image::{Image, LayerBuilder, PlatformImage},
    registry::{Options, PASSWORD, USER},
    tools,
};

fn tiny_image(directory: &std::path::Path) -> Image {
    let layer = LayerBuilder::new().file("hello", 0o644, b"hello\n").unwrap().finish().unwrap();
    let image = |architecture: &str| PlatformImage {
        platform: Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() },
        layers: vec![layer.clone()],
        config: ContainerConfig::default(),
    };
    Image::write(directory, &[image("amd64"), image("s390x")]).unwrap()
}

fn have_tools() -> bool {
    tools::require_each(&["docker-registry", "skopeo"])
}

#[test]
fn keeps_digests_and_logs_requests() {
    if !have_tools() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = tiny_image(directory.path());
    let registry = RealRegistry::start().unwrap();
    let reference = registry.reference("tiny:1");
    image.push(&reference).unwrap();

    let skopeo = Skopeo::new();
    let pushed = skopeo.raw_manifest(&format!("docker://{reference}")).unwrap();
    assert_eq!(archway_oci::Digest::sha256(&pushed), image.descriptor.digest);
    assert_eq!(skopeo.tags(&registry.reference("tiny")).unwrap(), ["1"]);
    let s390x = image.platforms().nth(1).unwrap().clone();
    let config = skopeo.config(&format!("docker://{reference}"), &s390x).unwrap();
    assert_eq!(config["architecture"], "s390x");

    let requests = registry.requests().unwrap();
    let uploads = requests.iter().filter(|r| r.method == "PUT" && r.path.contains("/blobs/uploads/")).count();
    assert_eq!(uploads, 3, "one layer and two configs: {requests:#?}");
}

#[test]
fn asks_for_credentials() {
    if !have_tools() {
        return;
    }
    let registry = Options { htpasswd: true, ..Options::default() }.start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let image = tiny_image(directory.path());
    let destination = format!("docker://{}", registry.reference("tiny:1"));
    Skopeo::new().copy(&image.oci_reference(), &destination).unwrap_err();
    Skopeo::with_credentials(USER, "wrong").copy(&image.oci_reference(), &destination).unwrap_err();
    let allowed = Skopeo::with_credentials(USER, PASSWORD);
    allowed.copy(&image.oci_reference(), &destination).unwrap();
    assert_eq!(allowed.tags(&registry.reference("tiny")).unwrap(), ["1"]);
}

#[test]
fn speaks_tls() {
    if !have_tools() || !tools::require_each(&["openssl", "curl"]) {
        return;
    }
    let registry = Options { tls: true, ..Options::default() }.start().unwrap();
    let url = format!("https://{}/v2/", registry.host());
    let curl = |options: &[&std::ffi::OsStr]| {
        Command::new("curl").args(["--silent", "--noproxy", "*"]).args(options).arg(&url).status().unwrap()
    };
    assert!(curl(&["--cacert".as_ref(), registry.ca_file().as_os_str()]).success());
    assert!(!curl(&[]).success(), "the authority is not one the host trusts");
}

#[test]
fn is_gone_after_drop() {
    if !have_tools() {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (address, storage) = (registry.address(), registry.storage());
    drop(registry);
    TcpStream::connect(address).unwrap_err();
    assert!(!storage.parent().unwrap().exists());
}

#[test]
fn is_gone_after_its_owner_was_killed() {
    if !have_tools() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let mut owner = Command::new(env!("CARGO_BIN_EXE_archway-testkit"))
        .args(["registry", "--ready-file"])
        .arg(&ready)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let ended = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(20));
            done()
        });
        assert!(ended, "{what}");
    };
    wait("the registry is ready", &|| ready.exists());
    let host = std::fs::read_to_string(&ready).unwrap();
    let host = host.trim();
    TcpStream::connect(host).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait("the registry is gone", &|| TcpStream::connect(host).is_err());
}
