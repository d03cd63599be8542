//! A pool of persistent BuildKit daemons: [`PoolSpec`] to objects.
//!
//! BuildKit is fast where its cache is warm and its processor is the image's. So a pool has a group of
//! daemons for each architecture, each daemon a pod of a StatefulSet with a volume of its own. The
//! daemons are rootless, answer only to clients with a certificate, and end no build when they are moved.
//!
//! The Helm chart `deploy/helm/archway-buildkit-pool` has the same values ([`PoolSpec`] is their form)
//! and gives the same objects; a test compares them.
//!
//! | module | decides |
//! |---|---|
//! | [`spec`] | what a pool may be: values and their defaults |
//! | [`check`] | which values cannot be |
//! | [`group`] | which architectures have daemons, and on which nodes they run |
//! | `config` | `buildkitd.toml` |
//! | `workload` | the pods |
//! | `access` | names and who may connect |

mod access;
pub mod check;
mod config;
pub mod group;
pub mod spec;
mod syntax;
mod workload;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::manifest::Manifest;

pub use check::PoolError;
pub use group::Group;
pub use spec::PoolSpec;

/// Where daemons take connections, TCP.
const GRPC_PORT: u16 = 1234;
/// Where daemons tell their metrics, TCP.
const METRICS_PORT: u16 = 6060;
/// Tells the groups of a pool apart.
const ARCHITECTURE_LABEL: &str = "archway.dev/architecture";

/// The objects of a pool, in the order they are best applied. Certificates are not among them: the
/// Secret that `tls.secretName` names is made by whoever holds the certificate authority.
///
/// # Errors
/// When a value is none that Kubernetes or BuildKit takes, or no node could run a platform.
pub fn manifests(spec: &PoolSpec) -> Result<Vec<Manifest>, PoolError> {
    let groups = spec.groups()?;
    let mut manifests = Vec::new();
    if spec.network_policy.enabled {
        manifests.push(Manifest::NetworkPolicy(access::network_policy(spec)));
    }
    for group in &groups {
        let member = Member::new(spec, group);
        let configuration = config::buildkitd(spec, &member);
        manifests.push(Manifest::Service(Box::new(access::service(&member))));
        manifests.push(Manifest::Service(Box::new(access::headless_service(&member))));
        manifests.push(Manifest::PodDisruptionBudget(workload::disruption_budget(&member)));
        manifests.push(Manifest::StatefulSet(Box::new(workload::stateful_set(&member, &configuration))));
        manifests.push(Manifest::ConfigMap(config::config_map(&member, configuration)));
    }
    Ok(manifests)
}

/// A group of a pool with the values that are for it.
struct Member<'a> {
    spec: &'a PoolSpec,
    group: &'a Group,
    own: spec::Overrides,
    /// Name of all its objects.
    name: String,
}

impl<'a> Member<'a> {
    fn new(spec: &'a PoolSpec, group: &'a Group) -> Self {
        let own = spec.architectures.get(group.architecture).cloned().unwrap_or_default();
        Self { spec, group, own, name: format!("{}-{}", spec.name, group.architecture) }
    }

    /// Never changes in the life of a StatefulSet.
    fn selector(&self) -> BTreeMap<String, String> {
        let mut labels = self.spec.selector();
        labels.insert(ARCHITECTURE_LABEL.to_owned(), self.group.architecture.to_owned());
        labels
    }

    fn label_selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector()), ..LabelSelector::default() }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.spec.labels.clone().into_iter().chain(self.selector()).collect()
    }

    fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: self.spec.namespace.clone(),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    fn headless_name(&self) -> String {
        format!("{}-headless", self.name)
    }

    fn cache_size(&self) -> &str {
        self.own.cache.size.as_deref().unwrap_or(&self.spec.cache.size)
    }

    fn max_parallelism(&self) -> u32 {
        self.own.max_parallelism.unwrap_or(self.spec.max_parallelism)
    }
}

impl PoolSpec {
    /// Labels that all pods of the pool have.
    fn selector(&self) -> BTreeMap<String, String> {
        [("app.kubernetes.io/name", "buildkitd"), ("app.kubernetes.io/instance", &self.name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}
