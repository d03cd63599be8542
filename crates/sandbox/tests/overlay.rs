//! Detached overlay mounts.

mod fixture;

use std::{fs, path::PathBuf};

use archway_sandbox::{SandboxError, overlay};
use fixture::is_root;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

fn layers(directory: &tempfile::TempDir, count: usize) -> Vec<PathBuf> {
    let layer = |number: usize| {
        let layer = directory.path().join(format!("layer-{number}"));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("file-{number}")), number.to_string()).unwrap();
        layer
    };
    (0..count).map(layer).collect()
}

#[test]
fn hundreds_of_layers_can_be_read_and_not_written() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let layers = layers(&directory, overlay::MAX_LOWERS);
    let root = overlay::mount_detached(&layers, None).unwrap();
    for number in [0, 1, overlay::MAX_LOWERS - 1] {
        let file =
            rustix::fs::openat(&root, format!("file-{number}"), OFlags::RDONLY, Mode::empty()).unwrap();
        assert_eq!(std::io::read_to_string(fs::File::from(file)).unwrap(), number.to_string());
    }
    let written = rustix::fs::mkdirat(&root, "new", Mode::from_raw_mode(0o755));
    assert_eq!(written, Err(rustix::io::Errno::ROFS));
}

#[test]
fn changes_go_to_the_upper_directory_in_overlay_form() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let layers = layers(&directory, 1);
    let (upper, work) = (directory.path().join("upper"), directory.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let root = overlay::mount_detached(&layers, Some((&upper, &work))).unwrap();
    rustix::fs::unlinkat(&root, "file-0", AtFlags::empty()).unwrap();
    rustix::fs::mkdirat(&root, "new", Mode::from_raw_mode(0o755)).unwrap();
    drop(root);
    let again = overlay::mount_detached(&layers, Some((&upper, &work))).unwrap();
    assert!(rustix::fs::statat(&again, "new", AtFlags::empty()).is_ok());
    drop(again);

    assert!(upper.join("new").is_dir());
    let whiteout = rustix::fs::statat(CWD, upper.join("file-0"), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!((FileType::from_raw_mode(whiteout.st_mode), whiteout.st_rdev), (FileType::CharacterDevice, 0));
}

#[test]
fn the_error_says_how_many_layers() {
    let missing = [PathBuf::from("/no/such/a"), PathBuf::from("/no/such/b")];
    let error = overlay::mount_detached(&missing, None).unwrap_err();
    assert!(matches!(error, SandboxError::Overlay { lowers: 2, .. }), "{error:?}");
}
