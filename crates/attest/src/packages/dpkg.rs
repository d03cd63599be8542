//! dpkg: `/var/lib/dpkg/status`, and the files of `status.d` that images without dpkg have.

use std::collections::BTreeSet;

use super::{Package, PackageType, Source, stanza::stanzas};

/// Installed packages of a status file; one of `status.d` has a single package and no `Status`.
pub(super) fn packages(text: &[u8]) -> Vec<Package> {
    let mut packages = Vec::new();
    for stanza in stanzas(text) {
        let (Some(name), Some(version)) = (stanza.get("package"), stanza.get("version")) else { continue };
        if stanza.get("status").is_some_and(|status| !has_files(status)) {
            continue;
        }
        packages.push(Package {
            architecture: stanza.get("architecture").map(str::to_owned),
            source: stanza.get("source").map(|source| source_of(source, version)),
            supplier: stanza.get("maintainer").map(str::to_owned),
            ..Package::new(PackageType::Deb, name, version)
        });
    }
    packages
}

/// The third word of `Status` says what of a package is there.
fn has_files(status: &str) -> bool {
    !matches!(status.split_whitespace().nth(2), Some("not-installed" | "config-files") | None)
}

/// `gcc-12 (12.2.0-14)`; without a version it is that of the package.
fn source_of(field: &str, version: &str) -> Source {
    match field.split_once(" (") {
        Some((name, rest)) => {
            Source { name: name.to_owned(), version: rest.trim_end_matches(')').to_owned() }
        }
        None => Source { name: field.to_owned(), version: version.to_owned() },
    }
}

/// Licences that a machine-readable copyright file names, in ascending order, each once; of prose none.
///
/// <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>
pub(super) fn licences(copyright: &[u8]) -> Vec<String> {
    let stanzas = stanzas(copyright);
    let is_machine_readable = stanzas
        .first()
        .and_then(|header| header.get("format"))
        .is_some_and(|format| format.contains("copyright-format"));
    if !is_machine_readable {
        return Vec::new();
    }
    let named = stanzas.iter().filter_map(|stanza| stanza.get("license")).filter(|name| !name.is_empty());
    named.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// `usr/share/doc/NAME/copyright` is about the package NAME.
pub(super) fn copyright_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("usr/share/doc/")?.strip_suffix("/copyright")?;
    (!name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = b"Package: libgcc-s1\nStatus: install ok installed\nArchitecture: amd64\n\
        Source: gcc-12 (12.2.0-14)\nVersion: 12.2.0-14+b1\nMaintainer: Debian GCC <gcc@example.org>\n\
        Description: support library\n Version: 9 is not a field\n\nPackage: removed\n\
        Status: deinstall ok config-files\nVersion: 1\n\nPackage: apt\nStatus: install ok installed\nVersion: 2.6.1\n";

    #[test]
    fn installed_packages_have_their_source() {
        let found = packages(STATUS);
        assert_eq!(
            found.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
            ["libgcc-s1", "apt"]
        );
        assert_eq!(found[0].version, "12.2.0-14+b1");
        assert_eq!(found[0].source, Some(Source { name: "gcc-12".into(), version: "12.2.0-14".into() }));
        assert_eq!(found[1].source, None);
    }

    #[test]
    fn a_status_d_file_has_no_status() {
        assert_eq!(packages(b"Package: base-files\nVersion: 12.4\n").len(), 1);
    }

    #[test]
    fn licences_are_read_where_a_machine_can() {
        let text = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
            Files: *\nLicense: GPL-2+\n\nFiles: debian/*\nLicense: Expat\n text\n\nLicense: GPL-2+\n long\n";
        assert_eq!(licences(text), ["Expat", "GPL-2+"]);
        assert!(licences(b"This package is free.\nLicense: GPL\n").is_empty());
        assert_eq!(copyright_of("usr/share/doc/apt/copyright"), Some("apt"));
        assert_eq!(copyright_of("usr/share/doc/a/b/copyright"), None);
    }
}
