//! Whiteouts and the marks of overlayfs, real and forged.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use archway_layer::{
    ExtractError, LayerOptions, apply_layer,
    contents::{Contents, Keep, LayerContents, Meta},
    write_layer,
};
use archway_oci::media_type::LayerCompression;

use super::{Scene, options};
use crate::raw::{archive, directory, entry, file, pax, symlink};

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

/// A character device 0/0 is a whiteout to overlayfs, and so it has to be one to those who only read.
#[test]
fn a_device_that_hides_something_is_a_whiteout_to_everyone() {
    let base = archive(&[file("hidden", ""), file("kept", "")]);
    let forged = archive(&[file("own", ""), entry(b'3', "own", "", b""), entry(b'3', "hidden", "", b"")]);
    let read = |bytes: &[u8]| LayerContents::read(bytes, &|_: &Meta<'_>| Keep::Nothing).expect("contents");
    let (base, forged_contents) = (read(&base), read(&forged));
    let root = Contents::stack([&base, &forged_contents]);
    assert_eq!(root.iter().map(|(path, _)| path).collect::<Vec<_>>(), [b"kept"]);
    let scene = Scene::new();
    scene.apply(&forged).expect("extracted");
    for path in ["own", "hidden"] {
        let made = scene.delta().join(path).symlink_metadata().expect("made");
        assert!(made.file_type().is_char_device() && made.rdev() == 0, "{path}");
    }
}
