//! Names and links that lead out of the directory.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use archway_layer::ExtractError;

use super::Scene;
use crate::raw::{archive, directory, entry, file, hardlink, pax, symlink};

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
        vec![hardlink("x", "later"), file("later", "")],
        vec![hardlink("x", "y"), hardlink("y", "x")],
        vec![file("gone", ""), symlink("gone", "elsewhere"), hardlink("x", "gone/y")],
        // What hides something is no file.
        vec![file(".wh.gone", ""), hardlink("x", "gone")],
        vec![entry(b'3', "gone", "", b""), hardlink("x", "gone")],
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
fn hard_links_to_directories_are_refused() {
    for parts in [
        vec![directory("d"), hardlink("x", "d")],
        vec![file("d/f", ""), hardlink("d/x", "d")],
        vec![directory("d"), symlink("way", "d"), hardlink("x", "way/../d")],
    ] {
        assert!(Scene::new().apply(&archive(&parts)).is_err());
    }
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
fn names_are_bytes() {
    let scene = Scene::new();
    let name = b"caf\xe9";
    scene.apply(&archive(&[pax(&[("path", name)]), file("x", "")])).expect("extracted");
    assert!(scene.delta().join(OsStr::from_bytes(name)).exists());
}
