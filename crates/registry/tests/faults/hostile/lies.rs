//! Another content than was asked for or sent.

use archway_oci::{Digest, media_type};
use archway_registry::{Error, Pushed};

use crate::{
    push::uploads,
    server::{Answer, Server, blob, client, file, read},
};

/// What is pushed, and what came of it.
async fn push(server: &Server, from: &[String]) -> Result<Pushed, Error> {
    let (bytes, descriptor) = blob(1000);
    let (_directory, path) = file(&bytes);
    client().push_blob(&server.reference("app"), &descriptor, &path, from, |_| {}).await
}

#[tokio::test]
async fn a_registry_that_stored_something_else_is_not_believed() {
    let other = Digest::sha256(b"other");
    let said = other.clone();
    let server = uploads(move |seen, _| {
        let stored = Answer::status(201).header("docker-content-digest", &said);
        (seen.method == "PUT" || seen.path.contains("?mount=")).then_some(stored)
    })
    .await;
    let reference = server.reference("app:1");
    let manifest = client().push_manifest(&reference, media_type::OCI_MANIFEST, "{}".into()).await;
    for error in [
        push(&server, &[]).await.unwrap_err(),
        push(&server, &["from".into()]).await.unwrap_err(),
        manifest.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::DigestMismatch { actual, .. } if *actual == other), "{error:?}");
    }
}

#[tokio::test]
async fn what_a_registry_rightly_says_that_it_stored_is_believed() {
    let digest = blob(1000).1.digest;
    let sha512 = format!("sha512:{}", "0".repeat(128));
    for said in [digest.as_str(), &sha512, "nonsense"] {
        let said = said.to_owned();
        let server = uploads(move |seen, _| {
            (seen.method == "PUT").then(|| Answer::status(201).header("docker-content-digest", &said))
        })
        .await;
        assert_eq!(push(&server, &[]).await.unwrap(), Pushed::Uploaded);
    }
}

#[tokio::test]
async fn a_blob_that_is_smaller_than_was_said_is_refused() {
    let (bytes, mut descriptor) = blob(1000);
    descriptor.size = 5000;
    let server = Server::start(move |seen| match seen.header("range") {
        None => Answer::bytes(&bytes),
        Some(_) => Answer::status(416).header("content-range", "bytes */1000"),
    })
    .await;
    let error = read(&client(), &server.reference("app"), &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 5000, actual: 1000, .. }), "{error:?}");
}
