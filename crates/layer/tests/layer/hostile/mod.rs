//! Archives made to do harm, and damaged ones.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use archway_layer::{
    ExtractError, ExtractOptions, Extracted, LayerOptions, Ownership, apply_layer,
    archive::{Fault, Limit, Limits, ReadError},
    write_layer,
};
use archway_oci::media_type::LayerCompression;
use proptest::prelude::*;

use crate::{
    raw::{archive, directory, entry, file, hardlink, header, pax, seal, symlink},
    trees,
};

/// A delta directory next to a directory that must never change.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir(dir.path().join("delta")).expect("delta");
        fs::create_dir(dir.path().join("outside")).expect("outside");
        fs::write(dir.path().join("outside/secret"), "untouched").expect("secret");
        Self { dir }
    }

    fn delta(&self) -> PathBuf {
        self.dir.path().join("delta")
    }

    /// The directory outside, as an absolute path.
    fn outside(&self) -> String {
        self.dir.path().join("outside").to_str().expect("UTF-8").to_owned()
    }

    fn apply(&self, bytes: &[u8]) -> Result<Extracted, ExtractError> {
        let result = apply_layer(bytes, LayerCompression::None, &self.delta(), &options());
        self.check();
        result
    }

    fn check(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path()).expect("list").flatten().collect();
        assert_eq!(names.len(), 2, "something was made beside the delta: {names:?}");
        assert_eq!(fs::read_dir(self.outside()).expect("list").count(), 1);
        let secret = self.dir.path().join("outside/secret");
        assert_eq!(fs::read(&secret).expect("secret"), b"untouched");
        assert_eq!(secret.metadata().expect("secret").nlink(), 1, "the secret has a second name");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.delta().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Every owner is the one who runs the tests, so that they run as a normal user too.
fn options() -> ExtractOptions {
    ExtractOptions { ownership: Ownership::Squash, ..ExtractOptions::default() }
}

#[test]
fn names_that_lead_out_lead_nowhere() {
    for name in
        ["/escaped", "../escaped", "../../../../escaped", "a/../../escaped", "./escaped", "//escaped/"]
    {
        let scene = Scene::new();
        scene.apply(&archive(&[file(name, "inside")])).expect("extracted");
        assert_eq!(scene.read("escaped"), "inside", "{name}");
    }
}

#[test]
fn symbolic_links_on_the_way_stay_inside() {
    let scene = Scene::new();
    let outside = scene.outside();
    for target in ["/", "..", "../..", "/../outside", "../outside", &outside, "/proc/self/root"] {
        let scene = Scene::new();
        scene.apply(&archive(&[symlink("way", target), file("way/secret", "inside")])).expect("extracted");
        let resolved = target.split('/').filter(|part| !matches!(*part, "" | "..")).collect::<PathBuf>();
        assert_eq!(scene.read(resolved.join("secret").to_str().expect("UTF-8")), "inside", "{target}");
    }
}

#[test]
fn the_last_component_is_never_followed() {
    let scene = Scene::new();
    let secret = format!("{}/secret", scene.outside());
    for replacement in
        [file("x", "new"), directory("x"), symlink("x", "elsewhere"), entry(b'6', "x", "", b"")]
    {
        let scene = Scene::new();
        scene.apply(&archive(&[symlink("x", &secret), replacement])).expect("extracted");
        let made = scene.delta().join("x").symlink_metadata().expect("made");
        assert!(
            !made.is_symlink()
                || fs::read_link(scene.delta().join("x")).expect("link") == Path::new("elsewhere")
        );
    }
}

#[test]
fn a_directory_that_becomes_a_link_is_a_link_to_those_who_come_later() {
    let scene = Scene::new();
    let parts = [
        directory("d"),
        file("d/one", "1"),
        symlink("d", &scene.outside()),
        file("d/secret", "inside"),
        hardlink("twin", "d/secret"),
    ];
    let extracted = scene.apply(&archive(&parts)).expect("extracted");
    assert_eq!(scene.read(&format!("{}/secret", &scene.outside()[1..])), "inside");
    assert_eq!(scene.read("twin"), "inside");
    assert!(!extracted.implied_directories.is_empty());
}

#[test]
fn hard_links_reach_only_what_the_archive_made() {
    let scene = Scene::new();
    let secret = format!("{}/secret", scene.outside());
    let cases = [
        vec![hardlink("x", &secret)],
        vec![hardlink("x", "../outside/secret")],
        vec![symlink("way", &scene.outside()), hardlink("x", "way/secret")],
        vec![symlink("way", "../outside"), hardlink("x", "way/secret")],
        vec![hardlink("x", "missing")],
        vec![hardlink("x", "/")],
        vec![file("x", ""), hardlink("x", "x")],
        vec![file("f", ""), hardlink("x", "f/y")],
    ];
    for parts in cases {
        let scene = Scene::new();
        let refused = scene.apply(&archive(&parts));
        assert!(matches!(refused, Err(ExtractError::LinkTarget { .. })), "{refused:?}");
    }
}

