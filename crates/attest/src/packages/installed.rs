//! What a distribution installed, one database at a time: for who compares images, and wants names and versions.

use super::{Database, Kept, Package};

/// Whether a file, by its path in the image, is a database of packages that a distribution installed.
pub fn is_database(path: &[u8]) -> bool {
    database(path).is_some()
}

/// The packages that the database at `path` names; none if it cannot be read, or is none.
pub fn installed(path: &[u8], bytes: &[u8]) -> Vec<Package> {
    match database(path).map(|database| database.read(bytes)) {
        Some(Kept::Packages(packages)) => packages,
        _ => Vec::new(),
    }
}

fn database(path: &[u8]) -> Option<Database> {
    let database = Database::at(str::from_utf8(path).ok()?)?;
    let is_of_distribution = matches!(
        database,
        Database::Dpkg | Database::Apk | Database::RpmSqlite | Database::RpmNdb | Database::RpmBerkeley
    );
    is_of_distribution.then_some(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_distributions_are_known_by_their_place() {
        for (path, known) in [
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status.d/libc6", true),
            ("var/lib/dpkg/status.d/libc6.md5sums", false),
            ("usr/lib/apk/db/installed", true),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", true),
            ("srv/var/lib/dpkg/status", false),
            ("srv/node_modules/left-pad/package.json", false),
            ("etc/os-release", false),
        ] {
            assert_eq!(is_database(path.as_bytes()), known, "{path}");
        }
    }

    #[test]
    fn only_what_is_installed_counts() {
        let shown = |path: &str, text: &str| -> Vec<String> {
            let packages = installed(path.as_bytes(), text.as_bytes());
            packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
        };
        let status = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: odd\nStatus: install ok installed\nDescription: Version\n Version: 7\n";
        assert_eq!(shown("var/lib/dpkg/status", status), ["libc6 2.36-9"]);
        assert_eq!(
            shown("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n"),
            ["tzdata 2024a"]
        );
        assert_eq!(
            shown("lib/apk/db/installed", "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:zlib\nV:1.3\n"),
            ["musl 1.2.5-r0", "zlib 1.3"]
        );
        assert_eq!(shown("var/lib/rpm/rpmdb.sqlite", "no database"), [""; 0]);
        assert_eq!(shown("etc/os-release", "ID=debian\n"), [""; 0]);
    }
}
