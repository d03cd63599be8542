//! apk: `/lib/apk/db/installed` of Alpine, Wolfi and Chainguard.

use super::{Package, PackageType, Source, lines};

/// Installed packages. A line is one letter, a colon and a value; an empty line ends a package.
pub(super) fn packages(text: &[u8]) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut current = Package::new(PackageType::Apk, "", "");
    let mut origin = None;
    // An empty line at the end, for the last package.
    for line in lines(text).chain(std::iter::once(std::borrow::Cow::Borrowed(""))) {
        if line.is_empty() {
            let mut done = std::mem::replace(&mut current, Package::new(PackageType::Apk, "", ""));
            if !done.name.is_empty() && !done.version.is_empty() {
                let version = done.version.clone();
                done.source = origin.take().map(|name| Source { name, version });
                packages.push(done);
            }
            origin = None;
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match key {
            "P" => current.name = value,
            "V" => current.version = value,
            "A" => current.architecture = Some(value),
            "L" if !value.is_empty() => current.licences = vec![value],
            "m" => current.supplier = Some(value),
            "o" => origin = Some(value),
            _ => {}
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_origin_and_licence() {
        let text = b"C:Q1abc=\nP:libcrypto3\nV:3.3.2-r0\nA:x86_64\nL:Apache-2.0\no:openssl\nm:N <n@example.org>\nF:lib\nR:libcrypto.so.3\n\n\
            P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\n";
        let found = packages(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].source, Some(Source { name: "openssl".into(), version: "3.3.2-r0".into() }));
        assert_eq!(found[0].licences, ["Apache-2.0"]);
        assert_eq!((found[1].name.as_str(), found[1].version.as_str()), ("musl", "1.2.5-r0"));
    }
}
