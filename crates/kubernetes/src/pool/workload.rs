//! The pods of a group.

use std::collections::BTreeMap;

use archway_oci::Digest;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            Affinity, AppArmorProfile, ConfigMapVolumeSource, Container, ContainerPort, ExecAction,
            KeyToPath, Lifecycle, LifecycleHandler, LocalObjectReference, NodeAffinity, NodeSelector,
            NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaim, PersistentVolumeClaimSpec,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
            SecretVolumeSource, SecurityContext, SleepAction, Toleration, TopologySpreadConstraint, Volume,
            VolumeMount, VolumeResourceRequirements,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{GRPC_PORT, METRICS_PORT, Member, check, config, spec};

/// Says in the pod which configuration it has, so that a new one makes new pods.
pub(super) const CHECKSUM: &str = "archway.dev/config-checksum";
const CONFIG_DIRECTORY: &str = "/etc/buildkit";
/// The image's user and group, and what its /etc/subuid is about.
const USER: i64 = 1000;
/// Seconds for the network to forget a daemon that ends, before it takes no more connections.
const LAME_DUCK_SECONDS: i64 = 5;

/// The daemons of a group. `configuration` is their `buildkitd.toml`.
pub(super) fn stateful_set(member: &Member, configuration: &str) -> StatefulSet {
    let checksum = Digest::sha256(configuration.as_bytes());
    let own = (CHECKSUM.to_owned(), checksum.hex().to_owned());
    let annotations = member.spec.pod_annotations.clone().into_iter().chain([own]).collect();
    let replicas = member.own.replicas.unwrap_or(member.spec.replicas);
    StatefulSet {
        metadata: member.metadata(member.name.clone()),
        spec: Some(StatefulSetSpec {
            service_name: Some(member.headless_name()),
            replicas: i32::try_from(replicas).ok(),
            // Daemons do not know each other.
            pod_management_policy: Some("Parallel".to_owned()),
            selector: member.label_selector(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(member.labels()),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(member)),
            },
            volume_claim_templates: Some(vec![claim(member)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// One daemon of a group at a time is moved when nodes are drained. One that is not ready builds
/// nothing, and does not hold up a drain.
pub(super) fn disruption_budget(member: &Member) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: member.metadata(member.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(member.label_selector()),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

fn pod(member: &Member) -> PodSpec {
    let spec = member.spec;
    let secrets = spec.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        // Whoever builds runs programs here; they get no key to the cluster, and not its map.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        node_selector: Some(node_selector(member)),
        affinity: node_affinity(member),
        tolerations: Some(tolerations(member)),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(member.label_selector()),
            ..TopologySpreadConstraint::default()
        }]),
        priority_class_name: spec.priority_class_name.clone(),
        image_pull_secrets: Some(secrets.collect::<Vec<_>>()).filter(|secrets| !secrets.is_empty()),
        // On SIGTERM the daemon takes no more builds and ends when those it has are done.
        termination_grace_period_seconds: Some(spec.drain_seconds.into()),
        security_context: Some(PodSecurityContext {
            // For the volume and the Secret. A cache that has the group already is left alone.
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(member)],
        volumes: Some(volumes(member)),
        ..PodSpec::default()
    }
}

fn container(member: &Member) -> Container {
    let spec = member.spec;
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let metrics = spec.metrics.enabled.then(|| port("metrics", METRICS_PORT));
    let mount = |name: &str, path: &str, read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    Container {
        name: "buildkitd".to_owned(),
        image: Some(spec.image.clone()),
        image_pull_policy: Some(spec.image_pull_policy.as_str().to_owned()),
        args: Some(["--config".to_owned(), format!("{CONFIG_DIRECTORY}/{}", config::FILE)].into()),
        ports: Some([port("grpc", GRPC_PORT)].into_iter().chain(metrics).collect()),
        resources: resources(member.own.resources.as_ref().unwrap_or(&spec.resources)),
        security_context: Some(security()),
        // Five minutes to open a large cache. Then patience: a daemon whose steps take all processors
        // answers late, and to kill it would kill its builds.
        startup_probe: Some(probe(2, 10, 150)),
        readiness_probe: Some(probe(10, 10, 3)),
        liveness_probe: Some(probe(30, 30, 5)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: LAME_DUCK_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(vec![
            mount("cache", config::CACHE_DIRECTORY, None),
            mount("config", CONFIG_DIRECTORY, Some(true)),
            mount("tls", config::TLS_DIRECTORY, Some(true)),
        ]),
        ..Container::default()
    }
}

/// What a rootless daemon needs. It makes user namespaces and mounts in them, which the default seccomp
/// and AppArmor profiles of container runtimes forbid. Its helpers `newuidmap` and `newgidmap`, which
/// map the ids of /etc/subuid, gain capabilities as set-user-ID programs: privilege escalation has to be
/// allowed, and the runtime's default capabilities have to stay, of which the daemon itself has none.
fn security() -> SecurityContext {
    SecurityContext {
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        allow_privilege_escalation: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "Unconfined".to_owned(), ..SeccompProfile::default() }),
        app_armor_profile: Some(AppArmorProfile {
            type_: "Unconfined".to_owned(),
            ..AppArmorProfile::default()
        }),
        ..SecurityContext::default()
    }
}

/// Over the socket in the pod, which needs no certificate and so does not fail when one expires.
fn probe(period_seconds: i32, timeout_seconds: i32, failure_threshold: i32) -> Probe {
    let command = ["buildctl", "--addr", config::SOCKET, "debug", "workers"];
    Probe {
        exec: Some(ExecAction { command: Some(command.map(str::to_owned).into()) }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(timeout_seconds),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn resources(resources: &spec::Resources) -> Option<ResourceRequirements> {
    let typed = |quantities: &spec::Quantities| -> Option<BTreeMap<String, Quantity>> {
        let typed = quantities.0.iter().map(|(name, quantity)| (name.clone(), Quantity(quantity.clone())));
        Some(typed.collect()).filter(|quantities: &BTreeMap<_, _>| !quantities.is_empty())
    };
    let (requests, limits) = (typed(&resources.requests), typed(&resources.limits));
    (requests.is_some() || limits.is_some()).then(|| ResourceRequirements {
        requests,
        limits,
        ..ResourceRequirements::default()
    })
}

fn volumes(member: &Member) -> Vec<Volume> {
    let item = |file: &str| KeyToPath { key: file.to_owned(), path: file.to_owned(), mode: None };
    vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: member.name.clone(), ..Default::default() }),
            ..Volume::default()
        },
        Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(member.spec.tls.secret_name.clone()),
                // 0440: the pod's group may read it.
                default_mode: Some(0o440),
                items: Some(["ca.pem", "cert.pem", "key.pem"].map(item).into()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

fn claim(member: &Member) -> PersistentVolumeClaim {
    let class = member.own.cache.storage_class_name.as_ref();
    let storage = ("storage".to_owned(), Quantity(member.cache_size().to_owned()));
    PersistentVolumeClaim {
        // No labels: the template of a StatefulSet cannot be changed, and labels of the pool can.
        metadata: ObjectMeta { name: Some("cache".to_owned()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class.or(member.spec.cache.storage_class_name.as_ref()).cloned(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([storage].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn node_selector(member: &Member) -> BTreeMap<String, String> {
    let chosen = member.spec.node_selector.iter().chain(&member.own.node_selector);
    let mut nodes: BTreeMap<String, String> =
        chosen.map(|(key, value)| (key.clone(), value.clone())).collect();
    nodes.insert(check::NODE_OS.to_owned(), "linux".to_owned());
    if let [architecture] = member.group.node_architectures {
        nodes.insert(check::NODE_ARCHITECTURE.to_owned(), (*architecture).to_owned());
    }
    nodes
}

/// Only where nodes of several architectures will do, which a selector cannot say.
fn node_affinity(member: &Member) -> Option<Affinity> {
    let architectures = member.group.node_architectures;
    if architectures.len() < 2 {
        return None;
    }
    let requirement = NodeSelectorRequirement {
        key: check::NODE_ARCHITECTURE.to_owned(),
        operator: "In".to_owned(),
        values: Some(architectures.iter().map(|&architecture| architecture.to_owned()).collect()),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), ..NodeSelectorTerm::default() };
    Some(Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    })
}

/// Some clusters taint nodes that are not amd64 with their architecture; these daemons are for it.
fn tolerations(member: &Member) -> Vec<Toleration> {
    let architectures = member.group.node_architectures.iter().map(|architecture| Toleration {
        key: Some(check::NODE_ARCHITECTURE.to_owned()),
        operator: Some("Equal".to_owned()),
        value: Some((*architecture).to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    });
    let chosen = member.spec.tolerations.iter().chain(&member.own.tolerations).map(|chosen| Toleration {
        key: chosen.key.clone(),
        operator: chosen.operator.clone(),
        value: chosen.value.clone(),
        effect: chosen.effect.clone(),
        toleration_seconds: chosen.toleration_seconds,
    });
    architectures.chain(chosen).collect()
}