#[test]
fn a_hard_link_to_a_symbolic_link_is_one_and_is_not_written_through() {
    let scene = Scene::new();
    let secret = format!("{}/secret", scene.outside());
    let parts = [symlink("way", &secret), hardlink("twin", "way"), file("twin", "new")];
    scene.apply(&archive(&parts)).expect("extracted");
    assert_eq!(scene.read("twin"), "new");
    assert!(scene.delta().join("way").is_symlink());
}

#[test]
fn what_is_in_the_way_is_replaced() {
    let scene = Scene::new();
    let parts = [
        directory("a"),
        directory("a/b"),
        file("a/b/c", "deep"),
        symlink("a/b/d", &scene.outside()),
        file("a", "now a file"),
        file("f", "a file"),
        directory("f"),
        file("f/inside", "now a directory"),
        file("twice", "first"),
        file("twice", "second"),
        directory("kept"),
        file("kept/file", "stays"),
        directory("kept"),
    ];
    scene.apply(&archive(&parts)).expect("extracted");
    assert_eq!(scene.read("a"), "now a file");
    assert_eq!(scene.read("f/inside"), "now a directory");
    assert_eq!(scene.read("twice"), "second");
    assert_eq!(scene.read("kept/file"), "stays");
}

#[test]
fn parents_that_are_missing_are_made_also_at_the_end_of_a_link() {
    let scene = Scene::new();
    let parts = [symlink("lib", "usr/lib"), file("lib/x", "1"), file("p/q/r", "2")];
    let extracted = scene.apply(&archive(&parts)).expect("extracted");
    assert_eq!((scene.read("usr/lib/x"), scene.read("p/q/r")), ("1".into(), "2".into()));
    let implied: Vec<_> = ["p", "p/q", "usr", "usr/lib"].iter().map(PathBuf::from).collect();
    assert_eq!(extracted.implied_directories, implied);
    let made = scene.delta().join("p").metadata().expect("directory");
    assert_eq!((made.mode() & 0o7777, made.mtime()), (0o755, 0));
}

#[test]
fn paths_that_cannot_be_are_errors() {
    for parts in [
        vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "")],
        vec![file("f", ""), file("f/x", "")],
        vec![entry(b'6', "p", "", b""), file("p/x", "")],
        vec![file(&"n".repeat(100), ""), pax(&[("path", "n".repeat(256).as_bytes())]), file("x", "")],
    ] {
        let refused = Scene::new().apply(&archive(&parts));
        assert!(matches!(refused, Err(ExtractError::File { .. })), "{refused:?}");
    }
    assert!(matches!(Scene::new().apply(&archive(&[file("..", "")])), Err(ExtractError::Root)));
}

#[test]
fn whiteouts_become_overlay_markers() {
    let scene = Scene::new();
    let parts = [
        file("dir/.wh.gone", ""),
        file("dir/.wh..wh..opq", ""),
        file("dir/own", "kept"),
        file("dir/.wh.own", ""),
        file(".wh.remade", ""),
        directory("remade"),
        file(".wh.rewritten", ""),
        file("rewritten", "new"),
        file(".wh.parent", ""),
        file("parent/child", "new"),
        directory("before"),
        file(".wh.before", ""),
        file(".wh..wh.plnk/1.2", "AUFS"),
        file(".wh.way", ""),
        symlink("out", "/"),
        file("out/.wh.x", ""),
    ];
    let extracted = scene.apply(&archive(&parts)).expect("extracted");
    let whiteout = |path: &str| {
        let made = scene.delta().join(path).symlink_metadata().expect("made");
        made.file_type().is_char_device() && made.rdev() == 0
    };
    let opaque = |path: &str| {
        let mut value = [0; 1];
        rustix::fs::getxattr(scene.delta().join(path), "user.overlay.opaque", &mut value[..]).is_ok()
            && value == *b"y"
    };
    for path in ["dir/gone", "way", "x"] {
        assert!(whiteout(path), "{path}");
    }
    for path in ["dir", "remade", "parent", "before"] {
        assert!(opaque(path), "{path}");
    }
    assert_eq!((scene.read("dir/own"), scene.read("rewritten")), ("kept".into(), "new".into()));
    assert!(!scene.delta().join(".wh..wh.plnk").exists());
    assert!(!extracted.opaque_root);
}

