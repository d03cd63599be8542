//! That the objects of a pool fit together and are what the values say.

use archway_kubernetes::{manifest::Manifest, pool::manifests};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    serde::de::DeserializeOwned,
};
use serde_json::{Value, json};

use crate::scene::{POOLS, documents, find, identity, objects, pool};

/// The typed object behind a document.
pub(crate) fn typed(object: &Value) -> Manifest {
    fn read<T: DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{}: {error}", identity(object)))
    }
    match object["kind"].as_str() {
        Some("ConfigMap") => Manifest::ConfigMap(read::<ConfigMap>(object)),
        Some("Service") => Manifest::Service(Box::new(read::<Service>(object))),
        Some("StatefulSet") => Manifest::StatefulSet(Box::new(read::<StatefulSet>(object))),
        Some("PodDisruptionBudget") => Manifest::PodDisruptionBudget(read::<PodDisruptionBudget>(object)),
        Some("NetworkPolicy") => Manifest::NetworkPolicy(read::<NetworkPolicy>(object)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_what_was_meant() {
    for (name, values) in POOLS {
        let mut meant = manifests(&pool(values)).unwrap();
        meant.sort_by_key(|manifest| identity(&serde_json::to_value(manifest).unwrap()));
        let read: Vec<Manifest> = objects(values).iter().map(typed).collect();
        assert_eq!(read, meant, "{name}");
    }
}

#[test]
fn each_architecture_has_its_objects() {
    let names: Vec<String> =
        objects("platforms: [linux/arm64, linux/amd64, linux/386]").iter().map(identity).collect();
    let expected = [
        "ConfigMap buildkitd-amd64",
        "ConfigMap buildkitd-arm64",
        "NetworkPolicy buildkitd",
        "PodDisruptionBudget buildkitd-amd64",
        "PodDisruptionBudget buildkitd-arm64",
        "Service buildkitd-amd64",
        "Service buildkitd-amd64-headless",
        "Service buildkitd-arm64",
        "Service buildkitd-arm64-headless",
        "StatefulSet buildkitd-amd64",
        "StatefulSet buildkitd-arm64",
    ];
    assert_eq!(names, expected);
}

/// Whether every pair of `selector` is in `labels`.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value)
}

/// What the API server would refuse, or worse, take: selectors that miss, mounts of nothing, names of nothing.
#[test]
fn the_objects_fit_together() {
    for (name, values) in POOLS {
        let objects = objects(values);
        let sets: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "StatefulSet").collect();
        for set in &sets {
            let set_name = set["metadata"]["name"].as_str().unwrap();
            let template = &set["spec"]["template"];
            let labels = &template["metadata"]["labels"];
            let pod = &template["spec"];
            let container = &pod["containers"][0];
            assert!(selects(&set["spec"]["selector"]["matchLabels"], labels), "{name}");
            let service =
                find(&objects, &format!("Service {}", set["spec"]["serviceName"].as_str().unwrap()));
            assert_eq!(service["spec"]["clusterIP"], "None", "{name}");
            let own = |kind: &str| find(&objects, &format!("{kind} {set_name}"));
            for selector in [
                &service["spec"]["selector"],
                &own("Service")["spec"]["selector"],
                &own("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
                &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
            ] {
                let chosen: Vec<&Value> = sets
                    .iter()
                    .filter(|set| selects(selector, &set["spec"]["template"]["metadata"]["labels"]))
                    .map(|set| &set["metadata"]["name"])
                    .collect();
                assert_eq!(chosen, [set_name], "{name}: {selector}");
            }
            let ports: Vec<&Value> =
                container["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
            for port in service["spec"]["ports"].as_array().unwrap() {
                assert!(ports.contains(&&port["targetPort"]), "{name}: {port}");
            }
            let volumes = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]);
            let claims = set["spec"]["volumeClaimTemplates"].as_array().unwrap();
            let mut provided: Vec<&Value> =
                volumes.chain(claims.iter().map(|claim| &claim["metadata"]["name"])).collect();
            let mut mounted: Vec<&Value> =
                container["volumeMounts"].as_array().unwrap().iter().map(|mount| &mount["name"]).collect();
            provided.sort_by_key(|value| value.to_string());
            mounted.sort_by_key(|value| value.to_string());
            assert_eq!(provided, mounted, "{name}");
            assert_eq!(own("ConfigMap")["metadata"]["name"], pod["volumes"][0]["configMap"]["name"]);
        }
        let policy = find(&objects, &format!("NetworkPolicy {}", pool(values).name));
        let selector = &policy["spec"]["podSelector"]["matchLabels"];
        assert!(
            sets.iter().all(|set| selects(selector, &set["spec"]["template"]["metadata"]["labels"])),
            "{name}"
        );
        for object in &objects {
            assert_eq!(object["metadata"]["namespace"], "ci", "{name}");
        }
    }
}

