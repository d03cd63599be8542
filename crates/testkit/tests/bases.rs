//! The base images hold programs of their platforms and can be read by an independent tool.

use archway_oci::{Digest, Manifest, Platform};
use archway_testkit::{
    BaseImages, RealRegistry, Skopeo,
    bases::{ARCHITECTURES, Architecture, Base},
    tools,
    tree::{Kind, Tree},
};

/// `e_machine` (ELF specification and its processor supplements) of each platform's programs.
fn elf_machine(architecture: &str) -> u16 {
    match architecture {
        "amd64" => 62,
        "arm64" => 183,
        "arm" => 40,
        "386" => 3,
        "ppc64le" => 21,
        "s390x" => 22,
        other => panic!("no machine number for {other}"),
    }
}

fn machine_of(program: &[u8]) -> u16 {
    assert_eq!(&program[..4], b"\x7fELF");
    let bytes = [program[18], program[19]];
    if program[5] == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}

#[test]
fn busybox_is_pushed_for_every_platform() {
    if !tools::require_each(&["docker-registry", "skopeo", "apt-get", "dpkg-deb"]) {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let bases = BaseImages::open().unwrap();
    let reference = bases.push(Base::Busybox, &registry.host()).unwrap();
    let image = bases.busybox().unwrap();
    let platforms: Vec<Platform> = image.platforms().cloned().collect();
    assert_eq!(platforms, ARCHITECTURES.map(Architecture::platform));

    let source = format!("docker://{reference}");
    let index = Skopeo::new().raw_manifest(&source).unwrap();
    assert_eq!(Digest::sha256(&index), image.descriptor.digest);
    for platform in &platforms {
        let directory = tempfile::tempdir().unwrap();
        Skopeo::new().copy_to_directory(&source, platform, directory.path()).unwrap();
        let manifest = std::fs::read(directory.path().join("manifest.json")).unwrap();
        let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
        let layer = std::fs::read(directory.path().join(manifest.layers[0].digest.hex())).unwrap();
        let tree = Tree::of_tar_gz(&layer[..]).unwrap();
        assert_eq!(tree.entries["bin/sh"].kind, Kind::Symlink("busybox".into()));
        assert!(tree.entries.len() > 250, "applets are there: {}", tree.entries.len());
        let machine = machine_of(&program(&layer, "bin/busybox"));
        assert_eq!(machine, elf_machine(&platform.architecture), "{platform:?}");
    }
}

fn program(layer: &[u8], path: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer));
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path().unwrap().ends_with(path)).unwrap();
    let mut bytes = Vec::new();
    std::io::copy(&mut entry, &mut bytes).unwrap();
    bytes
}
