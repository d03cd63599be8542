//! Tokens and passwords for somebody else who works for us.

use std::time::Duration;

use archway_oci::Reference;
use archway_registry::{Bearer, Challenged, Client, Error};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::server::{Answer, Server, client_with};

const ISSUED: &str = r#"{"token": "t1", "expires_in": 300, "issued_at": "2026-01-02T03:04:05Z"}"#;

/// A token server, and a registry that names it.
async fn servers() -> (Server, Server) {
    let tokens = Server::start(|seen| match seen.header("authorization") {
        Some(header) if header != format!("Basic {}", STANDARD.encode("me:hunter2")) => Answer::status(401),
        _ => Answer::bytes(ISSUED.as_bytes()),
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"it\"", tokens.host);
    let registry = Server::start(move |_| Answer::status(401).header("www-authenticate", &challenge)).await;
    (tokens, registry)
}

async fn ask(
    client: &Client,
    registry: &Server,
    realm: &str,
    service: Option<&str>,
    scope: &str,
) -> Result<Bearer, Error> {
    let scopes = [scope.to_owned()];
    let challenged = Challenged { host: &registry.host, realm, service, scopes: &scopes };
    let pushes: [Reference; 1] = [registry.reference("team/app:1")];
    client.token_for(&challenged, &pushes).await
}

#[tokio::test]
async fn a_token_is_fetched_with_the_users_password_for_what_was_asked() {
    let (tokens, registry) = servers().await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    let realm = format!("http://{}/token", tokens.host);
    let bearer = ask(&client, &registry, &realm, Some("it"), "repository:team/app:pull,push").await.unwrap();
    assert_eq!((bearer.token.as_str(), bearer.life), ("t1", Duration::from_secs(300)));
    assert_eq!(bearer.issued_at.unwrap().as_second(), 1_767_323_045);
    assert!(!format!("{bearer:?}").contains("t1"));
    let seen = tokens.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/token?service=it&scope=repository%3Ateam%2Fapp%3Apull%2Cpush");
    assert_eq!(seen[0].header("authorization").unwrap(), format!("Basic {}", STANDARD.encode("me:hunter2")));
}

#[tokio::test]
async fn nobody_else_is_asked_for_a_token() {
    let (tokens, registry) = servers().await;
    let elsewhere = Server::start(|_| Answer::bytes(ISSUED.as_bytes())).await;
    let (_directory, client) = client_with(&[(&registry.host, "me:hunter2")]);
    let realm = format!("http://{}/token", tokens.host);
    for (realm, service) in [
        (format!("http://{}/token", elsewhere.host), Some("it")),
        (realm.clone(), Some("somebody else")),
        (realm, None),
    ] {
        let asked = ask(&client, &registry, &realm, service, "repository:team/app:pull").await;
        assert!(matches!(asked, Err(Error::Withheld { .. })), "{realm} {service:?}: {asked:?}");
    }
    assert!(tokens.seen().is_empty() && elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_refused_password_is_named_and_not_shown() {
    let (tokens, registry) = servers().await;
    let (_directory, client) = client_with(&[(&registry.host, "me:wrong")]);
    let realm = format!("http://{}/token", tokens.host);
    let error = ask(&client, &registry, &realm, Some("it"), "repository:team/app:push").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Unauthorized { .. }), "{text}");
    assert!(text.contains("pushing to team/app") && text.contains("`me`"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
}

#[tokio::test]
async fn a_password_goes_where_there_are_no_tokens() {
    let basic = Server::start(|_| Answer::status(401).header("www-authenticate", "Basic realm=\"r\"")).await;
    let (_tokens, bearer) = servers().await;
    let (_directory, client) = client_with(&[(&basic.host, "me:hunter2"), (&bearer.host, "me:hunter2")]);
    let pair = client.password_for(&basic.host).await.unwrap();
    assert_eq!(pair, ("me".to_owned(), "hunter2".to_owned()));
    let error = client.password_for(&bearer.host).await.unwrap_err();
    assert!(matches!(error, Error::Withheld { what: "password", .. }), "{error}");

    let (_directory, client) = client_with(&[]);
    let error = client.password_for(&basic.host).await.unwrap_err();
    assert!(error.to_string().contains("no credentials were found"), "{error}");
}
