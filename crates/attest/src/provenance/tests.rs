use archway_oci::{Digest, media_type};
use serde_json::{Value, json};

use super::*;

fn digest() -> Digest {
    Digest::sha256(b"x")
}

fn facts() -> Facts {
    let argument = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Facts {
        version: "1.2.3".to_owned(),
        source: Source {
            uri: Some("https://example.com/a.git#refs/heads/main".to_owned()),
            digest: DigestSet::of_commit(&"a".repeat(40)),
            path: "Dockerfile".to_owned(),
        },
        arguments: BTreeMap::from([
            argument("build-arg:NAME", "value"),
            argument("label:me", "you"),
            argument("target", "release"),
        ]),
        secrets: vec![Lent { id: "token".to_owned(), optional: true }],
        ssh: vec![Lent { id: "default".to_owned(), optional: false }],
        locals: Vec::new(),
        platform: Platform::parse("linux/arm64").unwrap(),
        builder_platform: Platform::parse("linux/amd64").unwrap(),
        strategy: "emulated".to_owned(),
        emulators: vec!["qemu-aarch64-static".to_owned()],
        dependencies: vec![
            Dependency::named("context", DigestSet::of_directory(&digest())),
            Dependency {
                annotations: BTreeMap::from([("manifest".to_owned(), digest().to_string())]),
                ..Dependency::at("pkg:docker/alpine@3.17?platform=linux%2Farm64", &digest())
            },
        ],
        network: true,
        steps: vec![
            Step {
                id: "step0".to_owned(),
                name: String::new(),
                inputs: Vec::new(),
                operation: json!({"type": "scratch"}),
                lines: None,
                layers: Vec::new(),
            },
            Step {
                id: "step1".to_owned(),
                name: "[1/1] RUN true".to_owned(),
                inputs: vec!["step0".to_owned()],
                operation: json!({"type": "run"}),
                lines: Some((2, 3)),
                layers: vec![Descriptor::of(media_type::OCI_LAYER_GZIP, b"x")],
            },
        ],
        dockerfile: "FROM scratch\n".to_owned(),
        times: None,
    }
}

fn said(facts: &Facts, options: &Options) -> Value {
    serde_json::from_str(attestation(facts, options).predicate()).unwrap()
}

fn layers() -> Value {
    let digest = digest();
    json!({"step1:0": [[
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.as_str(), "size": 1}
    ]]})
}

fn source_map() -> Value {
    json!({
        "locations": {"step1": {"locations": [{"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]}]}},
        "infos": [{"filename": "Dockerfile", "language": "Dockerfile", "data": "RlJPTSBzY3JhdGNoCg=="}],
    })
}

fn steps() -> Value {
    json!([
        {"id": "step0", "op": {"type": "scratch"}},
        {"id": "step1", "name": "[1/1] RUN true", "op": {"type": "run"}, "inputs": ["step0"]},
    ])
}

#[test]
fn version_1_says_everything() {
    let options = Options { reproducible: true, ..Options::default() };
    assert_eq!(attestation(&facts(), &options).predicate_type(), "https://slsa.dev/provenance/v1");
    assert_eq!(
        said(&facts(), &options),
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "configSource": {
                        "uri": "https://example.com/a.git#refs/heads/main",
                        "digest": {"sha1": "a".repeat(40)},
                        "path": "Dockerfile",
                    },
                    "request": {
                        "frontend": "dockerfile.v0",
                        "args": {"build-arg:NAME": "value", "label:me": "you", "target": "release"},
                        "platform": "linux/arm64",
                        "secrets": [{"id": "token", "optional": true}],
                        "ssh": [{"id": "default"}],
                    },
                },
                "internalParameters": {
                    "builderPlatform": "linux/amd64",
                    "strategy": "emulated",
                    "emulators": ["qemu-aarch64-static"],
                    "buildConfig": {"steps": steps()},
                },
                "resolvedDependencies": [
                    {"name": "context", "digest": {"dirHash": digest().hex()}},
                    {
                        "uri": "pkg:docker/alpine@3.17?platform=linux%2Farm64",
                        "digest": {"sha256": digest().hex()},
                        "annotations": {"manifest": digest().as_str()},
                    },
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"archway": "1.2.3"}},
                "metadata": {
                    "buildkit_metadata": {"source": source_map(), "layers": layers()},
                    "buildkit_hermetic": false,
                    "buildkit_completeness": {"request": true, "resolvedDependencies": true},
                    "buildkit_reproducible": true,
                },
            },
        })
    );
}

