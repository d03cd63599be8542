//! Who gets credentials, and how often they are asked for.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use archway_registry::{Client, ClientOptions, Error, Keychain, credentials::Credential};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;

use crate::server::{Answer, Seen, Server, blob, client, client_with, file, options};

/// A token server that gives `t1`, `t2`, … and a registry that takes what `good` says.
pub(crate) async fn token_registry(
    answer: impl Fn(usize) -> String + Send + Sync + 'static,
    good: impl Fn(&str, &Seen) -> bool + Send + Sync + 'static,
    script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> (Server, Server) {
    let count = AtomicUsize::new(0);
    let tokens =
        Server::start(move |_| Answer::bytes(answer(count.fetch_add(1, SeqCst) + 1).as_bytes())).await;
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"test registry\"", tokens.host);
    let registry = Server::start(move |seen| match seen.header("authorization") {
        Some(header) if good(header, seen) => script(seen),
        _ => Answer::status(401).header("www-authenticate", &realm),
    })
    .await;
    (tokens, registry)
}

fn numbered(count: usize) -> String {
    format!(r#"{{"token": "t{count}", "expires_in": 300}}"#)
}

pub(crate) fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn parallel_requests_share_one_token() {
    let (tokens, registry) =
        token_registry(numbered, |header, _| header == "Bearer t1", |_| Answer::status(200)).await;
    let (client, reference, descriptor) = (client(), registry.reference("team/app"), blob(1).1);
    let asked = join_all((0..20).map(|_| client.blob_exists(&reference, &descriptor.digest))).await;
    assert!(asked.into_iter().all(|found| found.unwrap()));
    let seen = tokens.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/token?service=test+registry&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(seen[0].header("authorization"), None, "without credentials, an anonymous token");
    assert_eq!(registry.seen().len(), 20, "no request is sent without its token");
}

#[tokio::test]
async fn a_token_that_ends_early_is_renewed_once_for_all() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counter = refused.clone();
    // The first token is good for the existence check only.
    let good = move |header: &str, seen: &Seen| {
        let good = header == "Bearer t2" || (header == "Bearer t1" && seen.method == "HEAD");
        counter.fetch_add(usize::from(!good), SeqCst);
        good
    };
    let (tokens, registry) = token_registry(numbered, good, |seen| match seen.method.as_str() {
        "HEAD" => Answer::status(404),
        "POST" => Answer::status(202).header("location", "/v2/app/blobs/uploads/1?state=x"),
        _ => Answer::status(201),
    })
    .await;
    let (bytes, descriptor) = blob(1000);
    let (_directory, path) = file(&bytes);
    let (client, reference) = (client(), registry.reference("app"));
    let pushes =
        join_all((0..5).map(|_| client.push_blob(&reference, &descriptor, &path, &[], |_| {}))).await;
    assert!(pushes.into_iter().all(|pushed| pushed.is_ok()));
    assert!(refused.load(SeqCst) > 0);
    assert_eq!(tokens.seen().len(), 2);
    assert!(tokens.seen()[0].path.ends_with("scope=repository%3Aapp%3Apull%2Cpush"), "one scope for all");
    let put = registry.seen().into_iter().rfind(|seen| seen.method == "PUT").unwrap();
    assert_eq!(put.body, bytes);
}

#[tokio::test]
async fn a_token_that_is_never_good_is_an_error() {
    let (tokens, registry) = token_registry(numbered, |_, _| false, |_| Answer::status(200)).await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    let error = client.manifest(&registry.reference("app:1")).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, Error::Unauthorized { .. }), "{text}");
    assert!(text.contains("`me`") && !text.contains("hunter2"), "{text}");
    assert_eq!(tokens.seen().len(), 2);
    assert_eq!(tokens.seen()[0].header("authorization"), Some(&*basic("me:hunter2")));
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let (tokens, registry) = token_registry(
        |_| r#"{"access_token": "t1"}"#.to_owned(),
        |header, _| header == "Bearer t1",
        |_| Answer::status(200),
    )
    .await;
    let config = format!(r#"{{"auths": {{"{}": {{"identitytoken": "refresh/me"}}}}}}"#, registry.host);
    let (_directory, path) = file(config.as_bytes());
    let client = Client::new(ClientOptions { credentials: Keychain::of_files([path]), ..options() });
    let (reference, descriptor) = (registry.reference("app"), blob(1).1);
    assert!(client.blob_exists(&reference, &descriptor.digest).await.unwrap());
    let seen = tokens.seen();
    assert_eq!((seen.len(), seen[0].method.as_str(), seen[0].path.as_str()), (1, "POST", "/token"));
    let form = "grant_type=refresh_token&refresh_token=refresh%2Fme&client_id=archway\
                &scope=repository%3Aapp%3Apull&service=test+registry";
    assert_eq!(String::from_utf8_lossy(&seen[0].body), form);
}

#[tokio::test]
async fn each_repository_has_the_credentials_of_its_namespace() {
    let users = Arc::new(Mutex::new(Vec::new()));
    let log = users.clone();
    let registry = Server::start(move |seen| {
        let Some(header) = seen.header("authorization") else {
            return Answer::status(401).header("www-authenticate", "Basic realm=\"r\"");
        };
        log.lock().unwrap().push((seen.path.clone(), header.to_owned()));
        Answer::status(200)
    })
    .await;
    let team = format!("{}/team", registry.host);
    let (_directory, client) = client_with(&[(&registry.host, "all:1"), (&team, "team:2")]);
    for name in ["other/app", "team/app"] {
        client.blob_exists(&registry.reference(name), &blob(1).1.digest).await.unwrap();
    }
    let users = users.lock().unwrap();
    let used: Vec<&str> = users.iter().map(|(_, header)| header.as_str()).collect();
    assert_eq!(used, [basic("all:1"), basic("team:2")], "{users:?}");
}

#[tokio::test]
async fn what_is_public_needs_no_password() {
    let registry = Server::start(|seen| match seen.path.as_str() {
        "/v2/public/manifests/1" => Answer::bytes(b"{}"),
        _ => Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
    })
    .await;
    client().manifest(&registry.reference("public:1")).await.unwrap();
    let error = client().manifest(&registry.reference("private:1")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_is_checked_with_the_token_server() {
    let tokens = Server::start(|seen| match seen.header("authorization") {
        Some(header) if header == basic("me:right") => Answer::bytes(br#"{"token": "t"}"#),
        _ => Answer::status(401),
    })
    .await;
    let realm = format!("Bearer realm=\"http://{}/token\"", tokens.host);
    let registry = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer t") => Answer::status(200),
        _ => Answer::status(401).header("www-authenticate", &realm),
    })
    .await;
    for (password, good) in [("right", true), ("wrong", false)] {
        let credential = Credential::Password { username: "me".into(), password: password.into() };
        let checked = client().check_login(&registry.host, &credential).await;
        assert_eq!(checked.is_ok(), good, "{checked:?}");
    }
}
