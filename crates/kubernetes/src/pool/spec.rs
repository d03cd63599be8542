//! What a pool may be. The same names and defaults as the values of the Helm chart.

use std::collections::BTreeMap;

use archway_oci::Platform;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// The image of the release that Archway is tested with. Has no root inside.
pub const IMAGE: &str = "moby/buildkit:v0.32.2-rootless";

/// A pool of BuildKit daemons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Namespace of all objects; without one, that of who applies them. No value: Helm has it from its command line.
    #[serde(skip)]
    pub namespace: Option<String>,
    /// What names of objects begin with: a DNS label of at most 40 characters.
    pub name: String,
    /// What is to be built natively. At least one.
    #[serde(deserialize_with = "platforms", serialize_with = "platform_texts")]
    pub platforms: Vec<Platform>,
    /// The daemon's image.
    pub image: String,
    /// When nodes pull it.
    pub image_pull_policy: PullPolicy,
    /// Secrets with credentials for it.
    pub image_pull_secrets: Vec<String>,
    /// Daemons of each architecture, 1 to 100. Each has a cache of its own.
    pub replicas: u32,
    /// The volume of a daemon.
    pub cache: Cache,
    /// What a daemon and its steps may use.
    pub resources: Resources,
    /// Steps that a daemon runs at the same time, 1 to 1024.
    pub max_parallelism: u32,
    /// Certificates.
    pub tls: Tls,
    /// Who may build.
    pub clients: Clients,
    /// Whether the network says so, too.
    pub network_policy: NetworkPolicy,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// Registry to the registries that are asked first.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// TOML that follows the rest of `buildkitd.toml`: tables that are not there yet.
    pub extra_config: String,
    /// Seconds that a daemon which has to go gives its builds to end, 10 to 604800.
    pub drain_seconds: u32,
    /// Labels of all objects, besides those of the pool.
    pub labels: BTreeMap<String, String>,
    /// Annotations of all pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// What nodes must have, besides operating system and architecture.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not keep daemons away.
    pub tolerations: Vec<Toleration>,
    /// Priority of the pods.
    pub priority_class_name: Option<String>,
    /// What is different for an architecture; keys are names of groups: `arm64`.
    pub architectures: BTreeMap<String, Overrides>,
}

/// When a node pulls an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The word of Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// The volume of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cache {
    /// Whole `Gi` or `Ti`. Garbage collection keeps the daemon below it.
    pub size: String,
    /// Storage class; the cluster's default without one.
    pub storage_class_name: Option<String>,
}

/// Quantities by resource: `cpu`, `memory`, `ephemeral-storage`, ….
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// What a node must have free.
    pub requests: Quantities,
    /// What is not exceeded.
    pub limits: Quantities,
}

/// Resource to quantity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantities(#[serde(deserialize_with = "quantities")] pub BTreeMap<String, String>);

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Secret with `ca.pem` (who signs clients), `cert.pem` and `key.pem`.
    pub secret_name: String,
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// Labels that a client's pod must have. At least one.
    pub labels: BTreeMap<String, String>,
    /// Namespaces of clients, besides the pool's own.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// Whether to restrict connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPolicy {
    /// Make one.
    pub enabled: bool,
}

/// Metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Open the port. BuildKit serves its profiler and other debugging pages there, too.
    pub enabled: bool,
    /// Namespaces that may connect to it; the pool's own without any.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// A taint that is tolerated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// Key of the taint; all without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Equal` (default) or `Exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Value of the taint, for `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; all without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// Seconds, for `NoExecute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// What is different for an architecture.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overrides {
    /// In place of the pool's.
    pub replicas: Option<u32>,
    /// In place of the pool's.
    pub max_parallelism: Option<u32>,
    /// In place of the pool's.
    pub resources: Option<Resources>,
    /// In place of the pool's, each by itself.
    pub cache: CacheOverrides,
    /// Besides the pool's.
    pub node_selector: BTreeMap<String, String>,
    /// Besides the pool's.
    pub tolerations: Vec<Toleration>,
}

/// A volume that is different for an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheOverrides {
    /// In place of the pool's.
    pub size: Option<String>,
    /// In place of the pool's.
    pub storage_class_name: Option<String>,
}

/// Values that are none of a pool.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// The text is not YAML.
    #[error("it is not YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// An unknown value, or one of another type.
    #[error(transparent)]
    Value(#[from] serde_json::Error),
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self {
            namespace: None,
            name: "buildkitd".to_owned(),
            platforms: Vec::new(),
            image: IMAGE.to_owned(),
            image_pull_policy: PullPolicy::IfNotPresent,
            image_pull_secrets: Vec::new(),
            replicas: 1,
            cache: Cache::default(),
            resources: Resources {
                requests: Quantities::from([("cpu", "1"), ("memory", "4Gi")]),
                // None for processors: what is idle may be used.
                limits: Quantities::from([("memory", "4Gi")]),
            },
            max_parallelism: 4,
            tls: Tls { secret_name: "buildkitd-server".to_owned() },
            clients: Clients::default(),
            network_policy: NetworkPolicy { enabled: true },
            metrics: Metrics::default(),
            mirrors: BTreeMap::new(),
            extra_config: String::new(),
            drain_seconds: 3600,
            labels: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class_name: None,
            architectures: BTreeMap::new(),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { size: "100Gi".to_owned(), storage_class_name: None }
    }
}

impl Default for Clients {
    fn default() -> Self {
        let label = ("archway.dev/buildkit-client".to_owned(), "true".to_owned());
        Self { labels: [label].into(), namespaces: Vec::new() }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Quantities {
    fn from(quantities: [(&str, &str); N]) -> Self {
        Self(quantities.map(|(resource, quantity)| (resource.to_owned(), quantity.to_owned())).into())
    }
}

impl PoolSpec {
    /// The default pool with the values of a file for the Helm chart, taken as Helm takes them: a map is
    /// merged with the default one, anything else replaces it, and null removes it.
    ///
    /// # Errors
    /// When it is not YAML, or has values that a pool has not.
    pub fn from_yaml(text: &str) -> Result<Self, ValuesError> {
        let values: Value =
            serde_saphyr::from_str(text).map_err(|error| ValuesError::Yaml(Box::new(error)))?;
        let mut merged = serde_json::to_value(Self::default())?;
        if !values.is_null() {
            merge(&mut merged, values);
        }
        Ok(serde_json::from_value(merged)?)
    }
}

fn merge(into: &mut Value, values: Value) {
    match (into, values) {
        (Value::Object(into), Value::Object(values)) => {
            for (key, value) in values {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, value) => *into = value,
    }
}

fn platforms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Platform>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| Platform::parse(text).map_err(D::Error::custom)).collect()
}

fn platform_texts<S: Serializer>(platforms: &[Platform], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(platforms.iter().map(Platform::to_string))
}

/// `cpu: 1` is as good as `cpu: "1"`.
fn quantities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Quantity {
        Whole(u64),
        Text(String),
    }
    let given = BTreeMap::<String, Quantity>::deserialize(deserializer)?;
    let text = |quantity| match quantity {
        Quantity::Whole(number) => number.to_string(),
        Quantity::Text(text) => text,
    };
    Ok(given.into_iter().map(|(resource, quantity)| (resource, text(quantity))).collect())
}