#[test]
fn version_0_2_says_the_same() {
    let options = Options {
        version: Version::V0_2,
        builder_id: Some("https://ci.example.com/1".to_owned()),
        ..Options::default()
    };
    assert_eq!(attestation(&facts(), &options).predicate_type(), "https://slsa.dev/provenance/v0.2");
    assert_eq!(
        said(&facts(), &options),
        json!({
            "builder": {"id": "https://ci.example.com/1"},
            "buildType": BUILD_TYPE,
            "invocation": {
                "configSource": {
                    "uri": "https://example.com/a.git#refs/heads/main",
                    "digest": {"sha1": "a".repeat(40)},
                    "entryPoint": "Dockerfile",
                },
                "parameters": {
                    "frontend": "dockerfile.v0",
                    "args": {"build-arg:NAME": "value", "label:me": "you", "target": "release"},
                    "platform": "linux/arm64",
                    "secrets": [{"id": "token", "optional": true}],
                    "ssh": [{"id": "default"}],
                },
                "environment": {
                    "platform": "linux/amd64",
                    "strategy": "emulated",
                    "emulators": ["qemu-aarch64-static"],
                },
            },
            "buildConfig": {"steps": steps()},
            "metadata": {
                "completeness": {"parameters": true, "environment": true, "materials": true},
                "reproducible": false,
                "https://mobyproject.org/buildkit@v1#hermetic": false,
                "https://mobyproject.org/buildkit@v1#metadata": {"source": source_map(), "layers": layers()},
            },
            "materials": [{
                "uri": "pkg:docker/alpine@3.17?platform=linux%2Farm64",
                "digest": {"sha256": digest().hex()},
            }],
        })
    );
}

#[test]
fn little_is_said_in_mode_min() {
    let said = said(&facts(), &Options { mode: Mode::Min, ..Options::default() });
    let request = &said["buildDefinition"]["externalParameters"]["request"];
    let expected = json!({
        "frontend": "dockerfile.v0", "args": {"target": "release"}, "platform": "linux/arm64"
    });
    assert_eq!(*request, expected);
    assert_eq!(said["buildDefinition"]["internalParameters"].get("buildConfig"), None);
    let metadata = &said["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_metadata"], json!({}));
    assert_eq!(metadata["buildkit_completeness"]["request"], false);
    // What it was made from is said in both.
    assert_eq!(said["buildDefinition"]["resolvedDependencies"].as_array().unwrap().len(), 2);
}

#[test]
fn a_build_is_hermetic_if_all_it_read_is_named() {
    let cases = [(true, &[][..], false), (false, &[], true), (false, &["context"], false)];
    for (network, locals, want) in cases {
        let locals: Vec<String> = locals.iter().map(|name| (*name).to_owned()).collect();
        let complete = locals.is_empty();
        let said = said(&Facts { network, locals, ..facts() }, &Options::default());
        let metadata = &said["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_hermetic"], want);
        assert_eq!(metadata["buildkit_completeness"]["resolvedDependencies"], complete);
    }
}

#[test]
fn times_are_said_where_they_are_given() {
    let times = Some(("2001-01-01T00:00:00Z".to_owned(), "2001-01-01T00:00:01Z".to_owned()));
    let facts = Facts { times, ..facts() };
    let v1 = said(&facts, &Options::default());
    assert_eq!(v1["runDetails"]["metadata"]["startedOn"], "2001-01-01T00:00:00Z");
    let v0_2 = said(&facts, &Options { version: Version::V0_2, ..Options::default() });
    assert_eq!(v0_2["metadata"]["buildFinishedOn"], "2001-01-01T00:00:01Z");
}
