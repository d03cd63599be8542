//! Who is told a password or a token, and who is not.

use archway_registry::{Client, ClientOptions, Error, Pushed};

use crate::{
    auth::{basic, token_registry},
    push::{once, uploads},
    server::{Answer, Server, blob, client, client_with, credentials, file, options, read},
};

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let (bytes, descriptor) = blob(5000);
    let content = bytes.clone();
    let storage = Server::start(move |seen| match seen.header("range") {
        None => Answer::bytes(&content[..1000]).cut(4000),
        Some(_) => Answer::status(206).header("content-range", "bytes 1000-4999/5000").body(&content[1000..]),
    })
    .await;
    let to = format!("http://{}/bucket/blob?signature=secret", storage.host);
    let registry = Server::start(move |seen| match seen.header("authorization") {
        None => Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
        Some(_) => Answer::status(307).header("location", &to),
    })
    .await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    assert_eq!(read(&client, &registry.reference("app"), &descriptor).await.unwrap(), bytes);
    let own = registry.seen();
    assert!(own.iter().all(|seen| seen.header("authorization") == Some(&*basic("me:hunter2"))));
    let theirs = storage.seen();
    assert_eq!((own.len(), theirs.len()), (2, 2), "each resumption asks the registry anew");
    assert!(theirs.iter().all(|seen| seen.header("authorization").is_none()));
    assert_eq!(theirs[1].header("range"), Some("bytes=1000-"));
}

#[tokio::test]
async fn errors_do_not_show_signatures() {
    let storage = Server::start(|_| Answer::status(500)).await;
    let to = format!("http://{}/bucket/blob?signature=secret", storage.host);
    let registry = Server::start(move |seen| match seen.path.as_str() {
        "/v2/" => Answer::status(200),
        _ => Answer::status(307).header("location", &to),
    })
    .await;
    let (reference, descriptor) = (registry.reference("app"), blob(10).1);
    let error = client().blob(&reference, &descriptor).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    drop(storage);
    let error = client().blob(&reference, &descriptor).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn an_upload_may_be_elsewhere() {
    let storage = Server::start(|_| Answer::status(201)).await;
    let location = format!("http://{}/bucket?x=y", storage.host);
    let registry = uploads(move |seen, _| match (seen.method.as_str(), seen.header("authorization")) {
        (_, None) => Some(Answer::status(401).header("www-authenticate", "Basic realm=\"r\"")),
        ("POST", _) => Some(Answer::status(202).header("location", &location)),
        _ => None,
    })
    .await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    assert_eq!(push(&client, &registry).await.unwrap(), Pushed::Uploaded);
    let seen = storage.seen();
    assert_eq!((seen.len(), seen[0].method.as_str(), seen[0].header("authorization")), (1, "PUT", None));
    assert_eq!(seen[0].body, blob(1000).0);
}

async fn push(client: &Client, registry: &Server) -> Result<Pushed, Error> {
    let (bytes, descriptor) = blob(1000);
    let (_directory, path) = file(&bytes);
    client.push_blob(&registry.reference("app"), &descriptor, &path, &[], |_| {}).await
}

#[tokio::test]
async fn no_request_of_a_push_takes_credentials_elsewhere() {
    let broken = once();
    let storage = uploads(move |seen, upload| match seen.method.as_str() {
        "PATCH" if !upload.is_empty() && broken() => Some(Answer::HangUp),
        _ if seen.path.contains("/manifests/") => Some(Answer::status(201)),
        _ => None,
    })
    .await;
    let elsewhere = format!("http://{}", storage.host);
    let registry = Server::start(move |seen| match (seen.header("authorization"), seen.path.as_str()) {
        (None, _) => Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
        (_, "/v2/") => Answer::status(200),
        (_, path) => Answer::status(307).header("location", format!("{elsewhere}{path}")),
    })
    .await;
    let (_directory, credentials) = credentials(&[(&registry.host, "me:hunter2")]);
    let client = Client::new(ClientOptions { credentials, upload_chunk: 400, ..options() });
    assert_eq!(push(&client, &registry).await.unwrap(), Pushed::Uploaded);
    client.push_manifest(&registry.reference("app:1"), "application/json", "{}".into()).await.unwrap();
    let seen = storage.seen();
    for method in ["HEAD", "POST", "PATCH", "GET", "PUT"] {
        assert!(seen.iter().any(|seen| seen.method == method), "{method}: {seen:?}");
    }
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()), "{seen:?}");
}

#[tokio::test]
async fn a_host_that_we_are_sent_to_is_told_nothing_if_it_asks() {
    let tokens = Server::start(|_| Answer::bytes(br#"{"token": "t"}"#)).await;
    for challenge in
        ["Basic realm=\"x\"".to_owned(), format!("Bearer realm=\"http://{}/token\"", tokens.host)]
    {
        let thief = Server::start(move |_| Answer::status(401).header("www-authenticate", &challenge)).await;
        let to = format!("http://{}/blob", thief.host);
        let registry = Server::start(move |seen| match seen.header("authorization") {
            None => Answer::status(401).header("www-authenticate", "Basic realm=\"r\""),
            Some(_) => Answer::status(307).header("location", &to),
        })
        .await;
        let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
        let error = client.manifest(&registry.reference("app:1")).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
        assert!(thief.seen().iter().all(|seen| seen.header("authorization").is_none()));
    }
    assert_eq!(tokens.seen().len(), 0);
}

#[tokio::test]
async fn a_token_server_without_protection_gets_no_password() {
    // 192.0.2.0/24 is for documentation: nobody is there.
    let challenge = "Bearer realm=\"http://192.0.2.1/token?x=secret\",service=\"r\"";
    let registry = Server::start(move |_| Answer::status(401).header("www-authenticate", challenge)).await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    let error = client.manifest(&registry.reference("app:1")).await.unwrap_err();
    let expected = "it wants credentials to be sent to http://192.0.2.1/token, where nothing protects them";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[tokio::test]
async fn a_token_server_does_not_pass_a_password_on() {
    let thief = Server::start(|_| Answer::bytes(br#"{"token": "t1"}"#)).await;
    let to = format!("http://{}/token", thief.host);
    let tokens = Server::start(move |_| Answer::status(307).header("location", &to)).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host);
    let registry = Server::start(move |_| Answer::status(401).header("www-authenticate", &challenge)).await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    client.manifest(&registry.reference("app:1")).await.unwrap_err();
    assert_eq!(tokens.seen()[0].header("authorization"), Some(&*basic("me:hunter2")));
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn hostile_token_servers_are_errors() {
    for (answer, good) in [
        (r#"{"token": "t1", "expires_in": 18446744073709551615}"#.to_owned(), true),
        (r#"{"token": null, "access_token": "t1"}"#.to_owned(), true),
        (r#"{"token": "a\nb"}"#.to_owned(), false),
        (r#"{"token": ""}"#.to_owned(), false),
        ("<html>".to_owned(), false),
        (" ".repeat(2 << 20), false),
    ] {
        let start: String = answer.chars().take(60).collect();
        let (_tokens, registry) = token_registry(
            move |_| answer.clone(),
            |header, _| header == "Bearer t1",
            |_| Answer::status(200),
        )
        .await;
        let found = client().blob_exists(&registry.reference("app"), &blob(1).1.digest).await;
        assert_eq!(found.is_ok(), good, "{start}: {found:?}");
    }
}
