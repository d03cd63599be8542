//! Whether a pool can be, before anything is asked of a cluster.

use std::collections::BTreeMap;

use archway_oci::Platform;

use super::{
    ARCHITECTURE_LABEL, PoolSpec,
    group::{self, Group},
    spec::{Overrides, Resources, Toleration},
    syntax::{
        is_dns_label, is_dns_subdomain, is_label_key, is_label_value, is_name, is_quantity, is_registry,
        volume_mebibytes,
    },
    workload::CHECKSUM,
};

/// Label of nodes: their operating system.
pub(super) const NODE_OS: &str = "kubernetes.io/os";
/// Label of nodes: their architecture, as Go calls it.
pub(super) const NODE_ARCHITECTURE: &str = "kubernetes.io/arch";
/// A pod's name and its revision have to fit into a label's 63 characters, behind the architecture.
const LONGEST_NAME: usize = 40;

/// A pool that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// There is nothing to build for.
    #[error("a pool needs at least one platform")]
    NoPlatform,
    /// No daemon builds for it natively.
    #[error(
        "no rootless BuildKit on a Kubernetes node builds natively for {platform}; there are daemons for linux \
         on amd64 (also 386), arm64, arm, ppc64le, riscv64 and s390x"
    )]
    NoDaemon {
        /// The platform.
        platform: Platform,
    },
    /// A value is none that Kubernetes or BuildKit takes.
    #[error("`{value}` is not {want}")]
    Invalid {
        /// Which one, as in the values of the chart: `cache.size`.
        field: String,
        /// What it is.
        value: String,
        /// What it has to be.
        want: &'static str,
    },
    /// The pool sets the label itself.
    #[error("`{key}` is set by the pool")]
    Reserved {
        /// Which value has it.
        field: String,
        /// The label.
        key: String,
    },
    /// Values for an architecture that the pool does not have.
    #[error("the pool has no daemons of `{architecture}`; it has {present}")]
    NoSuchGroup {
        /// As written.
        architecture: String,
        /// Those it has, comma-separated.
        present: String,
    },
}

impl PoolError {
    /// The value that is wrong, as in the values of the chart.
    pub fn field(&self) -> &str {
        match self {
            Self::NoPlatform | Self::NoDaemon { .. } => "platforms",
            Self::Invalid { field, .. } | Self::Reserved { field, .. } => field,
            Self::NoSuchGroup { .. } => "architectures",
        }
    }
}

impl PoolSpec {
    /// The groups of daemons, once every value is one that can be.
    ///
    /// # Errors
    /// The first value that is not.
    pub fn groups(&self) -> Result<Vec<Group>, PoolError> {
        let groups = group::groups(&self.platforms)?;
        if groups.is_empty() {
            return Err(PoolError::NoPlatform);
        }
        self.check_names()?;
        self.check_numbers()?;
        self.check_labels()?;
        check_placement("", &self.node_selector, &self.tolerations)?;
        check_resources("resources", &self.resources)?;
        for (architecture, own) in &self.architectures {
            if !groups.iter().any(|group| group.architecture == architecture) {
                let present: Vec<&str> = groups.iter().map(|group| group.architecture).collect();
                let present = present.join(", ");
                return Err(PoolError::NoSuchGroup { architecture: architecture.clone(), present });
            }
            own.check(&format!("architectures.{architecture}."))?;
        }
        Ok(groups)
    }

    fn check_names(&self) -> Result<(), PoolError> {
        let name_is = "a name of at most 40 lower case letters, digits and hyphens that begins with a letter";
        require(is_name(&self.name, LONGEST_NAME), "name", &self.name, name_is)?;
        if let Some(namespace) = &self.namespace {
            require(is_dns_label(namespace), "namespace", namespace, NAMESPACE_IS)?;
        }
        for (field, namespaces) in [
            ("clients.namespaces", &self.clients.namespaces),
            ("metrics.namespaces", &self.metrics.namespaces),
        ] {
            for namespace in namespaces {
                require(is_dns_label(namespace), field, namespace, NAMESPACE_IS)?;
            }
        }
        let image_is = "an image reference";
        require(is_registry(&self.image.replace('@', "/")), "image", &self.image, image_is)?;
        for secret in &self.image_pull_secrets {
            require(is_dns_subdomain(secret), "imagePullSecrets", secret, OBJECT_IS)?;
        }
        let secret = &self.tls.secret_name;
        require(is_dns_subdomain(secret), "tls.secretName", secret, OBJECT_IS)?;
        if let Some(class) = &self.priority_class_name {
            require(is_dns_subdomain(class), "priorityClassName", class, OBJECT_IS)?;
        }
        for (registry, mirrors) in &self.mirrors {
            for name in [registry].into_iter().chain(mirrors) {
                require(is_registry(name), "mirrors", name, "a registry, HOST[:PORT][/PATH]")?;
            }
            require(!mirrors.is_empty(), "mirrors", registry, "a registry with at least one mirror")?;
        }
        check_storage_class("", self.cache.storage_class_name.as_deref())
    }

