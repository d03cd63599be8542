//! By which names daemons are reached, and by whom.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        networking::v1::{
            NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{GRPC_PORT, METRICS_PORT, Member, PoolSpec};

/// Label that Kubernetes itself gives every namespace.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// One name for all daemons of a group, for clients that do not care which one they get.
pub(super) fn service(member: &Member) -> Service {
    let spec = ServiceSpec { type_: Some("ClusterIP".to_owned()), ..service_spec(member, false) };
    named(member, member.name.clone(), spec)
}

/// A name for each daemon of a group, so that a client can return to the one that has its cache.
pub(super) fn headless_service(member: &Member) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        ..service_spec(member, member.spec.metrics.enabled)
    };
    named(member, member.headless_name(), spec)
}

fn named(member: &Member, name: String, spec: ServiceSpec) -> Service {
    Service { metadata: member.metadata(name), spec: Some(spec), ..Service::default() }
}

fn service_spec(member: &Member, with_metrics: bool) -> ServiceSpec {
    let port = |name: &str, port: u16| ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let metrics = with_metrics.then(|| port("metrics", METRICS_PORT));
    ServiceSpec {
        selector: Some(member.selector()),
        ports: Some([port("grpc", GRPC_PORT)].into_iter().chain(metrics).collect()),
        ..ServiceSpec::default()
    }
}

/// Only pods with the clients' labels reach the daemons of a pool, and only some namespaces their metrics.
pub(super) fn network_policy(spec: &PoolSpec) -> NetworkPolicy {
    let clients = || Some(selector(spec.clients.labels.clone()));
    let mut builders = vec![NetworkPolicyPeer { pod_selector: clients(), ..NetworkPolicyPeer::default() }];
    if !spec.clients.namespaces.is_empty() {
        builders.push(NetworkPolicyPeer {
            namespace_selector: Some(namespaces(&spec.clients.namespaces)),
            pod_selector: clients(),
            ..NetworkPolicyPeer::default()
        });
    }
    let scrapers = match spec.metrics.namespaces.as_slice() {
        [] => {
            NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
        }
        some => {
            NetworkPolicyPeer { namespace_selector: Some(namespaces(some)), ..NetworkPolicyPeer::default() }
        }
    };
    let mut ingress = vec![rule(builders, GRPC_PORT)];
    if spec.metrics.enabled {
        ingress.push(rule(vec![scrapers], METRICS_PORT));
    }
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            namespace: spec.namespace.clone(),
            labels: Some(spec.labels.clone().into_iter().chain(spec.selector()).collect()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(spec.selector())),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn rule(from: Vec<NetworkPolicyPeer>, port: u16) -> NetworkPolicyIngressRule {
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port]) }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn namespaces(names: &[String]) -> LabelSelector {
    let requirement = LabelSelectorRequirement {
        key: NAMESPACE_LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(names.to_vec()),
    };
    LabelSelector { match_expressions: Some(vec![requirement]), ..LabelSelector::default() }
}
