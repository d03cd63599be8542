//! A delta becomes a layer, the layer a delta, and that the same layer again.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path};

use archway_layer::{
    Compression, Entry, EntryKind, ExtractOptions, Extracted, LayerInfo, LayerOptions, Ownership,
    apply_layer, diff::DiffError, write_layer, write_layer_with,
};
use archway_oci::media_type;
use proptest::{collection::vec, prelude::*};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};

use crate::trees::{self, Node, Tree};

fn layer(dir: &Path, compression: Compression) -> (LayerInfo, Vec<u8>) {
    let mut bytes = Vec::new();
    let options = LayerOptions { compression, ..LayerOptions::default() };
    let info = write_layer(dir, &options, &mut bytes).expect("layer");
    (info, bytes)
}

fn apply(info: &LayerInfo, bytes: &[u8], dir: &Path) -> Extracted {
    let compression = media_type::layer_compression(info.media_type).expect("a layer");
    let extracted = apply_layer(bytes, compression, dir, &ExtractOptions::default()).expect("extracted");
    assert_eq!(extracted.diff_id, info.diff_id);
    assert_eq!(extracted.uncompressed_size, info.uncompressed_size);
    assert_eq!(extracted.entries, info.entries);
    assert!(extracted.implied_directories.is_empty());
    extracted
}

/// Layer of `dir`, and layer of what that extracts to.
fn there_and_back(dir: &Path, compression: Compression) -> (Vec<u8>, Vec<u8>) {
    let (info, bytes) = layer(dir, compression);
    let back = tempfile::tempdir().expect("temp dir");
    apply(&info, &bytes, back.path());
    (bytes, layer(back.path(), compression).1)
}

#[test]
fn one_of_everything_survives() {
    let dir = tempfile::tempdir().expect("temp dir");
    trees::make(dir.path(), &trees::sample(), 4);
    for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
        let (there, back) = there_and_back(dir.path(), compression);
        assert!(there == back, "{compression:?}");
    }
}

#[test]
fn owners_devices_and_capabilities_survive() {
    if trees::skip_as_user("a round trip of owners, devices and capabilities") {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name);
    for (name, mode, uid) in [("setuid", 0o4711, 1000), ("capable", 0o755, 0), ("far", 0o644, 3_000_000_000)]
    {
        std::fs::write(at(name), name).expect("file");
        rustix::fs::chown(at(name), Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid / 2))).expect("owner");
        rustix::fs::chmod(at(name), Mode::from_raw_mode(mode)).expect("mode");
    }
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(at("capable"), "security.capability", &capability, XattrFlags::empty())
        .expect("capability");
    rustix::fs::setxattr(at("capable"), "trusted.overlay.origin", b"x", XattrFlags::empty())
        .expect("trusted");
    let device = rustix::fs::makedev(259, 70_000);
    rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
        .expect("device");
    std::os::unix::fs::symlink("setuid", at("link")).expect("symlink");
    rustix::fs::chownat(CWD, at("link"), Some(Uid::from_raw(7)), None, AtFlags::SYMLINK_NOFOLLOW)
        .expect("owner of the link");

    let (info, bytes) = layer(dir.path(), Compression::None);
    let back = tempfile::tempdir().expect("temp dir");
    apply(&info, &bytes, back.path());
    assert!(layer(back.path(), Compression::None).1 == bytes);
    let setuid = back.path().join("setuid").metadata().expect("file");
    assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o4711, 1000, 500));
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(back.path().join("capable"), "security.capability", &mut value[..])
        .expect("capability");
    assert_eq!(value[..length], capability);
    assert!(!String::from_utf8_lossy(&bytes).contains("trusted.overlay"));
}

#[test]
fn squashed_files_are_ours_and_set_ones_are_as_asked() {
    let mut entry = Entry::file("file", 0, 0o640);
    (entry.uid, entry.gid) = (12_345, 54_321);
    let mut bytes = Vec::new();
    let options = LayerOptions { compression: Compression::None, ..LayerOptions::default() };
    write_layer_with::<_, DiffError>(&options, &mut bytes, |layer| {
        Ok(layer.append(&entry, std::io::empty())?)
    })
    .expect("layer");
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut cases = vec![(Ownership::Squash, ours), (Ownership::Set { uid: ours.0, gid: ours.1 }, ours)];
    if !trees::skip_as_user("giving files away") {
        cases.push((Ownership::Keep, (12_345, 54_321)));
        cases.push((Ownership::Set { uid: 3, gid: 4 }, (3, 4)));
    }
    for (ownership, expected) in cases {
        let dir = tempfile::tempdir().expect("temp dir");
        let options = ExtractOptions { ownership, ..ExtractOptions::default() };
        apply_layer(bytes.as_slice(), media_type::LayerCompression::None, dir.path(), &options).expect("ok");
        let made = dir.path().join("file").metadata().expect("file");
        assert_eq!((made.uid(), made.gid()), expected, "{ownership:?}");
    }
}

