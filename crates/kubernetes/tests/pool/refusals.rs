//! Values that are none of a pool.

use archway_kubernetes::pool::{PoolSpec, manifests};

/// Values, the one that is wrong, and a part of what is said.
pub(crate) const WRONG: [(&str, &str, &str); 28] = [
    ("platforms: []", "platforms", "at least one"),
    ("platforms: [windows/amd64]", "platforms", "windows/amd64"),
    ("platforms: [linux/mips64le]", "platforms", "linux/mips64le"),
    ("name: Upper", "name", "`Upper`"),
    ("name: a2345678901234567890123456789012345678901", "name", "at most 40"),
    ("image: 'a b'", "image", "image reference"),
    ("imagePullSecrets: [a_b]", "imagePullSecrets", "`a_b`"),
    ("replicas: 0", "replicas", "1 to 100"),
    ("replicas: 101", "replicas", "1 to 100"),
    ("cache: {size: 500Mi}", "cache.size", "whole Gi or Ti"),
    ("cache: {storageClassName: A}", "cache.storageClassName", "`A`"),
    ("resources: {limits: {memory: 4GB}}", "resources.limits.memory", "`4GB`"),
    ("resources: {requests: {'': 1}}", "resources.requests", "name of a resource"),
    ("maxParallelism: 0", "maxParallelism", "1 to 1024"),
    ("tls: {secretName: ''}", "tls.secretName", "a name"),
    ("clients: {labels: {archway.dev/buildkit-client: null}}", "clients.labels", "every pod"),
    ("clients: {namespaces: [a.b]}", "clients.namespaces", "`a.b`"),
    ("metrics: {namespaces: [A]}", "metrics.namespaces", "`A`"),
    ("mirrors: {docker.io: ['a\"b']}", "mirrors", "HOST[:PORT]"),
    ("mirrors: {docker.io: []}", "mirrors", "at least one mirror"),
    ("drainSeconds: 9", "drainSeconds", "10 to"),
    ("labels: {a: 'b c'}", "labels", "`b c`"),
    ("labels: {app.kubernetes.io/name: x}", "labels", "set by the pool"),
    ("podAnnotations: {archway.dev/config-checksum: x}", "podAnnotations", "set by the pool"),
    ("nodeSelector: {kubernetes.io/arch: arm64}", "nodeSelector", "set by the pool"),
    ("tolerations: [{operator: Is}]", "tolerations", "Equal or Exists"),
    ("architectures: {arm64: {replicas: 1}}", "architectures", "it has amd64"),
    ("architectures: {amd64: {cache: {size: 1Pi}}}", "architectures.amd64.cache.size", "`1Pi`"),
];

/// The values, for amd64 if they do not say.
pub(crate) fn complete(values: &str) -> String {
    if values.starts_with("platforms") {
        values.to_owned()
    } else {
        format!("platforms: [linux/amd64]\n{values}")
    }
}

#[test]
fn a_value_that_cannot_be_is_named() {
    for (values, field, part) in WRONG {
        let error = manifests(&PoolSpec::from_yaml(&complete(values)).unwrap()).unwrap_err();
        assert_eq!(error.field(), field, "{values}");
        assert!(error.to_string().contains(part), "{values}: {error}");
    }
}

#[test]
fn a_value_that_is_not_known_is_refused() {
    let cases = [
        ("replica: 2", "unknown field `replica`"),
        ("cache: {sise: 1Gi}", "unknown field `sise`"),
        ("tolerations: [{effects: NoSchedule}]", "unknown field `effects`"),
        ("architectures: {arm64: {image: x}}", "unknown field `image`"),
        ("replicas: many", "invalid type"),
        ("platforms: [linux/amd65]", "amd65"),
        ("name: null", "missing field `name`"),
        ("a: [", "not YAML"),
    ];
    for (values, part) in cases {
        let error = PoolSpec::from_yaml(values).unwrap_err().to_string();
        assert!(error.contains(part), "{values}: {error}");
    }
    assert_eq!(PoolSpec::from_yaml("# nothing\n").unwrap(), PoolSpec::default());
}
