//! What nobody thought of: tricks in any combination, and damage anywhere.

use archway_layer::{ExtractOptions, apply_layer, archive::Limits};
use archway_oci::media_type::LayerCompression;
use proptest::prelude::*;

use super::{Scene, options};
use crate::raw::{archive, directory, entry, file, hardlink, pax, seal, symlink};

/// Parts an attacker would combine.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let name = || {
        prop::sample::select(vec![
            "a",
            "b",
            "a/b",
            "a/b/c",
            "../outside/secret",
            "/a",
            "a/..",
            ".wh.a",
            "a/.wh.b",
            "a/.wh..wh..opq",
            "b/secret",
            "..",
        ])
    };
    let target = || {
        prop::sample::select(vec![
            "a",
            "b",
            "/",
            "..",
            "../outside",
            "../outside/secret",
            "/a/b",
            ".",
            "a/../..",
        ])
    };
    prop_oneof![
        3 => (name(), ".{0,20}").prop_map(|(name, data)| file(name, &data)),
        3 => name().prop_map(directory),
        3 => (name(), target()).prop_map(|(name, target)| symlink(name, target)),
        2 => (name(), target()).prop_map(|(name, target)| hardlink(name, target)),
        1 => name().prop_map(|name| entry(b'6', name, "", b"")),
        1 => name().prop_map(|name| entry(b'3', name, "", b"")),
        1 => name().prop_map(|name| pax(&[("path", name.as_bytes())])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_combination_reaches_outside(parts in prop::collection::vec(part(), 0..12)) {
        let scene = Scene::new();
        // One way or the other; `apply` looks outside.
        let _ = scene.apply(&archive(&parts));
    }

    #[test]
    fn damage_is_survived(
        parts in prop::collection::vec(part(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
    ) {
        let mut bytes = archive(&parts);
        for (at, byte, sealed) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let block = at / 512 * 512;
            if sealed {
                seal(&mut bytes[block..block + 512]);
            }
        }
        let scene = Scene::new();
        let limits = Limits { total: Some(1 << 20), ..Limits::default() };
        let _ = apply_layer(bytes.as_slice(), LayerCompression::None, &scene.delta(), &ExtractOptions { limits, ..options() });
        scene.check();
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let scene = Scene::new();
        for compression in [LayerCompression::None, LayerCompression::Gzip, LayerCompression::Zstd] {
            let _ = apply_layer(bytes.as_slice(), compression, &scene.delta(), &options());
        }
        scene.check();
    }
}
