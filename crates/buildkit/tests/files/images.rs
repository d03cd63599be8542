//! Images that a daemon sends.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use archway_buildkit::{
    SolveError,
    session::{Receiver, SessionError},
};
use archway_report::Reason;
use tokio::io::AsyncWrite;

use crate::scene::{Memory, Scene, image, lent};

const DOCKERFILE: &str = "FROM scratch\nCOPY file /\n";

fn context() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "content").unwrap();
    directory
}

#[test]
fn every_export_goes_to_its_receiver() {
    let Some(scene) = Scene::start() else { return };
    let directory = context();
    let mut solve = image(0);
    let mut tar = solve.exports[0].clone();
    tar.kind = "tar".into();
    tar.attributes.clear();
    solve.exports.push(tar);
    let (first, second) = (Memory::default(), Memory::default());
    let mut lent = lent(DOCKERFILE, directory.path());
    lent.receivers = BTreeMap::from([
        (0, Arc::new(first.clone()) as Arc<dyn Receiver>),
        (1, Arc::new(second.clone()) as Arc<_>),
    ]);
    scene.solve(solve, lent, "images").unwrap();
    let has = |memory: &Memory, name: &[u8]| memory.bytes().windows(name.len()).any(|window| window == name);
    assert!(has(&first, b"oci-layout") && !has(&second, b"oci-layout"));
    assert!(has(&second, b"content"));
}

/// Cannot be opened, or not written, or not finished.
#[derive(Clone, Copy)]
enum Full {
    Opened,
    Written,
    Finished,
}

impl Receiver for Full {
    fn open(&self) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
        match self {
            Self::Opened => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(Box::new(*self)),
        }
    }
}

impl AsyncWrite for Full {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(match *self {
            Self::Written => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(bytes.len()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::StorageFull.into()))
    }
}

#[test]
fn an_image_that_cannot_be_written_fails_the_build() {
    let Some(scene) = Scene::start() else { return };
    let directory = context();
    for full in [Full::Opened, Full::Written, Full::Finished] {
        let mut lent = lent(DOCKERFILE, directory.path());
        lent.receivers = BTreeMap::from([(0, Arc::new(full) as Arc<dyn Receiver>)]);
        let error = scene.solve(image(0), lent, "full").unwrap_err();
        assert!(
            matches!(&error, SolveError::Session { source: SessionError::Receive { source }, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        assert_eq!(error.reason(), Reason::BuilderFailed);
    }
}

#[test]
fn an_image_that_nobody_waits_for_fails_the_build() {
    let Some(scene) = Scene::start() else { return };
    let directory = context();
    let mut solve = image(0);
    solve.exports.push(solve.exports[0].clone());
    let mut lent = lent(DOCKERFILE, directory.path());
    lent.receivers = BTreeMap::from([(0, Arc::new(Memory::default()) as Arc<dyn Receiver>)]);
    let error = scene.solve(solve, lent, "nobody").unwrap_err();
    assert!(error.to_string().contains("nobody waits for the image of export 1"), "{error}");
}
