//! That what is rendered are objects of Kubernetes, by the description its API server gives of itself.

use archway_testkit::{peers, tools};
use serde_json::{Value, json};

use crate::scene::{POOLS, identity, objects};

/// `swagger.json` of Kubernetes.
struct Description(Value);

impl Description {
    fn required() -> Option<Self> {
        let Some(file) = peers::kubernetes_openapi() else {
            tools::skip("scripts/peers has not fetched the description of Kubernetes' API");
            return None;
        };
        Some(Self(serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()))
    }

    /// The definition of what `object` says it is.
    fn definition(&self, object: &Value) -> &Value {
        let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object["apiVersion"].as_str().unwrap()),
        };
        let kind = json!({"group": group, "kind": object["kind"], "version": version});
        let definitions = self.0["definitions"].as_object().unwrap();
        let is_it = |definition: &&Value| definition["x-kubernetes-group-version-kind"] == json!([kind]);
        definitions.values().find(is_it).unwrap_or_else(|| panic!("Kubernetes has no {kind}"))
    }

    /// What `value` has that `schema` does not allow, or the other way round.
    fn findings(&self, value: &Value, schema: &Value, path: &str, findings: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/definitions/").unwrap();
            return self.findings(value, &self.0["definitions"][name], path, findings);
        }
        let fits = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64(),
            Some("string") if schema["format"] == "int-or-string" => value.is_string() || value.is_i64(),
            Some("string") => value.is_string(),
            other => panic!("{path}: a type that is new: {other:?}"),
        };
        if !fits {
            findings.push(format!("{path}: {value} is no {}", schema["type"]));
        }
        for (key, inner) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Null) => findings.push(format!("{path} does not exist")),
                (Value::Null, schema) | (schema, _) => self.findings(inner, schema, &path, findings),
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            if value.get(required.as_str().unwrap()).is_none() {
                findings.push(format!("{path} has no {required}"));
            }
        }
        for inner in value.as_array().into_iter().flatten() {
            self.findings(inner, &schema["items"], &format!("{path}[]"), findings);
        }
    }
}

#[test]
fn the_objects_are_those_of_kubernetes() {
    let Some(description) = Description::required() else { return };
    for (name, values) in POOLS {
        for object in objects(values) {
            let mut findings = Vec::new();
            description.findings(&object, description.definition(&object), &identity(&object), &mut findings);
            assert!(findings.is_empty(), "{name}: {findings:#?}");
        }
    }
}

#[test]
fn an_object_that_is_none_is_found() {
    let Some(description) = Description::required() else { return };
    let mut object = objects(POOLS[0].1).into_iter().find(|object| object["kind"] == "StatefulSet").unwrap();
    object["spec"]["replica"] = json!(1);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(1);
    object["spec"].as_object_mut().unwrap().remove("selector");
    let mut findings = Vec::new();
    description.findings(&object, description.definition(&object), "it", &mut findings);
    findings.sort();
    let expected = [
        "it.spec has no \"selector\"",
        "it.spec.replica does not exist",
        "it.spec.template.spec.containers[].image: 1 is no \"string\"",
    ];
    assert_eq!(findings, expected);
}
