use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const FILE: &str = r#"# Ours.
current = "pool" # the fast one

[[builder.pool.node]]
# In the cellar.
endpoint = "tcp://arm-1.example:1234"
platforms = ["linux/arm64", "linux/arm/v7"]

  [builder.pool.node.tls]
  cacert = "certs/ca.pem"
  cert = "certs/cert.pem"
  key = "/etc/keys/key.pem"

[builder.here]
node = [{ endpoint = "unix:///run/buildkit/buildkitd.sock" }]
"#;

fn node(text: &str) -> Node {
    Configuration::parse(&format!("[[builder.x.node]]\n{text}")).unwrap().builders["x"].nodes[0].clone()
}

#[test]
fn a_file_says_who_builds() {
    let mut configuration = Configuration::parse(FILE).unwrap();
    configuration.resolve(Path::new("/home/me/.config/archway"));
    assert_eq!(configuration.current.as_deref(), Some("pool"));
    let node = &configuration.builders["pool"].nodes[0];
    assert_eq!(node.platforms, ["linux/arm64".parse().unwrap(), "linux/arm/v7".parse().unwrap()]);
    let tls = node.tls.as_ref().unwrap();
    assert_eq!(tls.cacert, Path::new("/home/me/.config/archway/certs/ca.pem"));
    assert_eq!(tls.key.as_deref(), Some(Path::new("/etc/keys/key.pem")));
    assert_eq!(configuration.builders["here"].nodes.len(), 1);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, message, place) in [
        ("curent = 'x'", "unknown field `curent`", Some((1, 1))),
        ("[[builder.a.node]]\nendpiont = 'tcp://a'", "unknown field `endpiont`", Some((2, 1))),
        ("[[builder.a.node]]\nendpoint = 'a:1'", "`a:1` is no endpoint", Some((2, 12))),
        ("[[builder.a.node]]\nendpoint = 'unix:///s'\nplatforms = ['linux/arm65']", "arm65", Some((3, 13))),
        ("[[builder.a.node]]\nplatforms = []", "missing field `endpoint`", Some((1, 1))),
        ("current = ", "", Some((1, 11))),
        ("[[builder.embedded.node]]\nendpoint = 'unix:///s'", "`embedded` is reserved", None),
        ("[[builder.kubernetes-1.node]]\nendpoint = 'unix:///s'", "is reserved", None),
        ("[[builder.\"a b\".node]]\nendpoint = 'unix:///s'", "`a b` is no name", None),
        (
            "[[builder.a.node]]\nendpoint = 'tcp://a'",
            "builder `a`: tcp://a:1234 would be spoken to in the clear",
            None,
        ),
        (
            "[[builder.a.node]]\nendpoint = 'tcp://a'\ntls = { cacert = 'c' }\nallow-insecure = true",
            "is to be spoken to in the clear",
            None,
        ),
        ("[[builder.a.node]]\nendpoint = 'unix:///s'\ntls = { cacert = 'c' }", "needs no certificates", None),
        (
            "[[builder.a.node]]\nendpoint = 'tcp://a'\ntls = { cacert = 'c', cert = 'd' }",
            "key is missing",
            None,
        ),
        (
            "[[builder.a.node]]\nendpoint = 'tcp://a'\ntls = { cacert = 'c', key = 'd' }",
            "cert is missing",
            None,
        ),
    ] {
        let error = Configuration::parse(text).unwrap_err();
        assert!(error.message.contains(message), "{text}\n{error:?}");
        assert_eq!(error.place, place, "{text}\n{error:?}");
    }
    let unknown = Configuration::parse("curent = 'x'").unwrap_err().unknown;
    assert_eq!(unknown, Some(("curent".to_owned(), vec!["current".to_owned(), "builder".to_owned()])));
}

#[test]
fn the_users_file_comes_before_the_machines() {
    let parse = |text: &str| Configuration::parse(text).unwrap();
    let machine = parse(
        "current = 'm'\n[[builder.m.node]]\nendpoint = 'unix:///m'\n[[builder.both.node]]\nendpoint = 'unix:///m'",
    );
    let user = parse("[[builder.both.node]]\nendpoint = 'unix:///u'");
    let both = user.over(machine);
    assert_eq!(both.current.as_deref(), Some("m"));
    assert_eq!(both.builders["both"].nodes[0].endpoint.to_string(), "unix:///u");
    assert_eq!(both.builders.len(), 2);
}

