//! Any file at the place of a package database: what is kept of it is JSON, and the same each time.

#![no_main]

use archway_attest::packages::Databases;
use archway_layer::contents::{HEAD, Meta, Selector as _};
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 13] = [
    "etc/os-release",
    "var/lib/dpkg/status",
    "usr/share/doc/a/copyright",
    "lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "a/b.dist-info/METADATA",
    "node_modules/a/package.json",
    "gems/specifications/a.gemspec",
    "app.jar",
    "bin/program",
    "bin/other",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (number, bytes) = input;
    let path = PATHS[usize::from(number) % PATHS.len()];
    let head = &bytes[..bytes.len().min(HEAD)];
    let file = Meta { path: path.as_bytes(), size: bytes.len() as u64, mode: 0o755, uid: 0, gid: 0, head };
    let Some(kept) = Databases.distil(&file, bytes) else { return };
    assert!(kept.starts_with(b"{") && kept.ends_with(b"}"));
    assert_eq!(Databases.distil(&file, bytes).as_deref(), Some(&*kept));
});
