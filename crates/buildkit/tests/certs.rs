//! The directory of certificates, read by OpenSSL.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use archway_buildkit::certs::{self, CertsError, Order, VALIDITY};
use archway_testkit::tools;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn order() -> Order {
    let server = ["builder.example", "*.builds.svc", "10.0.0.7", "::1"];
    Order {
        server: server.iter().map(|name| name.parse().unwrap()).collect(),
        client: Some("ci".into()),
        validity: VALIDITY,
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// All files below a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.path().is_dir() {
            true => {
                names.extend(self::names(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")))
            }
            false => names.push(name),
        }
    }
    names.sort();
    names
}

const FIRST: [&str; 8] = [
    "ca-key.pem",
    "ca.pem",
    "client/ca.pem",
    "client/cert.pem",
    "client/key.pem",
    "server/ca.pem",
    "server/cert.pem",
    "server/key.pem",
];

#[test]
fn openssl_reads_them() {
    if !tools::require("openssl") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let directory = &scratch.path().join("certs");
    certs::create(directory, &order(), SystemTime::now()).unwrap();
    assert_eq!(names(directory), FIRST);
    for (leaf, purpose, other) in [("server", "sslserver", "sslclient"), ("client", "sslclient", "sslserver")]
    {
        let verify = |purpose: &str, more: &[&str]| {
            let certificate = format!("{leaf}/cert.pem");
            let ca = format!("{leaf}/ca.pem");
            let arguments = ["verify", "-x509_strict", "-CAfile", &ca, "-purpose", purpose];
            openssl(directory, &[&arguments[..], more, &[&certificate]].concat())
        };
        let (success, said) = verify(purpose, &[]);
        assert!(success, "{said}");
        assert!(!verify(other, &[]).0, "for {purpose} only");
        if leaf == "server" {
            assert!(verify(purpose, &["-verify_hostname", "arm-1.builds.svc"]).0);
            assert!(verify(purpose, &["-verify_ip", "10.0.0.7"]).0);
            assert!(!verify(purpose, &["-verify_hostname", "other.example"]).0);
        }
        let key = format!("{leaf}/key.pem");
        let (_, of_key) = openssl(directory, &["pkey", "-in", &key, "-pubout"]);
        let (_, of_certificate) =
            openssl(directory, &["x509", "-in", &format!("{leaf}/cert.pem"), "-noout", "-pubkey"]);
        assert_eq!(of_key, of_certificate);
    }
    let (_, text) = openssl(directory, &["x509", "-in", "client/cert.pem", "-noout", "-subject", "-text"]);
    assert!(text.contains("CN = ci") && text.contains("prime256v1"), "{text}");
}

#[test]
fn openssl_follows_the_old_authority_to_the_new_one() {
    if !tools::require("openssl") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let now = SystemTime::now();
    certs::create(directory, &order(), now - 200 * DAY).unwrap();
    fs::copy(directory.join("ca.pem"), directory.join("old-ca.pem")).unwrap();
    let again = Order { server: Vec::new(), client: None, validity: VALIDITY };
    let bundle = certs::rotate(directory, &again, now).unwrap();
    assert_eq!(bundle.server.certificate.names, order().server, "names stay");
    assert_eq!(bundle.client.certificate.common_name, "ci");
    assert!(directory.join("cross.pem").exists());
    for authorities in ["old-ca.pem", "ca.pem"] {
        let (success, said) = openssl(
            directory,
            &[
                "verify",
                "-CAfile",
                authorities,
                "-untrusted",
                "cross.pem",
                "server/cert.pem",
                "client/cert.pem",
            ],
        );
        assert!(success, "{authorities}: {said}");
    }
    // What was sent along is in the file that is sent.
    let chain = fs::read_to_string(directory.join("server/cert.pem")).unwrap();
    assert!(chain.ends_with(&fs::read_to_string(directory.join("cross.pem")).unwrap()));

    // When the old one has expired there is nobody left to whom the new one has to be explained.
    certs::rotate(directory, &again, now + 170 * DAY).unwrap();
    assert!(!directory.join("cross.pem").exists());
}

#[test]
fn keys_are_private_and_whoever_was_given_one_keeps_it() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    certs::create(directory, &order(), SystemTime::now()).unwrap();
    for name in FIRST {
        let want = if name.contains("key") { 0o600 } else { 0o644 };
        assert_eq!(mode(&directory.join(name)), want, "{name}");
    }
    let key = directory.join("server/key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::read(&key).unwrap();
    certs::rotate(directory, &order(), SystemTime::now()).unwrap();
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!(mode(&key), 0o640);
    assert_eq!(names(directory), FIRST, "nothing is left behind");
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let now = SystemTime::now();
    let missing = certs::rotate(directory, &order(), now).unwrap_err();
    assert!(matches!(missing, CertsError::Missing { .. }), "{missing}");
    certs::create(directory, &order(), now).unwrap();
    let before = fs::read(directory.join("server/cert.pem")).unwrap();
    let twice = certs::create(directory, &order(), now).unwrap_err();
    assert!(matches!(twice, CertsError::Exists { .. }), "{twice}");
    assert_eq!(fs::read(directory.join("server/cert.pem")).unwrap(), before);
    // One file of ours is enough.
    for name in FIRST.iter().filter(|name| **name != "client/key.pem") {
        fs::remove_file(directory.join(name)).unwrap();
    }
    let exists = certs::create(directory, &order(), now).unwrap_err();
    assert!(matches!(&exists, CertsError::Exists { path } if path.ends_with("client/key.pem")), "{exists}");
}

#[test]
fn half_written_files_are_completed_by_the_next_rotation() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let now = SystemTime::now();
    certs::create(directory, &order(), now - 200 * DAY).unwrap();
    let old = fs::read(directory.join("ca-key.pem")).unwrap();
    certs::rotate(directory, &order(), now).unwrap();
    // The machine went down when the new authority was trusted, and its key not yet there.
    fs::write(directory.join("ca-key.pem"), old).unwrap();
    let bundle = certs::rotate(directory, &order(), now).unwrap();
    assert_eq!(bundle.authorities.len(), 3, "nobody stops being trusted");
    certs::rotate(directory, &order(), now).unwrap();

    fs::write(directory.join("ca.pem"), "no certificate").unwrap();
    let error = certs::rotate(directory, &order(), now).unwrap_err();
    assert!(matches!(&error, CertsError::Content { path, .. } if path.ends_with("ca.pem")), "{error}");
}