#[test]
fn an_opaque_root_is_reported() {
    let scene = Scene::new();
    let extracted = scene.apply(&archive(&[directory("./"), file(".wh..wh..opq", "")])).expect("extracted");
    assert!(extracted.opaque_root);
    let mut bytes = Vec::new();
    write_layer(&scene.delta(), &LayerOptions::default(), &mut bytes).expect("layer");
    let again = Scene::new();
    let extracted = apply_layer(bytes.as_slice(), LayerCompression::Gzip, &again.delta(), &options());
    assert!(extracted.expect("extracted").opaque_root);
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..", "d/.wh."] {
        let refused = Scene::new().apply(&archive(&[file(name, "")]));
        assert!(matches!(refused, Err(ExtractError::Whiteout { .. })), "{name}: {refused:?}");
    }
}

#[test]
fn overlay_attributes_cannot_be_forged() {
    let scene = Scene::new();
    let forged = pax(&[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.fine", b"1"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.security.selinux", b"label"),
    ]);
    scene.apply(&archive(&[forged, directory("d")])).expect("extracted");
    let mut names = [0; 1000];
    let length = rustix::fs::listxattr(scene.delta().join("d"), &mut names[..]).expect("list");
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(names.contains("user.fine"), "{names}");
    assert!(!names.contains("overlay"), "{names}");
}

