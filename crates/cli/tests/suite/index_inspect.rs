//! `archway inspect` of images with attestations and referrers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use archway_oci::{Digest, Manifest, reference::TagOrDigest};
use serde_json::Value;

use super::{
    index_create::{attest, layout},
    referrers::{SIGNATURE, sign},
    scene::Scene,
};

#[test]
fn what_is_said_of_an_image_is_shown_with_it() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64", "linux/arm64"]);
    attest(&image);
    let index = archway_oci::Layout::open(&image.directory).unwrap().find(None).unwrap();
    let of_index = sign(&image.directory, &index, "the index is good");
    let of_arm64 = sign(&image.directory, &image.manifests[1], "arm64 is good");
    let of_signature = sign(&image.directory, &of_arm64, "the signature is good");
    let pushed = scene.image("1");
    let source = format!("oci:{}:attested", image.directory.display());
    scene.archway(&["copy", &source, &pushed]).succeeded();
    for place in [&*source, &pushed] {
        let json = scene.archway(&["inspect", "--format", "json", place]).succeeded().stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        let [amd64, arm64] = [0, 1].map(|number| &json["platforms"][number]);
        assert_eq!(json["digest"], index.digest.as_str(), "{place}");
        assert_eq!(json["referrers"][0]["digest"], of_index.digest.as_str());
        assert_eq!(json["size"], json["uniqueSize"], "nothing is shared");
        for image in [amd64, arm64] {
            let statement = &image["attestations"][0]["statements"][0];
            assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1", "{json}");
        }
        assert_eq!(amd64["referrers"], Value::Null);
        assert_eq!(arm64["referrers"][0]["artifactType"], SIGNATURE);
        assert_eq!(arm64["referrers"][0]["referrers"][0]["digest"], of_signature.digest.as_str());

        // The same command by another name.
        let text = scene.archway(&["index", "inspect", place]).succeeded().stdout;
        let after = |word: &str| text.split_once(word).unwrap_or_else(|| panic!("{word}: {text}")).1;
        assert!(after("linux/arm64").contains(of_signature.digest.as_str()), "{text}");
        assert_eq!(text.matches("provenance ").count(), 2, "{text}");
        let quiet = scene.archway(&["inspect", "--referrers=false", place]).succeeded().stdout;
        assert!(!quiet.contains(SIGNATURE), "{quiet}");
    }
}

#[test]
fn one_platform_may_be_looked_at() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64", "linux/arm64"]);
    let place = image.oci_reference();
    let text = scene.archway(&["inspect", "--platform", "linux/arm64", &place]).succeeded().stdout;
    assert!(text.contains("linux/arm64") && !text.contains("linux/amd64"), "{text}");
    let raw = scene.archway(&["inspect", "--raw", "-p", "linux/arm64", &place]).succeeded().stdout;
    assert_eq!(Digest::sha256(raw.as_bytes()), image.manifests[1].digest);
    Manifest::parse(raw.as_bytes()).unwrap();
    let run = scene.archway(&["inspect", "--platform", "linux/s390x", &place]).exited(1);
    assert!(run.stderr.contains("there is no image for linux/s390x"), "{}", run.stderr);
    let run = scene.archway(&["inspect", "--raw", "-p", "linux/arm64,linux/amd64", &place]).exited(2);
    assert!(run.stderr.contains("one can be printed"), "{}", run.stderr);
}

#[test]
fn what_is_missing_is_shown_as_missing() {
    let Some(scene) = Scene::new() else { return };
    let image = layout(&scene, "app", "app", &["linux/amd64", "linux/arm64", "linux/s390x"]);
    attest(&image);
    let source = format!("oci:{}:attested", image.directory.display());
    let read = |digest: &Digest| -> Value {
        serde_json::from_slice(&fs::read(blob(&image.directory, digest)).unwrap()).unwrap()
    };
    let index = archway_oci::Layout::open(&image.directory).unwrap();
    let attestations = index.find(Some(&TagOrDigest::Tag("attested".into()))).unwrap().digest;
    let attestation = read(&attestations)["manifests"][3]["digest"].as_str().unwrap().parse().unwrap();
    let config = read(&image.manifests[2].digest)["config"]["digest"].as_str().unwrap().parse().unwrap();
    let gone: [&Digest; 3] = [&image.manifests[1].digest, &config, &attestation];
    for digest in gone {
        fs::remove_file(blob(&image.directory, digest)).unwrap();
    }
    let json = scene.archway(&["inspect", "--format", "json", &source]).succeeded().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["platforms"].as_array().unwrap().len(), 1, "{json}");
    let missing: Vec<(&str, &str)> = json["missing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["digest"].as_str().unwrap()))
        .collect();
    let expected = ["manifest", "config", "attestation"].into_iter().zip(gone.map(Digest::as_str));
    assert_eq!(missing, expected.collect::<Vec<_>>());
    let text = scene.archway(&["inspect", "-p", "linux/arm64,linux/amd64", &source]).succeeded().stdout;
    let line = text.lines().find(|line| line.starts_with("linux/arm64")).unwrap();
    assert!(line.contains(gone[0].as_str()) && line.ends_with("missing"), "{text}");
    scene.archway(&["index", "verify", &source]).exited(4);
}

fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}