    fn check_numbers(&self) -> Result<(), PoolError> {
        check_replicas("", self.replicas)?;
        check_parallelism("", self.max_parallelism)?;
        check_size("", &self.cache.size)?;
        let seconds = self.drain_seconds;
        require((10..=604_800).contains(&seconds), "drainSeconds", seconds, "10 to 604800 seconds (a week)")
    }

    fn check_labels(&self) -> Result<(), PoolError> {
        check_label_map("labels", &self.labels)?;
        let own = self.selector();
        let reserved = |key: &&String| own.contains_key(*key) || *key == ARCHITECTURE_LABEL;
        if let Some(key) = self.labels.keys().find(reserved) {
            return Err(PoolError::Reserved { field: "labels".to_owned(), key: key.clone() });
        }
        for key in self.pod_annotations.keys() {
            require(is_label_key(key), "podAnnotations", key, KEY_IS)?;
            if key == CHECKSUM {
                return Err(PoolError::Reserved { field: "podAnnotations".to_owned(), key: key.clone() });
            }
        }
        let labels = &self.clients.labels;
        require(
            !labels.is_empty(),
            "clients.labels",
            "{}",
            "a label at least: without one every pod may connect",
        )?;
        check_label_map("clients.labels", labels)
    }
}

impl Overrides {
    fn check(&self, prefix: &str) -> Result<(), PoolError> {
        if let Some(replicas) = self.replicas {
            check_replicas(prefix, replicas)?;
        }
        if let Some(parallelism) = self.max_parallelism {
            check_parallelism(prefix, parallelism)?;
        }
        if let Some(size) = &self.cache.size {
            check_size(prefix, size)?;
        }
        check_storage_class(prefix, self.cache.storage_class_name.as_deref())?;
        check_placement(prefix, &self.node_selector, &self.tolerations)?;
        match &self.resources {
            Some(resources) => check_resources(&format!("{prefix}resources"), resources),
            None => Ok(()),
        }
    }
}

const NAMESPACE_IS: &str = "a namespace: lower case letters, digits and hyphens";
const OBJECT_IS: &str = "a name: lower case letters, digits, hyphens and dots";
const KEY_IS: &str = "the key of a label, [PREFIX/]NAME";

fn require(
    holds: bool,
    field: impl Into<String>,
    value: impl ToString,
    want: &'static str,
) -> Result<(), PoolError> {
    if holds {
        return Ok(());
    }
    Err(PoolError::Invalid { field: field.into(), value: value.to_string(), want })
}

fn check_replicas(prefix: &str, replicas: u32) -> Result<(), PoolError> {
    require((1..=100).contains(&replicas), format!("{prefix}replicas"), replicas, "1 to 100")
}

fn check_parallelism(prefix: &str, steps: u32) -> Result<(), PoolError> {
    require((1..=1024).contains(&steps), format!("{prefix}maxParallelism"), steps, "1 to 1024")
}

fn check_size(prefix: &str, size: &str) -> Result<(), PoolError> {
    let want = "the size of a volume in whole Gi or Ti, such as 100Gi";
    require(volume_mebibytes(size).is_some(), format!("{prefix}cache.size"), size, want)
}

fn check_storage_class(prefix: &str, class: Option<&str>) -> Result<(), PoolError> {
    let Some(class) = class else { return Ok(()) };
    require(is_dns_subdomain(class), format!("{prefix}cache.storageClassName"), class, OBJECT_IS)
}

fn check_resources(field: &str, resources: &Resources) -> Result<(), PoolError> {
    for (kind, quantities) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (resource, quantity) in &quantities.0 {
            require(is_label_key(resource), format!("{field}.{kind}"), resource, "the name of a resource")?;
            let field = format!("{field}.{kind}.{resource}");
            require(is_quantity(quantity), field, quantity, "a quantity such as 500m or 4Gi")?;
        }
    }
    Ok(())
}

fn check_label_map(field: &str, labels: &BTreeMap<String, String>) -> Result<(), PoolError> {
    for (key, value) in labels {
        require(is_label_key(key), field, key, KEY_IS)?;
        require(
            is_label_value(value),
            field,
            value,
            "the value of a label: at most 63 letters, digits, `-_.`",
        )?;
    }
    Ok(())
}

fn check_placement(
    prefix: &str,
    nodes: &BTreeMap<String, String>,
    tolerations: &[Toleration],
) -> Result<(), PoolError> {
    let field = format!("{prefix}nodeSelector");
    check_label_map(&field, nodes)?;
    if let Some(key) = [NODE_OS, NODE_ARCHITECTURE].into_iter().find(|key| nodes.contains_key(*key)) {
        return Err(PoolError::Reserved { field, key: key.to_owned() });
    }
    let known =
        |value: &Option<String>, known: &[&str]| value.as_deref().is_none_or(|value| known.contains(&value));
    let field = format!("{prefix}tolerations");
    for Toleration { key, operator, effect, .. } in tolerations {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        require(key.as_deref().is_none_or(is_label_key), &field, text(key), "the key of a taint")?;
        require(known(operator, &["Equal", "Exists"]), &field, text(operator), "Equal or Exists")?;
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        let effects_are = "NoSchedule, PreferNoSchedule or NoExecute";
        require(known(effect, &effects), &field, text(effect), effects_are)?;
    }
    Ok(())
}
