//! Objects of Kubernetes as text.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use serde::Serialize;

/// An object that YAML cannot hold.
pub type YamlError = serde_saphyr::ser::Error;

/// An object that Archway renders.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Manifest {
    /// Configuration.
    ConfigMap(ConfigMap),
    /// A name in the cluster's network.
    Service(Box<Service>),
    /// Pods with a volume each.
    StatefulSet(Box<StatefulSet>),
    /// How many pods may be missing when nodes are drained.
    PodDisruptionBudget(PodDisruptionBudget),
    /// Who may connect.
    NetworkPolicy(NetworkPolicy),
}

/// The objects as one stream of YAML documents, for `kubectl apply -f -`. Equal objects give equal text.
///
/// Strings that YAML 1.1 reads as something else (`yes`, `1:30`) are quoted: Kubernetes reads YAML 1.1.
///
/// # Errors
/// None for objects of this crate; the serialiser's for what YAML cannot hold.
pub fn to_yaml(manifests: &[Manifest]) -> Result<String, YamlError> {
    let mut text = String::new();
    for manifest in manifests {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(manifest)?);
    }
    Ok(text)
}
