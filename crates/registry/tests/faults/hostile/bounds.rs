//! Answers, lists and waits without an end.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use archway_oci::media_type;
use archway_registry::{Client, Error, RegistryMessage};
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::{
    pull::answering,
    referrers::{list, subject},
    server::{Answer, Server, blob, client, read},
};

#[tokio::test]
async fn documents_are_bounded() {
    let server = answering(vec![Answer::bytes(&vec![b' '; (4 << 20) + 1])]).await;
    let reference = server.reference("app:1");
    let error = client().manifest(&reference).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error:?}");
    let (_, mut descriptor) = blob(10);
    let error = client().blob(&reference, &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 10, .. }), "{error:?}");
    descriptor.size = 5 << 20;
    let error = client().blob(&reference, &descriptor).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error:?}");
}

type Asking = fn(Client, &Server) -> BoxFuture<'_, Error>;

#[tokio::test]
async fn answers_without_an_end_are_not_read_to_it() {
    let json = || Answer::bytes(b"{").header("content-type", media_type::OCI_INDEX).endless();
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/v2/" => Answer::status(200),
        path if path.starts_with("/v2/failing/") => Answer::status(400).endless(),
        _ => json(),
    })
    .await;
    let asking: [(&str, Asking); 6] = [
        ("a manifest", |client, server| {
            async move { client.manifest(&server.reference("app:1")).await.unwrap_err() }.boxed()
        }),
        ("a config", |client, server| {
            async move { client.blob(&server.reference("app"), &blob(1000).1).await.unwrap_err() }.boxed()
        }),
        ("a blob", |client, server| {
            async move { read(&client, &server.reference("app"), &blob(1000).1).await.unwrap_err() }.boxed()
        }),
        ("tags", |client, server| {
            async move { client.tags(&server.reference("app"), "").await.unwrap_err() }.boxed()
        }),
        ("referrers", |client, server| {
            let asked = subject().digest;
            async move { client.referrers(&server.reference("app"), &asked).await.unwrap_err() }.boxed()
        }),
        ("an error", |client, server| {
            async move { client.manifest(&server.reference("failing:1")).await.unwrap_err() }.boxed()
        }),
    ];
    for (what, ask) in asking {
        match ask(client(), &server).await {
            Error::SizeMismatch { .. } => {}
            Error::Registry { status: 400, messages, .. } if what == "an error" => assert_eq!(messages, []),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_without_an_end_is_none() {
    let tokens = Server::start(|_| Answer::bytes(b"{").endless()).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host);
    let registry = Server::start(move |_| Answer::status(401).header("www-authenticate", &challenge)).await;
    let error = client().manifest(&registry.reference("app:1")).await.unwrap_err();
    assert!(matches!(&error, Error::SizeMismatch { what, .. } if what == "the token"), "{error:?}");
}

#[tokio::test]
async fn headers_are_bounded() {
    let long = Answer::bytes(b"{}").header("x-long", "x".repeat(1 << 20));
    let many = (0..1000).fold(Answer::bytes(b"{}"), |answer, n| answer.header(&format!("x-{n}"), "x"));
    for answer in [long, many] {
        let server = answering(vec![answer]).await;
        let error = client().manifest(&server.reference("app:1")).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_error_document_is_no_book() {
    let entry = format!(r#"{{"code": "DENIED", "message": "{}"}}"#, "ä".repeat(1000));
    let body = format!(r#"{{"errors": [{}]}}"#, vec![entry; 20].join(","));
    let server = answering(vec![Answer::status(400).body(body.as_bytes())]).await;
    let error = client().manifest(&server.reference("app:1")).await.unwrap_err();
    let Error::Registry { messages, .. } = error else { panic!("{error:?}") };
    let message = format!("{}…", "ä".repeat(300));
    assert_eq!(messages, vec![RegistryMessage { code: "DENIED".into(), message }; 5]);
}

#[tokio::test]
async fn redirects_end() {
    let server = answering(vec![Answer::status(307).header("location", "/v2/app/manifests/1")]).await;
    let error = client().manifest(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_list_without_an_end_is_not_read_forever() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let next = format!("<?last={}>; rel=\"next\"", count.fetch_add(1, SeqCst));
        list(&[]).header("link", next)
    })
    .await;
    let error = client().referrers(&server.reference("app"), &subject().digest).await.unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
}

#[tokio::test]
async fn tags_that_come_again_and_again_are_each_one() {
    let server = Server::start(|seen| match seen.path.split_once('?') {
        Some(("/v2/app/tags/list", "n=1000&last=")) => {
            Answer::bytes(br#"{"tags": ["a", "b"]}"#).header("link", "<?last=b>; rel=\"next\"")
        }
        Some(("/v2/app/tags/list", "last=b")) => Answer::bytes(br#"{"tags": ["c", "a"]}"#)
            .header("link", "</v2/app/tags/list?last=b>; rel=\"next\""),
        _ => Answer::status(200),
    })
    .await;
    assert_eq!(client().tags(&server.reference("app"), "").await.unwrap(), ["a", "b", "c"]);
    assert_eq!(server.seen().len(), 2, "a page that was read is not read again");
}

#[tokio::test]
async fn a_registry_that_asks_for_an_hour_is_not_waited_for() {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let always = Duration::from_secs(u64::MAX);
    for (status, wait) in [(429, Duration::from_secs(3600)), (503, year), (429, always)] {
        let asked = wait.as_secs();
        let server = answering(vec![Answer::status(status).header("retry-after", asked)]).await;
        let error = client().manifest(&server.reference("app:1")).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(wait), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
}