/// What `archive` with limits is refused for.
fn refusal(bytes: &[u8], limits: Limits) -> ReadError {
    let scene = Scene::new();
    let options = ExtractOptions { limits, ..options() };
    match apply_layer(bytes, LayerCompression::None, &scene.delta(), &options) {
        Err(ExtractError::Archive(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn every_limit_holds() {
    let few = Limits { entries: 3, ..Limits::default() };
    let small = Limits { total: Some(100), ..Limits::default() };
    let many: Vec<_> = (0..4).map(|n| file(&n.to_string(), "")).collect();
    let extensions: Vec<_> = (0..4).map(|_| pax(&[("comment", b"x")])).collect();
    let huge_pax = header(b'x', b"x", b"", 2 << 20);
    let endless_pax = header(b'x', b"x", b"", 0o77_777_777_777);
    let huge_name = header(b'L', b"x", b"", 2 << 20);
    let long = "n/".repeat(2049);
    for (bytes, limits, expected) in [
        (archive(&many), few.clone(), Limit::Entries),
        (archive(&extensions), few, Limit::Entries),
        (archive(&[huge_pax]), Limits::default(), Limit::Extension),
        (archive(&[endless_pax]), Limits::default(), Limit::Extension),
        (archive(&[huge_name]), Limits::default(), Limit::Extension),
        (archive(&[pax(&[("path", long.as_bytes())]), file("x", "")]), Limits::default(), Limit::Name),
        (archive(&[entry(b'L', "x", "", long.as_bytes()), file("x", "")]), Limits::default(), Limit::Name),
        (archive(&[entry(b'K', "x", "", long.as_bytes()), symlink("x", "")]), Limits::default(), Limit::Name),
        (archive(&[file("a", &"x".repeat(60)), file("b", &"x".repeat(60))]), small.clone(), Limit::Total),
        (archive(&[header(b'0', b"a", b"", 1 << 30)]), small.clone(), Limit::Total),
        ([archive(&[]), vec![0; 1000]].concat(), small, Limit::Total),
    ] {
        let refused = refusal(&bytes, limits);
        assert!(
            matches!(refused, ReadError::Limit { limit, .. } if limit == expected),
            "{expected}: {refused}"
        );
    }
}

#[test]
fn headers_that_mean_nothing_are_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut block = file("x", "");
        block[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut block);
        block
    };
    let mut broken = file("x", "");
    broken[0] = b'y';
    for (parts, expected) in [
        (vec![broken], Fault::Checksum),
        (vec![vec![0; 512], file("x", "")], Fault::Checksum),
        (vec![with(124, &[0xff; 12])], Fault::Number("size")),
        (vec![with(124, &[0xbf; 12])], Fault::Number("size")),
        (vec![with(124, b"0000000000x")], Fault::Number("size")),
        (vec![with(108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])], Fault::Number("uid")),
        (vec![with(116, &[0x80, 0, 0, 1, 0, 0, 0, 0])], Fault::Number("gid")),
        (vec![pax(&[("uid", b"4294967295")]), file("x", "")], Fault::Number("uid")),
        (vec![with(156, b"Z")], Fault::Type(b'Z')),
        (vec![file("", "")], Fault::Name),
        (vec![symlink("x", "")], Fault::Name),
        (vec![pax(&[("path", b"a\0b")]), file("x", "")], Fault::Pax),
        (vec![entry(b'x', "x", "", b"no records")], Fault::Pax),
        (vec![pax(&[("path", b"a")])], Fault::Dangling),
        (vec![entry(b'L', "x", "", b"name")], Fault::Dangling),
        (vec![pax(&[("GNU.sparse.major", b"0"), ("GNU.sparse.minor", b"1")]), file("x", "")], Fault::Sparse),
        (vec![with(156, b"S")], Fault::Number("nothing")),
    ] {
        if expected == Fault::Number("nothing") {
            // A sparse file of size 0 without segments is sound.
            Scene::new().apply(&archive(&parts)).expect("extracted");
            continue;
        }
        let refused = refusal(&archive(&parts), Limits::default());
        assert!(
            matches!(refused, ReadError::Header { fault, .. } if fault == expected),
            "{expected}: {refused}"
        );
    }
}

#[test]
fn the_size_that_counts_is_the_extension_header_s() {
    // Readers that take the header's size see `hidden` as an entry of its own.
    let hidden = file("hidden", "");
    let size = hidden.len().to_string();
    let mut carrier = header(b'0', b"carrier", b"", 0);
    carrier.extend_from_slice(&hidden);
    let scene = Scene::new();
    scene.apply(&archive(&[pax(&[("size", size.as_bytes())]), carrier])).expect("extracted");
    assert!(!scene.delta().join("hidden").exists());
    assert_eq!(fs::read(scene.delta().join("carrier")).expect("file"), hidden);
    // And other kinds have no data, whatever is said.
    let scene = Scene::new();
    let mut sized = directory("d");
    sized[124..135].copy_from_slice(b"00000001000");
    seal(&mut sized);
    scene.apply(&archive(&[sized, file("seen", "")])).expect("extracted");
    assert!(scene.delta().join("seen").exists());
}

#[test]
fn a_stream_cut_anywhere_is_an_error_or_ends_between_entries() {
    let whole =
        archive(&[directory("d"), file("d/f", &"x".repeat(700)), pax(&[("uid", b"0")]), file("g", "y")]);
    let ends = [0, 512, 512 + 512 + 1024, 512 + 1536 + 1024 + 1024];
    let around_blocks = (0..whole.len()).filter(|length| matches!(length % 512, 0 | 1 | 300 | 511));
    for length in around_blocks {
        let result = Scene::new().apply(&whole[..length]);
        let at_an_end = ends.contains(&length) || length >= whole.len() - 1024 && length % 512 == 0;
        let at_an_extension = length == 512 + 1536 + 1024;
        match result {
            Ok(_) => assert!(at_an_end, "cut at {length}"),
            Err(ExtractError::Archive(ReadError::Truncated { .. })) => assert!(!at_an_end, "cut at {length}"),
            Err(ExtractError::Archive(ReadError::Header { fault: Fault::Dangling, .. })) => {
                assert!(at_an_extension, "cut at {length}");
            }
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
}

#[test]
fn damaged_compression_is_an_error() {
    for (bytes, compression) in [
        (&b"not gzip"[..], LayerCompression::Gzip),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", LayerCompression::Gzip),
        (b"not zstd at all", LayerCompression::Zstd),
        (b"\x28\xb5\x2f\xfd", LayerCompression::Zstd),
        (b"short", LayerCompression::None),
    ] {
        let scene = Scene::new();
        let refused = apply_layer(bytes, compression, &scene.delta(), &options());
        assert!(matches!(refused, Err(ExtractError::Archive(_))), "{refused:?}");
    }
    let scene = Scene::new();
    trees::make(&scene.delta(), &trees::sample(), 0);
    for compression in [archway_layer::Compression::gzip(), archway_layer::Compression::zstd()] {
        let mut bytes = Vec::new();
        let made = LayerOptions { compression, ..LayerOptions::default() };
        write_layer(&scene.delta(), &made, &mut bytes).expect("layer");
        let cut = &bytes[..bytes.len() - 3];
        assert!(apply_layer(cut, compression.format(), &Scene::new().delta(), &options()).is_err());
        let mut trailed = bytes.clone();
        trailed.extend_from_slice(b"garbage after the last member");
        assert!(
            apply_layer(trailed.as_slice(), compression.format(), &Scene::new().delta(), &options()).is_err()
        );
    }
}

#[test]
fn padding_after_the_archive_is_part_of_the_diff_id() {
    let plain = archive(&[file("x", "")]);
    let padded = [plain.clone(), vec![0; 10_000]].concat();
    let diff_ids = [&plain, &padded].map(|bytes| Scene::new().apply(bytes).expect("extracted").diff_id);
    assert_eq!(diff_ids[0], archway_oci::Digest::sha256(&plain));
    assert_eq!(diff_ids[1], archway_oci::Digest::sha256(&padded));
}

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

#[test]
fn names_are_bytes() {
    let scene = Scene::new();
    let name = b"caf\xe9";
    scene.apply(&archive(&[pax(&[("path", name)]), file("x", "")])).expect("extracted");
    assert!(scene.delta().join(std::ffi::OsStr::from_bytes(name)).exists());
}
