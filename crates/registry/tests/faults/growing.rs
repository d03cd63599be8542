//! Uploads of a blob that is still being written, where the end is not what it seemed.

use std::{
    fs::File,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use archway_oci::Descriptor;
use archway_registry::{Client, ClientOptions, Error, Growing, Pushed};
use tokio::task::JoinHandle;

use crate::{
    push::{once, uploads},
    server::{Answer, Server, blob, file, options},
};

/// A blob of 1000 bytes on its way.
struct Upload {
    growing: Growing,
    descriptor: Descriptor,
    push: JoinHandle<Result<Option<Pushed>, Error>>,
    _directory: tempfile::TempDir,
}

impl Upload {
    /// Nothing is written yet, as far as anybody is told.
    fn start(server: &Server) -> Self {
        let client = Client::new(ClientOptions { growing_chunk: 300, ..options() });
        let (bytes, descriptor) = blob(1000);
        let (directory, path) = file(&bytes);
        let (growing, blob) = Growing::start(File::open(path).unwrap(), 0);
        let reference = server.reference("app");
        let push = tokio::spawn(async move { client.push_growing(&reference, blob, |_| {}).await });
        Self { growing, descriptor, push, _directory: directory }
    }

    async fn complete(self) -> Result<Option<Pushed>, Error> {
        self.growing.complete(self.descriptor);
        self.push.await.unwrap()
    }
}

/// Waits for the requests.
async fn until(server: &Server, methods: &[&str]) {
    let waiting = async {
        while server.methods("/v2/app") != methods {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(in_time.is_ok(), "{:?} instead of {methods:?}", server.methods("/v2/app"));
}

fn sent(server: &Server) -> Vec<String> {
    let ranges = server.seen();
    let ranges = ranges.iter().map(|seen| {
        let range = seen.header("content-range").unwrap_or_default();
        format!("{} {range}", seen.method).trim().to_owned()
    });
    ranges.collect()
}

#[tokio::test]
async fn what_is_written_is_sent_and_the_rest_when_its_name_is_known() {
    let server = uploads(|_, _| None).await;
    let upload = Upload::start(&server);
    upload.growing.written(299);
    upload.growing.written(350);
    until(&server, &["POST", "PATCH"]).await;
    upload.growing.written(950);
    until(&server, &["POST", "PATCH", "PATCH"]).await;
    assert_eq!(upload.complete().await.unwrap(), Some(Pushed::Uploaded));
    assert_eq!(sent(&server), ["POST", "PATCH 0-299", "PATCH 300-899", "HEAD", "PUT 900-999"]);
    let bodies: Vec<u8> = server.seen().into_iter().flat_map(|seen| seen.body).collect();
    assert_eq!(bodies, blob(1000).0);
}

#[tokio::test]
async fn a_small_blob_is_sent_whole() {
    let server = uploads(|_, _| None).await;
    let upload = Upload::start(&server);
    upload.growing.written(200);
    assert_eq!(upload.complete().await.unwrap(), Some(Pushed::Uploaded));
    assert_eq!(sent(&server), ["HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn what_the_registry_turns_out_to_have_is_not_finished() {
    let server = uploads(|seen, _| (seen.method == "HEAD").then(|| Answer::status(200))).await;
    let upload = Upload::start(&server);
    upload.growing.written(600);
    until(&server, &["POST", "PATCH"]).await;
    assert_eq!(upload.complete().await.unwrap(), Some(Pushed::Existed));
    assert_eq!(sent(&server), ["POST", "PATCH 0-599", "HEAD", "DELETE"]);
}

#[tokio::test]
async fn a_blob_that_is_never_completed_leaves_no_session() {
    let server = uploads(|_, _| None).await;
    let Upload { growing, push, .. } = Upload::start(&server);
    growing.written(600);
    until(&server, &["POST", "PATCH"]).await;
    drop(growing);
    assert_eq!(push.await.unwrap().unwrap(), None);
    assert_eq!(sent(&server), ["POST", "PATCH 0-599", "DELETE"]);
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
    let upload = Upload::start(&server);
    upload.growing.written(300);
    until(&server, &["POST", "PATCH"]).await;
    upload.growing.written(700);
    until(&server, &["POST", "PATCH", "PATCH", "GET", "PATCH"]).await;
    assert_eq!(upload.complete().await.unwrap(), Some(Pushed::Uploaded));
    assert_eq!(sent(&server)[2..], ["PATCH 300-599", "GET", "PATCH 350-649", "HEAD", "PUT 650-999"]);
}

#[tokio::test]
async fn where_nothing_arrives_the_rest_waits_for_the_end() {
    let broken = once();
    let server = uploads(move |seen, _| (seen.method == "PATCH" && broken()).then_some(Answer::HangUp)).await;
    let upload = Upload::start(&server);
    upload.growing.written(300);
    until(&server, &["POST", "PATCH", "GET"]).await;
    upload.growing.written(900);
    assert_eq!(upload.complete().await.unwrap(), Some(Pushed::Uploaded));
    assert_eq!(sent(&server), ["POST", "PATCH 0-299", "GET", "HEAD", "GET", "PUT"]);
    assert_eq!(server.seen().pop().unwrap().body, blob(1000).0);
}

#[tokio::test]
async fn a_registry_without_chunks_or_sessions_gets_the_blob_whole() {
    for (refused, status) in [("PATCH", 400), ("PATCH", 405), ("PATCH", 413), ("POST", 403)] {
        let first = AtomicBool::new(true);
        let server = uploads(move |seen, _| {
            let refuses = seen.method == refused && (refused == "PATCH" || first.swap(false, SeqCst));
            // A session that refused a chunk is of no use.
            let gone = seen.method == "GET" && seen.path != "/v2/";
            if gone {
                return Some(Answer::status(404));
            }
            refuses.then(|| Answer::status(status))
        })
        .await;
        let upload = Upload::start(&server);
        upload.growing.written(600);
        until(&server, if refused == "PATCH" { &["POST", "PATCH", "GET"] } else { &["POST"] }).await;
        assert_eq!(upload.complete().await.unwrap(), Some(Pushed::Uploaded));
        assert_eq!(server.seen().pop().unwrap().body, blob(1000).0, "{refused} {status}");
    }
}
