//! Pulling from registries, proxies and networks that misbehave.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use crate::server::{Answer, Server, blob, client, options, read};
use archway_oci::{Digest, media_type};
use archway_registry::{Client, ClientOptions, Error};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

fn manifest() -> Answer {
    Answer::bytes(MANIFEST).header("content-type", media_type::OCI_MANIFEST)
}

/// Answers the first requests one by one, all others with the last answer; the first contact is none.
pub(crate) async fn answering(answers: Vec<Answer>) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |seen| match seen.path.as_str() {
        "/v2/" => Answer::status(200),
        _ => answers[count.fetch_add(1, SeqCst).min(answers.len() - 1)].clone(),
    })
    .await
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let busy = Answer::status(429).header("retry-after", "0");
    let server = answering(vec![busy, Answer::status(503), Answer::HangUp, manifest()]).await;
    let fetched = client().manifest(&server.reference("app:1")).await.unwrap();
    assert_eq!(fetched.bytes, MANIFEST);
    assert_eq!(fetched.descriptor.media_type, media_type::OCI_MANIFEST);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn tries_end() {
    let server = answering(vec![Answer::status(502)]).await;
    let error = client().manifest(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, Error::Registry { status: 502, .. }), "{error:?}");
    assert_eq!(server.seen().len(), 4, "one try and three repetitions");
}

#[tokio::test]
async fn a_refused_connection_is_an_error_at_once() {
    let server = Server::start(|_| Answer::status(200)).await;
    let reference = server.reference("app:1");
    drop(server);
    let patient = ClientOptions { retry_delay: Duration::from_secs(3600), ..options() };
    let error = Client::new(patient).manifest(&reference).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_first_contact_that_breaks_is_made_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/v2/" if count.fetch_add(1, SeqCst) == 0 => Answer::HangUp,
        "/v2/" => Answer::status(200),
        _ => manifest(),
    })
    .await;
    assert_eq!(client().manifest(&server.reference("app:1")).await.unwrap().bytes, MANIFEST);
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_not_waited_for_forever() {
    let server = answering(vec![Answer::Silence]).await;
    let hasty = ClientOptions { silence: Duration::from_millis(50), retries: 1, ..options() };
    let error = Client::new(hasty).manifest(&server.reference("app:1")).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_manifest_that_is_cut_is_fetched_again() {
    let cut = Answer::bytes(&MANIFEST[..9]).header("content-type", media_type::OCI_MANIFEST).cut(22);
    let server = answering(vec![cut, manifest()]).await;
    assert_eq!(client().manifest(&server.reference("app:1")).await.unwrap().bytes, MANIFEST);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_was_asked_for_is_refused() {
    let server = answering(vec![manifest()]).await;
    let other = Digest::sha256(b"other");
    let error = client().manifest(&server.reference("app").with_digest(other)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn a_manifest_that_is_not_what_the_registry_says_is_refused() {
    let said = Digest::sha256(b"other");
    let server = answering(vec![manifest().header("docker-content-digest", said)]).await;
    let error = client().manifest(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn head_tells_digest_and_size() {
    let digest = Digest::sha256(MANIFEST);
    let head = manifest().header("docker-content-digest", &digest);
    let server = answering(vec![head]).await;
    let descriptor = client().head_manifest(&server.reference("app:1")).await.unwrap().unwrap();
    assert_eq!((descriptor.size, &descriptor.digest), (MANIFEST.len() as u64, &digest));
    assert_eq!(server.methods("/v2/app"), ["HEAD"]);
}

#[tokio::test]
async fn a_registry_without_a_useful_head_is_asked_with_get() {
    for head in [Answer::status(405), manifest()] {
        let server = answering(vec![head, manifest()]).await;
        let descriptor = client().head_manifest(&server.reference("app:1")).await.unwrap().unwrap();
        assert_eq!(descriptor.digest, Digest::sha256(MANIFEST));
        assert_eq!(server.methods("/v2/app"), ["HEAD", "GET"]);
    }
    let server = answering(vec![Answer::status(404)]).await;
    assert_eq!(client().head_manifest(&server.reference("app:1")).await.unwrap(), None);
}

#[tokio::test]
async fn a_blob_goes_on_where_the_connection_broke() {
    let (bytes, descriptor) = blob(5000);
    let full = Answer::bytes(&bytes);
    let rest = Answer::status(206).header("content-range", "bytes 1000-4999/5000").body(&bytes[1000..]);
    // A server may start earlier than it was asked to, for example at a block of its own.
    let early = Answer::status(206).header("content-range", "bytes 512-4999/5000").body(&bytes[512..]);
    for second in [rest, early, full] {
        let server = answering(vec![Answer::bytes(&bytes[..1000]).cut(4000), second]).await;
        assert_eq!(read(&client(), &server.reference("app"), &descriptor).await.unwrap(), bytes);
        let seen = server.seen();
        assert_eq!((seen.len(), seen[1].header("range")), (2, Some("bytes=1000-")));
    }
}

#[tokio::test]
async fn another_range_than_was_asked_for_is_refused() {
    let (bytes, descriptor) = blob(5000);
    let late = Answer::status(206).header("content-range", "bytes 2000-4999/5000").body(&bytes[2000..]);
    let server = answering(vec![Answer::bytes(&bytes[..1000]).cut(4000), late]).await;
    let error = read(&client(), &server.reference("app"), &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn what_comes_after_the_last_byte_does_not_matter() {
    let (bytes, descriptor) = blob(5000);
    let server = answering(vec![Answer::bytes(&bytes).cut(1), Answer::status(416)]).await;
    assert_eq!(read(&client(), &server.reference("app"), &descriptor).await.unwrap(), bytes);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_blob_that_always_ends_early_is_an_error() {
    let (bytes, descriptor) = blob(5000);
    // Without a length, an early end looks like the end.
    let server = Server::start(move |seen| match seen.header("range") {
        None => Answer::bytes(&bytes[..1000]),
        Some(_) => Answer::status(206).header("content-range", "bytes 1000-4999/5000"),
    })
    .await;
    let error = read(&client(), &server.reference("app"), &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn damaged_blobs_are_refused() {
    let (mut bytes, descriptor) = blob(5000);
    bytes[17] ^= 1;
    let server = answering(vec![Answer::bytes(&bytes)]).await;
    let error = read(&client(), &server.reference("app"), &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
    let error = client().blob(&server.reference("app"), &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");

    bytes.push(0);
    let server = answering(vec![Answer::bytes(&bytes)]).await;
    let error = read(&client(), &server.reference("app"), &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 5000, actual: 5001, .. }), "{error:?}");
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let (_, descriptor) = blob(0);
    let server = answering(vec![Answer::bytes(b"")]).await;
    assert_eq!(read(&client(), &server.reference("app"), &descriptor).await.unwrap(), b"");
}
