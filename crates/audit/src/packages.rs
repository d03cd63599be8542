//! Names and versions in package databases, which is all that a comparison of platforms needs.

use std::collections::BTreeMap;

/// Versions by the name of the package.
pub(crate) type Packages = BTreeMap<String, String>;

/// A kind of database, by where it is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    /// Debian's and Ubuntu's: `deb822` stanzas (dpkg(1), deb-control(5)).
    Dpkg,
    /// Alpine's and Wolfi's.
    Apk,
}

impl Database {
    pub(crate) fn at(path: &[u8]) -> Option<Self> {
        // Images without a package manager have a file for each package.
        let of_one = path.strip_prefix(b"var/lib/dpkg/status.d/").is_some_and(|name| !name.contains(&b'.'));
        match path {
            b"var/lib/dpkg/status" => Some(Self::Dpkg),
            b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => Some(Self::Apk),
            _ => of_one.then_some(Self::Dpkg),
        }
    }

    /// The packages that are installed.
    pub(crate) fn read(self, bytes: &[u8]) -> Packages {
        let text = String::from_utf8_lossy(bytes);
        let (name, version) = match self {
            Self::Dpkg => ("Package:", "Version:"),
            Self::Apk => ("P:", "V:"),
        };
        let mut packages = Packages::new();
        for stanza in text.split("\n\n") {
            let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            // A file of one package has no status.
            let is_installed = field("Status:").is_none_or(|status| status.ends_with(" installed"));
            if let (Some(name), Some(version), true) = (field(name), field(version), is_installed) {
                packages.insert(name.to_owned(), version.to_owned());
            }
        }
        packages
    }
}

/// A version without the number of rebuilds on one architecture (Debian's binNMUs: `1.2-3+b1`).
pub(crate) fn source_version(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, rebuild)) if !rebuild.is_empty() && rebuild.bytes().all(|b| b.is_ascii_digit()) => {
            source
        }
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(database: Database, text: &str) -> Vec<String> {
        database.read(text.as_bytes()).iter().map(|(name, version)| format!("{name} {version}")).collect()
    }

    #[test]
    fn only_what_is_installed_counts() {
        let status = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: odd\nStatus: install ok installed\nDescription: Version\n Version: 7\n";
        assert_eq!(shown(Database::Dpkg, status), ["libc6 2.36-9"]);
        assert_eq!(shown(Database::Dpkg, "Package: tzdata\nVersion: 2024a\n"), ["tzdata 2024a"]);
        assert_eq!(
            shown(Database::Apk, "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:zlib\nV:1.3\n"),
            ["musl 1.2.5-r0", "zlib 1.3"]
        );
    }

    #[test]
    fn databases_are_known_by_their_place() {
        for (path, known) in [
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status.d/libc6", true),
            ("var/lib/dpkg/status.d/libc6.md5sums", false),
            ("usr/lib/apk/db/installed", true),
            ("srv/var/lib/dpkg/status", false),
        ] {
            assert_eq!(Database::at(path.as_bytes()).is_some(), known, "{path}");
        }
    }

    #[test]
    fn rebuilds_are_no_other_version() {
        for (version, source) in
            [("1.2-3+b1", "1.2-3"), ("1.2-3", "1.2-3"), ("1+beta", "1+beta"), ("1+b", "1+b")]
        {
            assert_eq!(source_version(version), source);
        }
    }
}
