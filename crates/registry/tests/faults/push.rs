//! Pushing where requests, answers and whole upload sessions get lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use archway_registry::{Client, ClientOptions, Error, Pushed};

use crate::server::{Answer, Seen, Server, blob, client, file, options};

/// A registry with one repository `app` that keeps an upload as distribution-spec wants it. `fault`
/// may answer in its place.
pub(crate) async fn uploads(
    fault: impl Fn(&Seen, &mut Vec<u8>) -> Option<Answer> + Send + Sync + 'static,
) -> Server {
    let upload = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    Server::start(move |seen| {
        let mut upload = upload.lock().unwrap();
        if let Some(answer) = fault(seen, &mut upload) {
            return answer;
        }
        let opened = Answer::status(202).header("location", "/v2/app/blobs/uploads/1?state=x");
        match seen.method.as_str() {
            "HEAD" if done.load(SeqCst) => Answer::status(200),
            "HEAD" => Answer::status(404),
            "GET" if seen.path == "/v2/" => Answer::status(200),
            "GET" => Answer::status(204).header("range", range(&upload)),
            "POST" => {
                upload.clear();
                opened
            }
            "PATCH" => {
                upload.extend_from_slice(&seen.body);
                opened.header("range", range(&upload))
            }
            "PUT" => {
                upload.extend_from_slice(&seen.body);
                done.store(upload.len() == 1000, SeqCst);
                Answer::status(if upload.len() == 1000 { 201 } else { 400 })
            }
            _ => Answer::status(204),
        }
    })
    .await
}

fn range(upload: &[u8]) -> String {
    format!("0-{}", upload.len().saturating_sub(1))
}

async fn push(client: &Client, server: &Server) -> Result<Pushed, Error> {
    push_mounting(client, server, &[]).await
}

async fn push_mounting(client: &Client, server: &Server, from: &[String]) -> Result<Pushed, Error> {
    let (bytes, descriptor) = blob(1000);
    let (_directory, path) = file(&bytes);
    client.push_blob(&server.reference("app"), &descriptor, &path, from, |_| {}).await
}

/// True at the first call.
pub(crate) fn once() -> impl Fn() -> bool {
    let called = AtomicBool::new(false);
    move || !called.swap(true, SeqCst)
}

fn in_chunks() -> Client {
    Client::new(ClientOptions { upload_chunk: 400, ..options() })
}

