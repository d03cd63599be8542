//! Names and versions of what distributions installed, which is all that a comparison of platforms needs.

use std::collections::BTreeMap;

use archway_attest::packages::installed;

/// Versions by the name of the package.
pub(crate) type Packages = BTreeMap<String, String>;

/// What the database at `path` names.
pub(crate) fn read(path: &[u8], bytes: &[u8]) -> Packages {
    installed(path, bytes).into_iter().map(|package| (package.name, package.version)).collect()
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

    #[test]
    fn rebuilds_are_no_other_version() {
        for (version, source) in
            [("1.2-3+b1", "1.2-3"), ("1.2-3", "1.2-3"), ("1+beta", "1+beta"), ("1+b", "1+b")]
        {
            assert_eq!(source_version(version), source);
        }
    }
}
