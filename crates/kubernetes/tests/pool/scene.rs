//! Pools that the tests are about.

use archway_kubernetes::{
    manifest::to_yaml,
    pool::{PoolSpec, manifests},
};
use serde_json::Value;

/// Values of pools, each with a name: the least, and every value at least once different from the default.
pub(crate) const POOLS: [(&str, &str); 4] = [
    ("least", "platforms: [linux/amd64]"),
    (
        "architectures",
        "name: p
platforms: [linux/s390x, linux/amd64, linux/arm64, linux/386, linux/arm/v7, linux/ppc64le, linux/riscv64]
nodeSelector: {pool: builds, disk: ssd}
tolerations: [{key: builds, operator: Exists}]
architectures:
  arm64:
    replicas: 2
    maxParallelism: 16
    resources: {requests: {cpu: 8}, limits: {memory: 17179869184}}
    cache: {size: 2Ti, storageClassName: nvme}
    nodeSelector: {disk: nvme}
    tolerations: [{key: dedicated, operator: Equal, value: arm, effect: NoExecute, tolerationSeconds: 60}]
  s390x: {resources: {}}
",
    ),
    ("only-32-bit-arm", "platforms: [linux/arm/v7, linux/arm/v6]"),
    (
        "everything",
        "name: builds
platforms: [linux/amd64, linux/arm64]
image: mirror.example:5000/buildkit@sha256:0000000000000000000000000000000000000000000000000000000000000000
imagePullPolicy: Always
imagePullSecrets: [mirror, other]
replicas: 3
cache: {size: 55Gi, storageClassName: fast}
resources: {requests: {cpu: 500m, memory: 2Gi}, limits: {cpu: 4, memory: 8Gi, ephemeral-storage: 10Gi}}
maxParallelism: 1
tls: {secretName: certs}
clients: {labels: {role: builder}, namespaces: [team-a, team-b]}
metrics: {enabled: true, namespaces: [monitoring]}
mirrors: {docker.io: [mirror.example, 'mirror.example:5000/proxy'], ghcr.io: ['localhost:5000']}
extraConfig: |

  [registry.\"localhost:5000\"]
    http = true

  [dns]
    nameservers = [\"10.0.0.10\"]
drainSeconds: 60
labels: {team: 'yes', zone: '1'}
podAnnotations: {example.com/note: 'on: \"call\"', other: '1e3'}
priorityClassName: high
",
    ),
];

/// The pool in a namespace.
pub(crate) fn pool(values: &str) -> PoolSpec {
    PoolSpec { namespace: Some("ci".to_owned()), ..PoolSpec::from_yaml(values).unwrap() }
}

/// Its objects as a reader of the YAML has them, each once, by kind and name.
pub(crate) fn objects(values: &str) -> Vec<Value> {
    documents(&to_yaml(&manifests(&pool(values)).unwrap()).unwrap())
}

/// The documents of a stream, by kind and name.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.retain(|document| !document.is_null());
    documents.sort_by_key(identity);
    documents
}

/// Kind and name.
pub(crate) fn identity(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// The object of a kind and a name.
pub(crate) fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let found = objects.iter().find(|object| identity(object) == wanted);
    found.unwrap_or_else(|| panic!("no {wanted} in {:?}", objects.iter().map(identity).collect::<Vec<_>>()))
}
