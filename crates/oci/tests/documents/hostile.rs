//! Documents made to do harm: read as something else than others read, or larger than they may be.

use archway_oci::{
    ImageConfig, Index, Manifest,
    descriptor::MAX_SIZE,
    json::{DocumentError, MAX_DOCUMENT},
    media_type,
};
use serde_json::{Value, json};

use crate::shapes::{A, bytes, index, manifest};

#[test]
fn a_document_is_never_both_manifest_and_index() {
    let kind = |error: DocumentError| match error {
        DocumentError::WrongKind { evidence, .. } => evidence,
        other => panic!("{other}"),
    };
    let without_type = |mut document: Value| {
        document.as_object_mut().unwrap().remove("mediaType");
        document
    };
    let is_index = |document: &Value| Index::parse(&bytes(document)).unwrap_err();
    let is_manifest = |document: &Value| Manifest::parse(&bytes(document)).unwrap_err();

    assert_eq!(kind(is_index(&manifest())), format!("media type `{}`", media_type::OCI_MANIFEST));
    assert_eq!(kind(is_manifest(&index())), format!("media type `{}`", media_type::OCI_INDEX));
    assert_eq!(kind(is_index(&without_type(manifest()))), "property `config`");
    assert_eq!(kind(is_manifest(&without_type(index()))), "property `manifests`");
    let mut both = index();
    both["layers"] = json!([]);
    assert_eq!(kind(is_index(&both)), "property `layers`");
}

#[test]
fn documents_that_are_no_use_are_refused() {
    let schema_1 = json!({"schemaVersion": 1, "name": "x", "tag": "y", "fsLayers": []});
    assert!(matches!(Manifest::parse(&bytes(&schema_1)), Err(DocumentError::SchemaVersion { found: 1, .. })));
    assert!(matches!(Index::parse(b"{}"), Err(DocumentError::SchemaVersion { found: 0, .. })));
    for text in ["", "null", "[]", "{", "\"x\"", "{\"schemaVersion\":2}x"] {
        assert!(Manifest::parse(text.as_bytes()).is_err(), "{text}");
        assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
    }
    for text in [&b"\xff"[..], b"{\"mediaType\": \"\xc3\x28\"}", br#"{"schemaVersion":"2"}"#] {
        assert!(Manifest::parse(text).is_err() && Index::parse(text).is_err(), "{}", text.escape_ascii());
    }
    let mut short = manifest();
    short["config"]["digest"] = json!("sha256:abc");
    assert!(matches!(Manifest::parse(&bytes(&short)), Err(DocumentError::Malformed { .. })));
    let mut negative = manifest();
    negative["layers"][0]["size"] = json!(-1);
    assert!(matches!(Manifest::parse(&bytes(&negative)), Err(DocumentError::Malformed { .. })));
}

#[test]
fn size_and_depth_are_bounded() {
    let mut large = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    large.resize(MAX_DOCUMENT as usize, b' ');
    assert!(Index::parse(&large).is_ok());
    large.push(b' ');
    assert!(
        matches!(Index::parse(&large), Err(DocumentError::TooLarge { size, .. }) if size == MAX_DOCUMENT + 1)
    );
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    assert!(matches!(ImageConfig::parse(deep.as_bytes()), Err(DocumentError::Malformed { .. })));
}

/// `text` with `from`, which is there once, replaced by `to`.
fn changed(document: &Value, from: &str, to: &str) -> Vec<u8> {
    let text = document.to_string();
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn a_property_has_one_spelling_and_is_there_once() {
    let meant = |error: DocumentError| match error {
        DocumentError::Spelling { property, meant, .. } => (property, meant),
        other => panic!("{other}"),
    };
    // Go reads each of these as if it were spelled right, and of several the last.
    for (from, to, property, known) in [
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"Layers\":[]", "Layers", "layers"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"layer\u{17f}\":[]", "layer\u{17f}", "layers"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"\\u004cayers\":[]", "Layers", "layers"),
        ("\"subject\":{", "\"SUBJECT\":{", "SUBJECT", "subject"),
        ("\"urls\":", "\"Urls\":", "Urls", "urls"),
        ("\"size\":32654", "\"size\":32654,\"Size\":1", "Size", "size"),
    ] {
        let parsed = Manifest::parse(&changed(&manifest(), from, to));
        assert_eq!(meant(parsed.unwrap_err()), (property.to_owned(), known), "{to}");
    }
    let error = Index::parse(&changed(&index(), "\"win32k\"", "\"win32k\"],\"OS\":[\"x\"")).unwrap_err();
    assert_eq!(meant(error), ("OS".to_owned(), "os"));
    // Annotations are called as anybody likes.
    Manifest::parse(&changed(&manifest(), "\"com.example.key\"", "\"Layers\"")).unwrap();
    for (from, to) in [
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"layers\":[]"),
        ("\"size\":32654", "\"size\":32654,\"size\":1"),
    ] {
        let parsed = Manifest::parse(&changed(&manifest(), from, to));
        assert!(matches!(parsed, Err(DocumentError::Malformed { .. })), "{to}: {parsed:?}");
    }
}

#[test]
fn sizes_are_those_of_something_that_can_be() {
    for (size, good) in [
        ("0", true),
        (&MAX_SIZE.to_string(), true),
        (&(MAX_SIZE + 1).to_string(), false),
        ("9223372036854775808", false),
        ("18446744073709551616", false),
        ("1e3", false),
        ("1.0", false),
        ("-0", false),
        ("\"1\"", false),
        ("null", false),
    ] {
        let parsed = Manifest::parse(&changed(&manifest(), ":32654", &format!(":{size}")));
        assert_eq!(parsed.is_ok(), good, "{size}: {parsed:?}");
    }
}

/// As many as there is room for.
#[test]
fn the_sizes_of_a_document_can_be_added_up() {
    let layer = format!(r#"{{"mediaType":"","digest":"{A}","size":{MAX_SIZE}}}"#);
    let config = format!(r#"{{"schemaVersion":2,"config":{layer},"layers":["#);
    let count = (MAX_DOCUMENT as usize - config.len() - 2) / (layer.len() + 1);
    let text = format!("{config}{}]}}", vec![layer; count].join(","));
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let sum = manifest.layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
    assert!(count > 20_000 && sum.is_some(), "{count}");
}
