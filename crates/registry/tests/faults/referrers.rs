//! Referrers: registries with the API, without it, and with something in its place.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use archway_oci::{
    Descriptor, Index, Manifest, json, media_type,
    referrer::{Referrer, fallback_tag},
};
use archway_registry::Error;
use futures_util::future::try_join_all;

use crate::server::{Answer, Seen, Server, client};

pub(crate) fn subject() -> Descriptor {
    Descriptor::of(media_type::OCI_MANIFEST, b"the image")
}

/// A manifest about the subject, and its bytes.
fn signature(content: &str) -> (Referrer, Vec<u8>) {
    let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    let mut manifest = Manifest::new(config, Vec::new());
    manifest.artifact_type = Some("application/vnd.example.signature".into());
    manifest.annotations.insert("content".into(), content.into());
    manifest.subject = Some(subject());
    let bytes = json::to_vec(&manifest);
    (Referrer::of(media_type::OCI_MANIFEST, &bytes).unwrap().unwrap(), bytes)
}

pub(crate) fn list(referrers: &[Descriptor]) -> Answer {
    Answer::bytes(&json::to_vec(&Index::new(referrers.to_vec())))
        .header("content-type", media_type::OCI_INDEX)
}

fn api() -> String {
    format!("/v2/app/referrers/{}", subject().digest)
}

fn tag() -> String {
    format!("/v2/app/manifests/{}", fallback_tag(&subject().digest))
}

/// A registry that keeps manifests, and knows nothing of referrers.
#[derive(Default)]
struct Plain(Mutex<HashMap<String, Vec<u8>>>);

impl Plain {
    fn answer(&self, seen: &Seen) -> Answer {
        let mut manifests = self.0.lock().unwrap();
        match (seen.method.as_str(), manifests.get(&seen.path)) {
            ("PUT", _) => {
                manifests.insert(seen.path.clone(), seen.body.clone());
                Answer::status(201)
            }
            (_, Some(bytes)) => Answer::bytes(bytes),
            _ if seen.path == "/v2/" => Answer::status(200),
            _ => Answer::status(404),
        }
    }
}

async fn referrers(server: &Server) -> Result<Vec<Descriptor>, Error> {
    client().referrers(&server.reference("app:1"), &subject().digest).await
}

#[tokio::test]
async fn all_pages_of_a_list_are_read() {
    let [one, two, three] = ["1", "2", "3"].map(|content| signature(content).0.descriptor);
    let pages = [one.clone(), two.clone(), three.clone()];
    let server = Server::start(move |seen| match seen.path.strip_prefix(&api()) {
        Some("") => list(&pages[..1]).header("link", format!("<{}?last=1>; rel=\"next\"", api())),
        Some("?last=1") => list(&pages[..2]).header("link", "<?last=2>; rel=\"next\""),
        Some("?last=2") => list(&pages[2..]),
        _ => Answer::status(200),
    })
    .await;
    assert_eq!(referrers(&server).await.unwrap(), [one, two, three], "each once");
}

#[tokio::test]
async fn without_the_api_a_tag_has_the_list() {
    let page = || Answer::bytes(b"<html>").header("content-type", "text/html");
    for unknown in
        [Answer::status(404), Answer::status(400), Answer::status(405), Answer::status(501), page()]
    {
        let entry = signature("1").0.descriptor;
        let (answer, listed) = (unknown.clone(), entry.clone());
        let server = Server::start(move |seen| match &seen.path {
            path if *path == api() => answer.clone(),
            path if *path == tag() => list(std::slice::from_ref(&listed)),
            _ => Answer::status(200),
        })
        .await;
        assert_eq!(referrers(&server).await.unwrap(), [entry], "{unknown:?}");
    }
}

#[tokio::test]
async fn what_nobody_refers_to_has_no_referrers() {
    let plain = Plain::default();
    let server = Server::start(move |seen| plain.answer(seen)).await;
    assert_eq!(referrers(&server).await.unwrap(), []);
}

#[tokio::test]
async fn a_list_that_cannot_be_had_is_not_an_empty_one() {
    for status in [403, 500] {
        let server = Server::start(move |seen| match seen.path == api() {
            true => Answer::status(status),
            false => Answer::status(200),
        })
        .await;
        assert!(referrers(&server).await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_keeps_the_list_is_left_to_do_so() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Answer::status(201).header("oci-subject", subject().digest),
        _ => Answer::status(200),
    })
    .await;
    let (referrer, bytes) = signature("1");
    client().push_referrer(&server.reference("app:1"), &referrer, bytes.into()).await.unwrap();
    let path = format!("/v2/app/manifests/{}", referrer.descriptor.digest);
    let seen: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(seen, [path], "by digest, and nothing else");
}

#[tokio::test]
async fn other_registries_get_the_list_as_a_tag_and_no_entry_is_lost() {
    let plain = Plain::default();
    let server = Server::start(move |seen| plain.answer(seen)).await;
    let signatures: Vec<(Referrer, Vec<u8>)> = (0..8).map(|i| signature(&i.to_string())).collect();
    let (client, repository) = (client(), server.reference("app:1"));
    let pushes = signatures
        .iter()
        .map(|(referrer, bytes)| client.push_referrer(&repository, referrer, bytes.clone().into()));
    try_join_all(pushes).await.unwrap();
    let by_digest = |descriptors: &mut Vec<Descriptor>| descriptors.sort_by(|a, b| a.digest.cmp(&b.digest));
    let mut expected: Vec<Descriptor> =
        signatures.into_iter().map(|(referrer, _)| referrer.descriptor).collect();
    let mut listed = referrers(&server).await.unwrap();
    by_digest(&mut expected);
    by_digest(&mut listed);
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn what_another_machine_overwrites_is_added_again() {
    let (plain, count) = (Plain::default(), AtomicUsize::new(0));
    let theirs = signature("theirs").0.descriptor;
    let other = theirs.clone();
    let server = Server::start(move |seen| {
        let answer = plain.answer(seen);
        if seen.method == "PUT" && seen.path == tag() && count.fetch_add(1, SeqCst) == 0 {
            let bytes = json::to_vec(&Index::new(vec![other.clone()]));
            plain.0.lock().unwrap().insert(tag(), bytes);
        }
        answer
    })
    .await;
    let (referrer, bytes) = signature("ours");
    client().push_referrer(&server.reference("app:1"), &referrer, bytes.into()).await.unwrap();
    assert_eq!(referrers(&server).await.unwrap(), [theirs, referrer.descriptor]);
}

#[tokio::test]
async fn a_tag_that_is_something_else_is_not_overwritten() {
    let (referrer, bytes) = signature("1");
    let image = bytes.clone();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "PUT" => Answer::status(201),
        _ if seen.path == tag() => Answer::bytes(&image).header("content-type", media_type::OCI_MANIFEST),
        _ => Answer::status(404),
    })
    .await;
    let pushed = client().push_referrer(&server.reference("app:1"), &referrer, bytes.into()).await;
    assert!(pushed.unwrap_err().to_string().contains("is no list of referrers"));
    assert!(!server.methods(&tag()).contains(&"PUT".to_owned()));
}