#[tokio::test]
async fn a_small_blob_takes_three_requests() {
    let server = uploads(|_, _| None).await;
    assert_eq!(push(&client(), &server).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PUT"]);
    let put = server.seen().pop().unwrap();
    let (bytes, descriptor) = blob(1000);
    assert_eq!(
        put.path,
        format!("/v2/app/blobs/uploads/1?state=x&digest=sha256%3A{}", descriptor.digest.hex())
    );
    assert_eq!(put.body, bytes);
    assert_eq!(push(&client(), &server).await.unwrap(), Pushed::Existed);
}

#[tokio::test]
async fn a_broken_request_goes_on_with_what_did_not_arrive() {
    let broken = once();
    let server = uploads(move |seen, upload| {
        (seen.method == "PUT" && broken()).then(|| {
            upload.extend_from_slice(&seen.body[..300]);
            Answer::HangUp
        })
    })
    .await;
    assert_eq!(push(&client(), &server).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PUT", "HEAD", "GET", "PUT"]);
    let put = server.seen().pop().unwrap();
    assert_eq!((put.body.as_slice(), put.header("content-range")), (&blob(1000).0[300..], Some("300-999")));
}

#[tokio::test]
async fn a_broken_chunk_goes_on_where_the_registry_says() {
    let broken = once();
    let server = uploads(move |seen, upload| {
        (seen.method == "PATCH" && !upload.is_empty() && broken()).then(|| {
            upload.extend_from_slice(&seen.body[..50]);
            Answer::HangUp
        })
    })
    .await;
    assert_eq!(push(&in_chunks(), &server).await.unwrap(), Pushed::Uploaded);
    let sent: Vec<String> = server
        .seen()
        .iter()
        .filter_map(|seen| Some(format!("{} {}", seen.method, seen.header("content-range")?)))
        .collect();
    assert_eq!(sent, ["PATCH 0-399", "PATCH 400-799", "PATCH 450-849", "PUT 850-999"]);
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_blob() {
    let lost = once();
    let arrived = AtomicBool::new(false);
    let server = uploads(move |seen, _| match seen.method.as_str() {
        "PUT" if lost() => {
            arrived.store(true, SeqCst);
            Some(Answer::HangUp)
        }
        "HEAD" if arrived.load(SeqCst) => Some(Answer::status(200)),
        _ => None,
    })
    .await;
    assert_eq!(push(&client(), &server).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PUT", "HEAD"]);
}

#[tokio::test]
async fn a_session_that_the_registry_forgot_is_replaced() {
    // As Debian's docker-registry does after a broken request: the session is gone.
    let lost = AtomicBool::new(false);
    let server = uploads(move |seen, upload| match seen.method.as_str() {
        "PUT" if upload.is_empty() && !lost.load(SeqCst) => {
            lost.store(true, SeqCst);
            upload.push(b'x');
            Some(Answer::HangUp)
        }
        "GET" | "PUT" if !upload.is_empty() => Some(Answer::status(404)),
        _ => None,
    })
    .await;
    assert_eq!(push(&client(), &server).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PUT", "HEAD", "GET", "POST", "PUT"]);
}

#[tokio::test]
async fn an_overloaded_registry_is_asked_what_it_has() {
    let busy = once();
    let server = uploads(move |seen, _| {
        (seen.method == "PATCH" && busy()).then(|| Answer::status(503).header("retry-after", "0"))
    })
    .await;
    assert_eq!(push(&in_chunks(), &server).await.unwrap(), Pushed::Uploaded);
    let methods = server.methods("/v2/app");
    assert_eq!(methods, ["HEAD", "POST", "PATCH", "HEAD", "GET", "PATCH", "PATCH", "PUT"]);
}

#[tokio::test]
async fn a_registry_without_chunks_gets_the_blob_whole() {
    for status in [400, 405] {
        let server = uploads(move |seen, _| (seen.method == "PATCH").then(|| Answer::status(status))).await;
        assert_eq!(push(&in_chunks(), &server).await.unwrap(), Pushed::Uploaded);
        assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PATCH", "HEAD", "POST", "PUT"]);
        assert_eq!(server.seen().pop().unwrap().body, blob(1000).0);
    }
}

#[tokio::test]
async fn a_blob_that_the_registry_refuses_is_an_error() {
    let server = uploads(|seen, _| {
        let body = br#"{"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}"#;
        (seen.method == "PUT").then(|| Answer::status(400).body(body))
    })
    .await;
    let error = push(&client(), &server).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    let puts = server.methods("/v2/app").into_iter().filter(|method| method == "PUT").count();
    assert_eq!(puts, 1);
}

#[tokio::test]
async fn tries_to_upload_end() {
    let server = uploads(|seen, _| (seen.method == "PUT").then_some(Answer::HangUp)).await;
    let error = push(&client(), &server).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let puts = server.methods("/v2/app").into_iter().filter(|method| method == "PUT").count();
    assert_eq!(puts, 4, "one try and three repetitions");
}

#[tokio::test]
async fn a_file_of_another_size_is_not_sent() {
    let server = uploads(|_, _| None).await;
    let (_directory, path) = file(b"short");
    let pushed = client().push_blob(&server.reference("app"), &blob(1000).1, &path, &[], |_| {}).await;
    assert!(matches!(pushed, Err(Error::SizeMismatch { expected: 1000, actual: 5, .. })), "{pushed:?}");
    assert_eq!(server.methods("/v2/app"), ["HEAD"]);
}

#[tokio::test]
async fn progress_is_told() {
    let server = uploads(|_, _| None).await;
    let (bytes, descriptor) = blob(1000);
    let (_directory, path) = file(&bytes);
    let last = Arc::new(AtomicUsize::new(0));
    let told = last.clone();
    let tell = move |sent: u64| told.store(sent as usize, SeqCst);
    in_chunks().push_blob(&server.reference("app"), &descriptor, &path, &[], tell).await.unwrap();
    assert_eq!(last.load(SeqCst), 1000);
}

#[tokio::test]
async fn an_upload_over_a_slow_line_takes_as_long_as_it_takes() {
    // In all it takes three times as long as a silence may; no part of it does.
    let pause = Duration::from_millis(60);
    let server = Server::slow(pause, |seen| match seen.method.as_str() {
        "HEAD" => Answer::status(404),
        "POST" => Answer::status(202).header("location", "/v2/app/blobs/uploads/1"),
        "PUT" => Answer::status(201),
        _ => Answer::status(200),
    })
    .await;
    let (bytes, descriptor) = blob(50 << 20);
    let (_directory, path) = file(&bytes);
    let client = Client::new(ClientOptions { silence: Duration::from_secs(1), ..options() });
    client.push_blob(&server.reference("app"), &descriptor, &path, &[], |_| {}).await.unwrap();
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PUT"]);
}

/// Which mounts the registry makes, by the repository they are from.
async fn mounting(answer: impl Fn(&str) -> u16 + Send + Sync + 'static) -> Server {
    uploads(move |seen, _| {
        let from = seen.path.split_once("&from=")?.1;
        let status = answer(from);
        Some(Answer::status(status).header("location", format!("/v2/app/blobs/uploads/{from}?state=x")))
    })
    .await
}

#[tokio::test]
async fn a_blob_is_mounted_from_the_first_repository_that_has_it() {
    let server = mounting(|from| if from == "has" { 201 } else { 202 }).await;
    let from = ["app", "other", "has", "third"].map(str::to_owned);
    assert_eq!(push_mounting(&client(), &server, &from).await.unwrap(), Pushed::Mounted);
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "POST", "DELETE"], "no session stays open");
    assert!(client().mount_blob(&server.reference("app"), &blob(1000).1.digest, &from).await.unwrap());
}

#[tokio::test]
async fn an_upload_that_a_mount_opened_is_used() {
    let server = mounting(|_| 202).await;
    assert_eq!(push_mounting(&client(), &server, &["other".into()]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "PUT"]);
    assert!(server.seen().pop().unwrap().path.starts_with("/v2/app/blobs/uploads/other?state=x&digest="));
    let reference = server.reference("app");
    assert!(!client().mount_blob(&reference, &blob(1).1.digest, &["other".into()]).await.unwrap());
    assert_eq!(server.seen().pop().unwrap().method, "DELETE");
}

#[tokio::test]
async fn a_registry_that_refuses_mounts_gets_the_bytes() {
    for status in [400, 403, 404, 405] {
        let server = mounting(move |_| status).await;
        assert_eq!(push_mounting(&client(), &server, &["other".into()]).await.unwrap(), Pushed::Uploaded);
        assert_eq!(server.methods("/v2/app"), ["HEAD", "POST", "POST", "PUT"]);
    }
}

#[tokio::test]
async fn a_manifest_is_repeated_after_a_broken_connection() {
    let broken = once();
    let server = uploads(move |seen, _| {
        let manifest = seen.path.contains("/manifests/");
        manifest.then(|| if broken() { Answer::HangUp } else { Answer::status(201) })
    })
    .await;
    let bytes = bytes::Bytes::from_static(b"{}");
    let reference = server.reference("app:1");
    client().push_manifest(&reference, "application/json", bytes.clone()).await.unwrap();
    let seen = server.seen();
    assert_eq!((seen.len(), seen[1].path.as_str()), (2, "/v2/app/manifests/1"));
    assert_eq!(
        (seen[1].body.as_slice(), seen[1].header("content-type")),
        (&bytes[..], Some("application/json"))
    );
}
