//! That the Helm chart is the same pool.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use archway_kubernetes::pool::PoolSpec;
use archway_testkit::Peer;
use serde_json::Value;

use crate::{
    objects::typed,
    refusals::{WRONG, complete},
    scene::{POOLS, documents, identity, objects},
};

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/archway-buildkit-pool")
}

/// `helm template` in the namespace of the scene. Values go through a file, as users have them.
fn template(helm: &Peer, values: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.yaml");
    fs::write(&file, values).unwrap();
    let mut command = helm.command();
    command.args(["template", "release", "--namespace=ci"]).arg(chart()).arg("--values").arg(file);
    command.output().unwrap()
}

#[test]
fn the_chart_gives_the_same_objects() {
    let Some(helm) = Peer::required("helm") else { return };
    for (name, values) in POOLS {
        let output = template(&helm, values);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let charted = documents(&String::from_utf8(output.stdout).unwrap());
        let rendered = objects(values);
        let names = |objects: &[Value]| objects.iter().map(identity).collect::<Vec<_>>();
        assert_eq!(names(&charted), names(&rendered), "{name}");
        for (charted, rendered) in charted.iter().zip(&rendered) {
            // Neither has anything that Kubernetes would drop.
            assert_eq!(serde_json::to_value(typed(charted)).unwrap(), *charted, "{name}");
            let (left, right) = (pretty(charted), pretty(rendered));
            assert!(left == right, "{name}: the chart has\n{left}\nand the command\n{right}");
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn the_chart_refuses_what_the_command_refuses() {
    let Some(helm) = Peer::required("helm") else { return };
    let unknown = ["replica: 2", "cache: {sise: 1Gi}", "name: null", "replicas: many", "image: null"];
    for values in WRONG.map(|(values, _, _)| values).into_iter().chain(unknown) {
        let output = template(&helm, &complete(values));
        assert!(!output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_chart_has_the_defaults_of_the_command() {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(values, serde_json::to_value(PoolSpec::default()).unwrap());
    let schema: Value =
        serde_json::from_slice(&fs::read(chart().join("values.schema.json")).unwrap()).unwrap();
    let described = schema["properties"].as_object().unwrap().keys().filter(|key| *key != "global");
    let known: Vec<&String> = values.as_object().unwrap().keys().collect();
    let mut described: Vec<&String> = described.collect();
    described.sort();
    assert_eq!(described, known, "serde_json sorts the keys of a map");
}
