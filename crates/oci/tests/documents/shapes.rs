//! Documents as other tools write them, in the shapes of the image-spec's examples.

use archway_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, json, media_type};
use serde_json::{Value, json};

pub(crate) const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

pub(crate) fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap()
}

fn reread(document: &impl serde::Serialize) -> Value {
    serde_json::from_slice(&json::to_vec(document)).unwrap()
}

pub(crate) fn config() -> Value {
    json!({
        "created": "2024-05-01T10:20:30.123456789Z",
        "author": "Ada <ada@archway.example>",
        "architecture": "arm",
        "os": "linux",
        "variant": "v7",
        "config": {
            "User": "web:www",
            "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
            "Env": ["PATH=/usr/bin:/bin", "EMPTY="],
            "Entrypoint": ["/bin/serve"],
            "Cmd": ["--port", "8080"],
            "Volumes": {"/var/lib/serve": {}},
            "WorkingDir": "/srv",
            "Labels": {"com.example.team": "web"},
            "StopSignal": "SIGINT",
            "ArgsEscaped": true,
            "Healthcheck": {
                "Test": ["CMD-SHELL", "serve --check"],
                "Interval": 30_000_000_000u64,
                "Timeout": 1_000_000_000u64,
                "StartPeriod": 2_000_000_000u64,
                "StartInterval": 500_000_000u64,
                "Retries": 3
            },
            "OnBuild": ["COPY . /srv"],
            "Shell": ["/bin/bash", "-c"]
        },
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "history": [
            {"created": "2024-05-01T10:20:29Z", "created_by": "ADD rootfs.tar / # buildkit", "comment": "base"},
            {"created": "2024-05-01T10:20:30Z", "created_by": "ENV EMPTY=", "author": "Ada", "empty_layer": true},
            {"created_by": "COPY serve /bin/ # buildkit"}
        ]
    })
}

pub(crate) fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": media_type::OCI_CONFIG, "digest": A, "size": 7023},
        "layers": [
            {"mediaType": media_type::OCI_LAYER_GZIP, "digest": A, "size": 32654},
            {"mediaType": media_type::OCI_LAYER_ZSTD, "digest": B, "size": 16724, "annotations": {"k": "v"},
             "urls": ["https://archway.example/b"]}
        ],
        "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": B, "size": 7682},
        "annotations": {"com.example.key": "value"}
    })
}

pub(crate) fn index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [
            {"mediaType": media_type::OCI_MANIFEST, "digest": A, "size": 7143,
             "platform": {"architecture": "ppc64le", "os": "linux"}},
            {"mediaType": media_type::OCI_MANIFEST, "digest": B, "size": 7682,
             "platform": {"architecture": "amd64", "os": "windows", "os.version": "10.0.20348.1",
                          "os.features": ["win32k"]}},
            {"mediaType": media_type::OCI_MANIFEST, "digest": B, "size": 2, "data": "e30=",
             "artifactType": "application/vnd.example+json"}
        ],
        "annotations": {"com.example.key": "value"}
    })
}

#[test]
fn a_full_config_is_read_and_written_whole() {
    let read = ImageConfig::parse(&bytes(&config())).unwrap();
    assert_eq!(read.platform, Platform::parse("linux/arm/v7").unwrap());
    assert_eq!(read.config.exposed_ports, ["53/udp", "8080/tcp"]);
    assert_eq!(read.config.entrypoint.as_deref(), Some(&["/bin/serve".to_owned()][..]));
    assert_eq!(read.config.healthcheck.as_ref().unwrap().retries, 3);
    assert_eq!(read.rootfs.diff_ids, [A.parse::<Digest>().unwrap(), B.parse().unwrap()]);
    assert_eq!(read.history.iter().filter(|entry| !entry.empty_layer).count(), 2);
    assert!(read.extra.is_empty() && read.config.extra.is_empty());
    assert_eq!(reread(&read), config());
}

