//! Base images whose layers do not simply add up.

use archway_oci::Platform;
use archway_testkit::image::{Layer, LayerBuilder};

use crate::workshop::{Workshop, attributes, is_root, read};

fn base() -> Layer {
    let builder = LayerBuilder::new().directory("tmp", 0o1777).unwrap().directory("secret", 0o700).unwrap();
    let builder = builder.directory("secret/deep", 0o710).unwrap().file("secret/old", 0o644, b"old").unwrap();
    builder.finish().unwrap()
}

async fn files_of(layers: &[Layer]) -> (Workshop, archway_engine::view::View) {
    let mut workshop = Workshop::new();
    workshop.base("base", &Platform::host(), layers);
    let built = workshop.build("FROM base\nCOPY <<done /done\ndone\n").await.unwrap();
    let view = workshop.view(&built).await;
    (workshop, view)
}

#[tokio::test]
async fn a_directory_that_a_layer_only_implies_is_as_in_the_layers_below() {
    if !is_root() {
        return;
    }
    let builder = LayerBuilder::new().file("tmp/file", 0o644, b"new").unwrap();
    let builder = builder.file("secret/deep/file", 0o644, b"new").unwrap();
    let upper = builder.file("nowhere/file", 0o644, b"new").unwrap().finish().unwrap();
    let (_workshop, view) = files_of(&[base(), upper]).await;
    assert_eq!(attributes(&view, "/tmp"), (0o1777, 0, 0));
    assert_eq!(attributes(&view, "/secret"), (0o700, 0, 0));
    assert_eq!(attributes(&view, "/secret/deep"), (0o710, 0, 0));
    assert_eq!(attributes(&view, "/nowhere"), (0o755, 0, 0));
    assert_eq!(read(&view, "/secret/deep/file").as_deref(), Some("new"));
    assert_eq!(read(&view, "/secret/old").as_deref(), Some("old"));
}

#[tokio::test]
async fn a_layer_may_hide_everything_below() {
    if !is_root() {
        return;
    }
    let builder = LayerBuilder::new().file(".wh..wh..opq", 0o644, b"").unwrap();
    let upper = builder.file("only", 0o644, b"this").unwrap().finish().unwrap();
    let (_workshop, view) = files_of(&[base(), upper]).await;
    assert_eq!(read(&view, "/only").as_deref(), Some("this"));
    assert!(view.stat("/tmp").unwrap().is_none());
}

#[tokio::test]
async fn a_layer_may_come_twice() {
    if !is_root() {
        return;
    }
    let whiteout = LayerBuilder::new().file("secret/.wh.old", 0o644, b"").unwrap().finish().unwrap();
    let (_workshop, view) = files_of(&[base(), whiteout, base()]).await;
    assert_eq!(read(&view, "/secret/old").as_deref(), Some("old"));
}
