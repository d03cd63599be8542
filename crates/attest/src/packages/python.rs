//! Python: `METADATA` of wheels (`*.dist-info`) and `PKG-INFO` of eggs (`*.egg-info`).

use super::{Package, PackageType, stanza::stanzas};

/// Whether a path is such a file.
pub(super) fn is_metadata(path: &str) -> bool {
    path.ends_with(".dist-info/METADATA")
        || path.ends_with(".egg-info/PKG-INFO")
        || (path.ends_with(".egg-info") && path.contains("-packages/"))
}

/// The distribution that a metadata file describes: its first paragraph, what follows is prose.
pub(super) fn package(text: &[u8]) -> Option<Package> {
    let stanza = stanzas(text).into_iter().next()?;
    let (name, version) = (stanza.get("name")?, stanza.get("version")?);
    // PEP 639 replaced the free text, which may be a whole licence.
    let short = |text: &&str| !text.is_empty() && text.len() <= 100 && *text != "UNKNOWN";
    let stated = stanza.get("license-expression").or_else(|| stanza.get("license")).filter(short);
    let licences = match stated {
        Some(licence) => vec![licence.to_owned()],
        None => stanza.all("classifier").iter().filter_map(|classifier| licence_of(classifier)).collect(),
    };
    Some(Package { licences, ..Package::new(PackageType::Pypi, &normalized(name), version) })
}

/// `License :: OSI Approved :: MIT License`
fn licence_of(classifier: &str) -> Option<String> {
    let licence = classifier.strip_prefix("License ::")?.rsplit("::").next()?.trim();
    (licence != "OSI Approved").then(|| licence.to_owned())
}

/// PEP 503: names are compared in lower case, with runs of `-`, `_` and `.` as one `-`.
pub(crate) fn normalized(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if text.ends_with('-') => {}
            '-' | '_' | '.' => text.push('-'),
            other => text.extend(other.to_lowercase()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_names_the_distribution() {
        let text = b"Metadata-Version: 2.1\nName: Zope._Interface\nVersion: 6.1\n\
            Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License\n\nName: prose\n";
        let found = package(text).unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("zope-interface", "6.1"));
        assert_eq!(found.licences, ["MIT License"]);
        let stated =
            package(b"Name: a\nVersion: 1\nLicense-Expression: MIT OR Apache-2.0\nLicense: x\n").unwrap();
        assert_eq!(stated.licences, ["MIT OR Apache-2.0"]);
        assert!(package(b"nothing").is_none());
    }

    #[test]
    fn metadata_is_found_by_path() {
        for path in [
            "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO",
            "usr/local/lib/python3.12/site-packages/pip-24.0.dist-info/METADATA",
            "usr/lib/python3/dist-packages/pycurl-7.45.2.egg-info",
        ] {
            assert!(is_metadata(path), "{path}");
        }
        assert!(!is_metadata("srv/METADATA"));
    }
}