#[test]
fn fields_nobody_here_knows_survive_in_a_config() {
    let mut document = config();
    document["docker_version"] = json!("27.0.1");
    document["container_config"] = json!({"Hostname": "x", "Deep": [{"a": [1, 2.5, null]}]});
    document["os.version"] = json!("6.1");
    document["config"]["Hostname"] = json!("builder");
    document["config"]["AttachStdin"] = json!(false);
    document["config"]["MacAddress"] = Value::Null;
    let read = ImageConfig::parse(&bytes(&document)).unwrap();
    assert_eq!(read.platform.os_version.as_deref(), Some("6.1"));
    assert_eq!(read.extra.keys().collect::<Vec<_>>(), ["container_config", "docker_version"]);
    assert_eq!(reread(&read), document);
}

#[test]
fn go_nulls_in_a_config_are_empty() {
    let document = json!({
        "created": null, "author": null, "architecture": "amd64", "os": "linux", "variant": null,
        "os.features": null,
        "config": {
            "User": null, "ExposedPorts": null, "Env": null, "Entrypoint": null, "Cmd": null, "Volumes": null,
            "WorkingDir": null, "Labels": null, "StopSignal": null, "ArgsEscaped": null, "OnBuild": null,
            "Shell": null, "Healthcheck": {"Test": null, "Interval": null}
        },
        "rootfs": {"type": "layers", "diff_ids": null},
        "history": null
    });
    let read = ImageConfig::parse(&bytes(&document)).unwrap();
    assert_eq!(read.config.healthcheck, Some(Default::default()));
    let expected = ImageConfig { platform: Platform::new("linux", "amd64", None), ..ImageConfig::default() };
    assert_eq!(ImageConfig { config: Default::default(), ..read }, expected);

    let sparse = json!({"architecture": "amd64", "os": "linux", "config": null, "rootfs": null});
    assert_eq!(ImageConfig::parse(&bytes(&sparse)).unwrap(), expected);
    let typeless = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": null}});
    assert_eq!(ImageConfig::parse(&bytes(&typeless)).unwrap(), expected);
}

#[test]
fn manifests_and_indexes_are_read_and_written_whole() {
    let read = Manifest::parse(&bytes(&manifest())).unwrap();
    assert_eq!(read.layers[1].urls, ["https://archway.example/b"]);
    assert_eq!(reread(&read), manifest());

    let read = Index::parse(&bytes(&index())).unwrap();
    assert_eq!(
        read.manifests[1].platform.as_ref().unwrap().specifier(),
        "windows(10.0.20348.1+win32k)/amd64"
    );
    assert_eq!(reread(&read), index());
}

#[test]
fn docker_documents_have_the_same_shape() {
    let mut document = manifest();
    document["mediaType"] = json!(media_type::DOCKER_MANIFEST);
    document["config"]["mediaType"] = json!(media_type::DOCKER_CONFIG);
    assert_eq!(reread(&Manifest::parse(&bytes(&document)).unwrap()), document);
    let mut document = index();
    document["mediaType"] = json!(media_type::DOCKER_INDEX);
    assert_eq!(reread(&Index::parse(&bytes(&document)).unwrap()), document);
}

#[test]
fn go_nulls_in_manifests_and_indexes_are_empty() {
    let mut document = manifest();
    for property in ["layers", "annotations", "subject", "mediaType", "artifactType"] {
        document[property] = Value::Null;
    }
    document["config"]["urls"] = Value::Null;
    document["config"]["annotations"] = Value::Null;
    document["config"]["platform"] = Value::Null;
    let read = Manifest::parse(&bytes(&document)).unwrap();
    let config = Descriptor::new(media_type::OCI_CONFIG, A.parse().unwrap(), 7023);
    assert_eq!(read, Manifest { media_type: None, ..Manifest::new(config, Vec::new()) });

    let document = json!({"schemaVersion": 2, "manifests": null, "annotations": null});
    let read = Index::parse(&bytes(&document)).unwrap();
    assert_eq!(read, Index { media_type: None, ..Index::new(Vec::new()) });
}