#[test]
fn a_device_that_may_not_be_made_is_reported_and_not_faked() {
    let null = Entry::new("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666);
    let mut bytes = Vec::new();
    let options = LayerOptions { compression: Compression::None, ..LayerOptions::default() };
    write_layer_with::<_, DiffError>(
        &options,
        &mut bytes,
        |layer| Ok(layer.append(&null, std::io::empty())?),
    )
    .expect("layer");
    let dir = tempfile::tempdir().expect("temp dir");
    let options = ExtractOptions { ownership: Ownership::Squash, ..ExtractOptions::default() };
    let extracted =
        apply_layer(bytes.as_slice(), media_type::LayerCompression::None, dir.path(), &options).expect("ok");
    let made = dir.path().join("null").symlink_metadata();
    if trees::is_root() {
        assert_eq!(made.expect("device").rdev(), rustix::fs::makedev(1, 3));
        assert!(extracted.skipped_devices.is_empty());
    } else {
        assert!(made.is_err());
        assert_eq!(extracted.skipped_devices, [std::path::PathBuf::from("null")]);
    }
}

/// Names that sort, escape and confuse in different ways.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "a.b", "a-b", "A", ".h", " ", "\u{e9}", "wh", "=\n"])
            .prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(1..=255_u8, 1..40).prop_filter("a file name", |name| {
            !name.contains(&b'/') && !name.starts_with(b".wh.") && name != b"." && name != b".."
        }),
        1 => (90..250_usize).prop_map(|length| vec![b'n'; length]),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    // The owner can read and enter, so that the test runs as a normal user too.
    let mode = |least: u32| (0..0o10_000_u32).prop_map(move |mode| mode | least);
    let content = prop_oneof![
        4 => vec(any::<u8>(), 0..2000),
        1 => (0..1_600_000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    prop_oneof![
        3 => (mode(0o700), any::<bool>()).prop_map(|(mode, opaque)| Node::Directory { mode, opaque }),
        5 => (content, mode(0o400), prop::option::of(vec(any::<u8>(), 0..50)))
            .prop_map(|(content, mode, attribute)| Node::File { content, mode, attribute }),
        2 => vec(1..=255_u8, 1..150).prop_map(|target| Node::Symlink { target }),
        1 => Just(Node::Fifo),
        2 => Just(Node::Whiteout),
    ]
}

/// Any delta: nodes at paths up to four deep, some files with a second name.
fn tree() -> impl Strategy<Value = Tree> {
    let nodes = vec((vec(name(), 1..4), node(), -1_000_000..9_000_000_000_i64), 0..25);
    (nodes, vec((name(), any::<prop::sample::Index>()), 0..3)).prop_map(|(nodes, links)| {
        let mut tree = Tree::new();
        for (parts, node, mtime) in nodes {
            let blocked = (1..parts.len()).any(|depth| {
                matches!(tree.get(&parts[..depth].join(&b'/')), Some((node, _)) if !matches!(node, Node::Directory { .. }))
            });
            if blocked || tree.contains_key(&parts.join(&b'/')) {
                continue;
            }
            for depth in 1..parts.len() {
                let parent = Node::Directory { mode: 0o755, opaque: false };
                tree.entry(parts[..depth].join(&b'/')).or_insert((parent, mtime / 2));
            }
            tree.insert(parts.join(&b'/'), (node, mtime));
        }
        let files: BTreeMap<Vec<u8>, i64> = tree
            .iter()
            .filter(|(_, (node, _))| matches!(node, Node::File { .. }))
            .map(|(path, (_, mtime))| (path.clone(), *mtime))
            .collect();
        for (name, which) in links.into_iter().filter(|_| !files.is_empty()) {
            let (to, mtime) = which.get(&files.iter().collect::<Vec<_>>()).to_owned();
            tree.entry(name).or_insert((Node::Link { to: to.clone() }, *mtime));
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_delta_survives(tree in tree(), seed in any::<u64>()) {
        let dir = tempfile::tempdir().expect("temp dir");
        trees::make(dir.path(), &tree, seed);
        let (there, back) = there_and_back(dir.path(), Compression::Gzip { level: 1 });
        prop_assert!(there == back);
    }

    #[test]
    fn any_delta_has_one_layer(tree in tree(), seeds in any::<(u64, u64)>()) {
        let [one, other] = [seeds.0, seeds.1].map(|seed| {
            let dir = tempfile::tempdir().expect("temp dir");
            trees::make(dir.path(), &tree, seed);
            layer(dir.path(), Compression::None).1
        });
        prop_assert!(one == other);
    }
}
