//! Rust: the dependency list that `cargo auditable` puts into a program, zlib-compressed JSON in the section `.dep-v0`.
//!
//! <https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md>

use std::io::Read as _;

use serde::Deserialize;

use super::{Package, PackageType};

/// A list that is longer when it is decompressed is not read.
const MAX_LIST: u64 = 8 * 1024 * 1024;

#[derive(Deserialize)]
struct List {
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    kind: Kind,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Runtime,
    /// Ran while the program was built, and is not in it.
    Build,
}

/// The crates of a program.
pub(super) fn packages(section: &[u8]) -> Vec<Package> {
    let mut json = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(section).take(MAX_LIST);
    let list = match reader.read_to_end(&mut json) {
        Ok(_) => serde_json::from_slice::<List>(&json).ok(),
        Err(_) => None,
    };
    let entries = list.map(|list| list.packages).unwrap_or_default();
    let in_program = entries.into_iter().filter(|entry| entry.kind == Kind::Runtime);
    in_program.map(|entry| Package::new(PackageType::Cargo, &entry.name, &entry.version)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn build_dependencies_are_not_in_the_program() {
        let json = br#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1]},
            {"name":"serde","version":"1.0.200","source":"crates.io"},{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"}]}"#;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(json).unwrap();
        let file = super::super::program::tests::elf_with(".dep-v0", &encoder.finish().unwrap());
        let found = super::super::program::packages(&file);
        let names: Vec<_> =
            found.iter().map(|package| format!("{}@{}", package.name, package.version)).collect();
        assert_eq!(names, ["app@0.1.0", "serde@1.0.200"]);
        assert!(packages(b"no zlib").is_empty());
    }
}
