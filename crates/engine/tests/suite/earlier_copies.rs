//! What a copy takes from the one before it, and that nobody can tell.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use archway_engine::Built;
use archway_testkit::process;

use crate::workshop::{Workshop, is_root, read, write};

const FILES: usize = 200;
const DOCKERFILE: &str = "FROM scratch\nCOPY tree /srv\n";

/// A context of more than 1 MiB.
fn workshop() -> Workshop {
    let workshop = Workshop::new();
    for number in 0..FILES {
        let content = format!("{number} ").repeat(3000);
        write(workshop.context().join(format!("tree/d{}/{number}", number % 7)), &content);
    }
    workshop
}

/// Builds, and returns the delta of the copy with its layer.
async fn build(workshop: &Workshop, dockerfile: &str) -> (Built, PathBuf) {
    let store = &workshop.engine.store;
    let before = store.snapshots().list().unwrap();
    let built = workshop.build(dockerfile).await.unwrap();
    let mut made = store.snapshots().list().unwrap();
    made.retain(|key| !before.contains(key));
    let [made] = made.as_slice() else { panic!("{made:?}") };
    let path = store.snapshots().path(made).unwrap().unwrap();
    (built, path)
}

/// How many files of two deltas are the same on the disk.
fn shared(one: &PathBuf, other: &PathBuf) -> usize {
    let same = |number: &usize| {
        let path = format!("srv/d{}/{number}", number % 7);
        let inode = |delta: &PathBuf| delta.join(&path).metadata().ok().map(|status| status.ino());
        inode(one).is_some() && inode(one) == inode(other)
    };
    (0..FILES).filter(same).count()
}

fn layer(built: &Built) -> String {
    built.image.as_ref().unwrap().layers[0].descriptor.digest.to_string()
}

#[tokio::test]
async fn files_that_did_not_change_are_not_written_again() {
    if !is_root() {
        return;
    }
    let workshop = workshop();
    let (_, first) = build(&workshop, DOCKERFILE).await;
    write(workshop.context().join("tree/d3/3"), "another content");
    fs::remove_file(workshop.context().join("tree/d5/5")).unwrap();
    fs::set_permissions(
        workshop.context().join("tree/d4/4"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    process::output(
        std::process::Command::new("touch")
            .args(["-d", "2001-01-01 UTC"])
            .arg(workshop.context().join("tree/d6/6")),
    )
    .unwrap();
    let (built, second) = build(&workshop, DOCKERFILE).await;
    assert_eq!(shared(&first, &second), FILES - 4);

    let view = workshop.view(&built).await;
    assert_eq!(read(&view, "/srv/d3/3").as_deref(), Some("another content"));
    assert_eq!(read(&view, "/srv/d5/5"), None);
    assert_eq!(view.stat("/srv/d4/4").unwrap().unwrap().st_mode & 0o777, 0o600);
    assert_eq!(view.stat("/srv/d6/6").unwrap().unwrap().st_mtime, 978_307_200);

    // A machine that builds this for the first time makes the same layer.
    let elsewhere = Workshop::new();
    fs::remove_dir(elsewhere.context()).unwrap();
    let copy = ["-a".into(), workshop.context(), elsewhere.context()];
    process::output(std::process::Command::new("cp").args(copy)).unwrap();
    assert_eq!(layer(&built), layer(&build(&elsewhere, DOCKERFILE).await.0));
}

#[tokio::test]
async fn files_are_shared_only_as_they_are_and_where_they_are() {
    if !is_root() {
        return;
    }
    let workshop = workshop();
    let (_, first) = build(&workshop, DOCKERFILE).await;
    let (_, owned) = build(&workshop, "FROM scratch\nCOPY --chown=7:8 tree /srv\n").await;
    assert_eq!(shared(&first, &owned), 0);
    assert_eq!(owned.join("srv/d0/0").metadata().unwrap().uid(), 7);
    assert_eq!(first.join("srv/d0/0").metadata().unwrap().uid(), 0);

    // Two copies in one image: every path is a file of its own.
    let built = workshop.build("FROM scratch\nCOPY tree /a\nCOPY tree /b\n").await.unwrap();
    let view = workshop.view(&built).await;
    let status = |path: &str| view.stat(path).unwrap().unwrap();
    assert_ne!(status("/a/d0/0").st_ino, status("/b/d0/0").st_ino);
}

#[tokio::test]
async fn a_delta_that_was_removed_is_not_missed() {
    if !is_root() {
        return;
    }
    let workshop = workshop();
    let (_, first) = build(&workshop, DOCKERFILE).await;
    fs::remove_dir_all(&first).unwrap();
    write(workshop.context().join("tree/d3/3"), "another content");
    let (_, second) = build(&workshop, DOCKERFILE).await;
    assert_eq!(second.join("srv/d0/0").metadata().unwrap().nlink(), 1);
}

#[tokio::test]
async fn names_of_one_file_are_not_shared_with_another_delta() {
    if !is_root() {
        return;
    }
    let workshop = workshop();
    let tree = workshop.context().join("tree");
    fs::hard_link(tree.join("d0/0"), tree.join("d0/zero")).unwrap();
    build(&workshop, DOCKERFILE).await;
    write(tree.join("d3/3"), "another content");
    let (_, second) = build(&workshop, DOCKERFILE).await;
    let status = |path: &str| second.join(path).metadata().unwrap();
    assert_eq!(status("srv/d0/0").ino(), status("srv/d0/zero").ino());
    assert_eq!(status("srv/d0/0").nlink(), 2);
}