#[test]
fn daemons_run_where_their_architecture_is() {
    let all = objects(POOLS[1].1);
    let pod = |name: &str| find(&all, name)["spec"]["template"]["spec"].clone();
    let amd64 = pod("StatefulSet p-amd64");
    let want = json!({
        "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "pool": "builds", "disk": "ssd"
    });
    assert_eq!(amd64["nodeSelector"], want);
    let arm64 = pod("StatefulSet p-arm64");
    assert_eq!(arm64["nodeSelector"]["disk"], "nvme", "an architecture's own wins");
    let tolerated: Vec<&Value> =
        arm64["tolerations"].as_array().unwrap().iter().map(|toleration| &toleration["key"]).collect();
    assert_eq!(tolerated, ["kubernetes.io/arch", "builds", "dedicated"]);

    let alone = objects(POOLS[2].1);
    let arm = &find(&alone, "StatefulSet buildkitd-arm")["spec"]["template"]["spec"];
    assert_eq!(arm["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    let terms = &arm["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(terms["nodeSelectorTerms"][0]["matchExpressions"][0]["values"], json!(["arm", "arm64"]));
}

#[test]
fn an_architecture_has_values_of_its_own() {
    let all = objects(POOLS[1].1);
    let shape = |name: &str| {
        let spec = &find(&all, name)["spec"];
        let claim = &spec["volumeClaimTemplates"][0]["spec"];
        json!([
            spec["replicas"],
            spec["template"]["spec"]["containers"][0]["resources"],
            claim["storageClassName"],
            claim["resources"]["requests"]["storage"]
        ])
    };
    let usual = json!({"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}});
    assert_eq!(shape("StatefulSet p-amd64"), json!([1, usual, null, "100Gi"]));
    let large = json!({"requests": {"cpu": "8"}, "limits": {"memory": "17179869184"}});
    assert_eq!(shape("StatefulSet p-arm64"), json!([2, large, "nvme", "2Ti"]));
    assert_eq!(shape("StatefulSet p-s390x"), json!([1, null, null, "100Gi"]));
    let text = find(&all, "ConfigMap p-arm64")["data"]["buildkitd.toml"].as_str().unwrap();
    assert!(text.contains("max-parallelism = 16") && text.contains("maxUsedSpace = \"1677721MB\""), "{text}");
}

#[test]
fn only_clients_reach_the_daemons() {
    let closed = objects("platforms: [linux/amd64]");
    let ingress = &find(&closed, "NetworkPolicy buildkitd")["spec"]["ingress"];
    let client = json!({"podSelector": {"matchLabels": {"archway.dev/buildkit-client": "true"}}});
    assert_eq!(*ingress, json!([{"from": [client], "ports": [{"port": 1234, "protocol": "TCP"}]}]));

    let open = objects(POOLS[3].1);
    let ingress = &find(&open, "NetworkPolicy builds")["spec"]["ingress"];
    // A map of the file is merged with the default one, as Helm does it.
    let labels = json!({"archway.dev/buildkit-client": "true", "role": "builder"});
    let among = |names: Value| {
        json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}
        ]})
    };
    let clients = json!([
        {"podSelector": {"matchLabels": labels}},
        {"podSelector": {"matchLabels": labels}, "namespaceSelector": among(json!(["team-a", "team-b"]))}
    ]);
    assert_eq!(ingress[0]["from"], clients);
    let metrics = json!({
        "from": [{"namespaceSelector": among(json!(["monitoring"]))}],
        "ports": [{"port": 6060, "protocol": "TCP"}]
    });
    assert_eq!(ingress[1], metrics);

    let without = objects("{platforms: [linux/amd64], networkPolicy: {enabled: false}}");
    assert!(without.iter().all(|object| object["kind"] != "NetworkPolicy"));
}

#[test]
fn a_changed_configuration_makes_new_pods() {
    let checksum = |values: &str| {
        let all = objects(values);
        let template = &find(&all, "StatefulSet buildkitd-amd64")["spec"]["template"];
        template["metadata"]["annotations"]["archway.dev/config-checksum"].clone()
    };
    let usual = checksum("platforms: [linux/amd64]");
    assert_eq!(usual.as_str().unwrap().len(), 64);
    assert_eq!(checksum("{platforms: [linux/amd64], replicas: 5}"), usual);
    assert_ne!(checksum("{platforms: [linux/amd64], maxParallelism: 5}"), usual);
}

#[test]
fn a_daemon_is_no_root_and_has_no_key_to_the_cluster() {
    let all = objects("platforms: [linux/amd64]");
    let pod = &find(&all, "StatefulSet buildkitd-amd64")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = json!({
        "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true, "allowPrivilegeEscalation": true,
        "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}
    });
    assert_eq!(pod["containers"][0]["securityContext"], security);
}

#[test]
fn text_that_yaml_reads_as_something_else_stays_text() {
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 'yes'}\n";
    let words = [
        "yes",
        "on",
        "NO",
        "1:30",
        "0777",
        "1_000",
        "null",
        "~",
        "1e3",
        ".5",
        "2001-01-01",
        "0x1f",
        "",
        "a: b",
    ];
    for word in words {
        let Manifest::ConfigMap(mut map) = typed(&documents(object)[0]) else { panic!() };
        map.data = Some([("a".to_owned(), word.to_owned())].into());
        let yaml = archway_kubernetes::manifest::to_yaml(&[Manifest::ConfigMap(map)]).unwrap();
        let line = yaml.lines().find(|line| line.trim_start().starts_with("a:")).unwrap();
        assert!(line.ends_with(['"', '\'']), "{word}: {line}");
    }
}
