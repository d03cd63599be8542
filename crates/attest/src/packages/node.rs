//! Node.js: `package.json` of what npm installed.

use serde::Deserialize;
use serde_json::Value;

use super::{Package, PackageType};

/// The parts of `package.json` that a catalog needs. Old packages have odd types in `license`.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    #[serde(default)]
    license: Value,
    #[serde(default)]
    licenses: Value,
}

/// Whether a path is the `package.json` of an installed package: one right below `node_modules`, or below a scope there.
pub(super) fn is_manifest(path: &str) -> bool {
    let Some(package) = path.strip_suffix("/package.json") else { return false };
    let mut parents = package.rsplit('/').skip(1);
    match (parents.next(), parents.next()) {
        (Some("node_modules"), _) => true,
        (Some(scope), Some("node_modules")) => scope.starts_with('@'),
        _ => false,
    }
}

/// The package that a `package.json` describes.
pub(super) fn package(text: &[u8]) -> Option<Package> {
    let manifest: Manifest = serde_json::from_slice(text).ok()?;
    if manifest.name.is_empty() || manifest.version.is_empty() {
        return None;
    }
    let mut licences = licences(&manifest.license);
    licences.extend(self::licences(&manifest.licenses));
    Some(Package { licences, ..Package::new(PackageType::Npm, &manifest.name, &manifest.version) })
}

/// A text, an object with a `type`, or a list of them.
fn licences(value: &Value) -> Vec<String> {
    match value {
        Value::String(licence) if !licence.is_empty() => vec![licence.clone()],
        Value::Object(object) => object.get("type").map(licences).unwrap_or_default(),
        Value::Array(list) => list.iter().filter(|one| !one.is_array()).flat_map(licences).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_installed_counts() {
        for path in ["srv/node_modules/left-pad/package.json", "node_modules/@types/node/package.json"] {
            assert!(is_manifest(path), "{path}");
        }
        for path in [
            "srv/package.json",
            "srv/node_modules/a/test/fixture/package.json",
            "node_modules/package.json.bak",
        ] {
            assert!(!is_manifest(path), "{path}");
        }
    }

    #[test]
    fn licences_have_three_shapes() {
        let read = |text: &str| package(text.as_bytes()).unwrap().licences;
        assert_eq!(read(r#"{"name":"@a/b","version":"1.0.0","license":"MIT"}"#), ["MIT"]);
        assert_eq!(read(r#"{"name":"b","version":"1","license":{"type":"ISC","url":"x"}}"#), ["ISC"]);
        assert_eq!(
            read(r#"{"name":"b","version":"1","licenses":[{"type":"MIT"},{"type":"BSD"}]}"#),
            ["MIT", "BSD"]
        );
        assert!(package(br#"{"name":"fixture"}"#).is_none());
    }
}