#[test]
fn changes_leave_everything_else_as_it_was() {
    let mut document = Document::parse(FILE).unwrap();
    document
        .add("new", node("endpoint = 'tcp://n'\ntls = { cacert = '/c', server-name = 's' }"), false)
        .unwrap();
    document.add("pool", node("endpoint = 'ssh://ci@arm-2'"), true).unwrap();
    document.select(Some("new"));
    let text = document.to_string();
    for kept in
        ["# Ours.\ncurrent = \"new\" # the fast one\n", "# In the cellar.\n", "  cacert = \"certs/ca.pem\"\n"]
    {
        assert!(text.contains(kept), "{text}");
    }
    assert!(text.contains("[[builder.pool.node]]\nendpoint = \"ssh://ci@arm-2\"\n"), "{text}");
    assert!(
        text.contains(
            "[[builder.new.node]]\nendpoint = \"tcp://n:1234\"\ntls = { cacert = \"/c\", server-name = \"s\" }\n"
        ),
        "{text}"
    );
    assert_eq!(Configuration::parse(&text).unwrap(), *document.configuration());

    document.remove_node("pool", &"tcp://arm-1.example:1234".parse().unwrap()).unwrap();
    document.remove("new").unwrap();
    assert_eq!(document.configuration().current, None, "it was the current one");
    document.remove_node("pool", &"ssh://ci@arm-2".parse().unwrap()).unwrap();
    let text = document.to_string();
    assert_eq!(Configuration::parse(&text).unwrap(), *document.configuration());
    assert_eq!(document.configuration().builders.keys().collect::<Vec<_>>(), ["here"], "{text}");
}

#[test]
fn a_file_begins_empty() {
    let mut document = Document::parse("").unwrap();
    document
        .add("a", node("endpoint = 'tcp://a'\nallow-insecure = true\nplatforms = ['linux/arm64']"), false)
        .unwrap();
    document.select(Some("a"));
    let want = "current = \"a\"\n\n[[builder.a.node]]\nendpoint = \"tcp://a:1234\"\nplatforms = [\"linux/arm64\"]\nallow-insecure = true\n";
    assert_eq!(document.to_string(), want);
}

#[test]
fn changes_that_cannot_be_made_say_why() {
    let mut document = Document::parse(FILE).unwrap();
    let before = document.to_string();
    let here = node("endpoint = 'unix:///run/buildkit/buildkitd.sock'");
    let other = node("endpoint = 'unix:///other'");
    let said = |result: Result<(), EditError>| result.unwrap_err().to_string();
    assert!(said(document.add("pool", other.clone(), false)).contains("`pool` already"));
    assert!(said(document.add("pol", other.clone(), true)).contains("no builder `pol`"));
    assert!(said(document.add("here", here.clone(), true)).contains("already"));
    assert!(said(document.add("here", other.clone(), true)).contains("[[builder.here.node]]"));
    assert!(said(document.remove("pol")).contains("no builder `pol`"));
    assert!(said(document.remove_node("pool", &other.endpoint)).contains("no daemon at unix:///other"));
    assert_eq!(document.to_string(), before);
}

/// Keys that a type knows, as serde says.
fn keys<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(json!({ "?": 0 })).unwrap_err().to_string();
    unknown_field(&error).unwrap().1.into_iter().collect()
}

/// Those of them that must be there.
fn required<T: DeserializeOwned>(example: &Value) -> BTreeSet<String> {
    let without = |key: &String| {
        let mut example = example.clone();
        example.as_object_mut().unwrap().remove(key);
        serde_json::from_value::<T>(example).is_err()
    };
    example.as_object().unwrap().keys().filter(|key| without(key)).cloned().collect()
}

#[test]
fn the_schema_says_what_the_types_do() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/formats/builders.schema.json")).unwrap();
    let tls = json!({ "cacert": "c", "cert": "c", "key": "k", "server-name": "s" });
    let node =
        json!({ "endpoint": "tcp://a", "platforms": ["linux/arm64"], "tls": tls, "allow-insecure": true });
    let pool = json!({ "node": [node] });
    let file = json!({ "current": "a", "builder": { "a": pool } });
    let set = |list: &Value| -> BTreeSet<String> {
        list.as_array().into_iter().flatten().map(|key| key.as_str().unwrap().to_owned()).collect()
    };
    for (at, keys, required) in [
        ("", keys::<Configuration>(), required::<Configuration>(&file)),
        ("/$defs/builder", keys::<Pool>(), required::<Pool>(&pool)),
        ("/$defs/node", keys::<Node>(), required::<Node>(&node)),
        ("/$defs/tls", keys::<Tls>(), required::<Tls>(&tls)),
    ] {
        let schema = schema.pointer(at).unwrap();
        let properties: BTreeSet<String> =
            schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(properties, keys, "{at}");
        assert_eq!(set(&schema["required"]), required, "{at}");
        assert_eq!(schema["additionalProperties"], json!(false), "{at}");
        assert!(
            schema["properties"]
                .as_object()
                .unwrap()
                .values()
                .all(|property| property["description"].is_string())
        );
    }
}
