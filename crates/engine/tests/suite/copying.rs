//! COPY, where what is already there matters.

use std::{
    collections::HashSet,
    os::unix::fs::{MetadataExt as _, PermissionsExt, symlink},
};

use archway_engine::{PlacementError, StepError};
use archway_layer::extract::Ownership;
use archway_oci::Platform;
use archway_testkit::image::LayerBuilder;

use crate::workshop::{Workshop, attributes, is_root, read, write};

#[tokio::test]
async fn a_link_of_an_earlier_source_is_never_followed() {
    if !is_root() {
        return;
    }
    let workshop = Workshop::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::create_dir(workshop.context().join("a")).unwrap();
    symlink(outside.path(), workshop.context().join("a/x")).unwrap();
    write(workshop.context().join("b/x/file"), "hello");
    let failure = workshop.build("FROM scratch\nCOPY a b /to/\n").await.unwrap_err();
    let refused = |error: &StepError| matches!(error, StepError::Placement(PlacementError::NotADirectory(path)) if path == "/to/x");
    assert!(refused(&failure.error), "{failure:?}");
    assert_eq!(outside.path().metadata().unwrap().mode() & 0o7777, 0o700);
}

#[tokio::test]
async fn the_destination_keeps_its_attributes_and_what_is_in_a_source_keeps_its_own() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    let builder = LayerBuilder::new().directory("srv", 0o711).unwrap().directory("srv/in", 0o711).unwrap();
    workshop.base("base", &Platform::host(), &[builder.finish().unwrap()]);
    write(workshop.context().join("tree/in/file"), "hello");
    let tree = workshop.context().join("tree");
    std::fs::set_permissions(&tree, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::set_permissions(tree.join("in"), PermissionsExt::from_mode(0o750)).unwrap();
    let dockerfile =
        "FROM base\nCOPY --chown=7:8 tree /srv\nCOPY --chown=7:8 --chmod=750 tree/in/file /new/\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert_eq!(attributes(&view, "/srv"), (0o711, 0, 0));
    assert_eq!(attributes(&view, "/srv/in"), (0o750, 7, 8));
    assert_eq!(attributes(&view, "/new"), (0o750, 7, 8));
}

#[tokio::test]
async fn names_of_one_file_stay_so_within_a_source_and_no_further() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    let builder = LayerBuilder::new().file("a/one", 0o644, b"linked").unwrap();
    let builder = builder.hard_link("a/two", "a/one").unwrap().hard_link("b/two", "a/one").unwrap();
    let builder = builder.file("b/one", 0o644, b"other").unwrap();
    workshop.base("links", &Platform::host(), &[builder.finish().unwrap()]);
    let dockerfile = "FROM scratch\nCOPY --from=links /a /b /to/\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert_eq!(read(&view, "/to/one").as_deref(), Some("other"));
    assert_eq!(read(&view, "/to/two").as_deref(), Some("linked"));

    let dockerfile = "FROM scratch\nCOPY --from=links /a /to/\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert_eq!(view.stat("/to/one").unwrap().unwrap().st_nlink, 2);
}

#[tokio::test]
async fn one_copy_onto_many_bases_is_one_delta() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    let names = ["amd64", "arm64", "386", "ppc64le", "s390x", "riscv64"];
    let platforms = names.map(|name| format!("linux/{name}").parse::<Platform>().unwrap());
    for (name, platform) in names.iter().zip(&platforms) {
        let builder = LayerBuilder::new().directory("srv", 0o755).unwrap();
        let own = builder.file("srv/machine", 0o644, name.as_bytes()).unwrap().finish().unwrap();
        workshop.base("base", platform, &[own]);
    }
    write(workshop.context().join("file"), "the same everywhere");
    let runs = workshop.start("FROM base\nWORKDIR /srv/app\nCOPY file .\n", &platforms);
    let mut made = HashSet::new();
    for run in runs {
        let image = run.result.await.unwrap().image.unwrap();
        made.extend(image.layers[1..].iter().map(|layer| layer.descriptor.digest.clone()));
    }
    assert_eq!(made.len(), 2);
    let bases = platforms.len();
    assert_eq!(workshop.engine.store.snapshots().list().unwrap().len(), bases + 2);
}

#[tokio::test]
async fn results_of_a_machine_with_a_single_user_id_are_not_those_of_one_with_many() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    write(workshop.context().join("file"), "hello");
    for (ownership, owner) in [(Ownership::Squash, (0, 0)), (Ownership::Keep, (7, 8))] {
        workshop.engine.ownership = ownership;
        let built = workshop.build("FROM scratch\nCOPY --chown=7:8 file /\n").await.unwrap();
        let (_, uid, gid) = attributes(&workshop.view(&built).await, "/file");
        assert_eq!((uid, gid), owner);
    }
}
