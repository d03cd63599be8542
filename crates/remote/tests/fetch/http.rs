use std::sync::atomic::{AtomicUsize, Ordering};

use archway_remote::{
    Checksum, Credentials, HttpSource,
    http::{Downloaded, HttpClient, HttpError, Validators},
};
use archway_testkit::{
    WebServer,
    web::{Request, Response},
};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn server(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> WebServer {
    WebServer::start(answer).unwrap()
}

async fn download(
    client: &HttpClient,
    url: &str,
    known: Option<&Validators>,
) -> (Vec<u8>, Result<Downloaded, HttpError>) {
    download_checked(client, url, known, None).await
}

async fn download_checked(
    client: &HttpClient,
    url: &str,
    known: Option<&Validators>,
    checksum: Option<Checksum>,
) -> (Vec<u8>, Result<Downloaded, HttpError>) {
    let mut bytes = Vec::new();
    let result = client.download(&HttpSource::new(url, checksum), known, &mut bytes, &|_, _| {}).await;
    (bytes, result)
}

fn client() -> HttpClient {
    HttpClient::new(Credentials::default())
}

#[tokio::test]
async fn a_file_is_downloaded_once_and_then_asked_for() {
    let server = server(|request| match request.header("if-none-match") {
        Some("\"1\"") => Response::new(304, ""),
        _ => Response::new(200, "hello").header("ETag", "\"1\"").header("Last-Modified", MODIFIED),
    });
    let (bytes, first) = download(&client(), &server.url("/a"), None).await;
    assert_eq!(bytes, b"hello");
    let Downloaded::New { validators, digest, size } = first.unwrap() else { panic!() };
    let sha256 = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!((digest.to_string().as_str(), size), (sha256, 5));
    assert_eq!(validators.modified(), Some(784_111_777));

    let (bytes, second) = download(&client(), &server.url("/a"), Some(&validators)).await;
    assert_eq!((bytes.len(), second.unwrap()), (0, Downloaded::Unchanged));
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn checksums_of_every_kind_are_verified() {
    let server = server(|_| Response::new(200, "hello"));
    let good = [
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "sha384:59e1748777448c69de6b800d7a33bbfb9ff1b463e44354c3553bcdb9c666fa90125a3c79f90397bdf5f6a13de828684f",
        "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043",
    ];
    for text in good {
        let (_, result) =
            download_checked(&client(), &server.url("/a"), None, Some(text.parse().unwrap())).await;
        assert!(result.is_ok(), "{text}: {result:?}");
        let wrong: Checksum = format!("{}0", &text[..text.len() - 1]).parse().unwrap();
        let (_, result) = download_checked(&client(), &server.url("/a"), None, Some(wrong.clone())).await;
        let Err(HttpError::Checksum { expected, found, .. }) = result else { panic!("{text}") };
        assert_eq!((expected, found.to_string().as_str()), (wrong, text));
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = server(|request| {
        let body = b"0123456789";
        match request.header("range") {
            None => Response { breaks_after: Some(4), ..Response::new(200, body) }.header("ETag", "\"1\""),
            Some(range) => {
                assert_eq!(request.header("if-range"), Some("\"1\""));
                let from: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
                let part =
                    Response::new(206, &body[from..]).header("Content-Range", &format!("bytes {from}-9/10"));
                Response { breaks_after: (from == 4).then_some(3), ..part }
            }
        }
    });
    let (bytes, result) = download(&client(), &server.url("/a"), None).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(bytes, b"0123456789");
    let ranges: Vec<_> =
        server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=4-".to_owned()), Some("bytes=7-".to_owned())]);
}

#[tokio::test]
async fn a_broken_download_is_finished_where_a_server_has_no_ranges() {
    let count = AtomicUsize::new(0);
    let server = server(move |_| {
        let breaks_after = [Some(4), Some(7), None][count.fetch_add(1, Ordering::SeqCst)];
        Response { breaks_after, ..Response::new(200, "0123456789") }.header("ETag", "\"1\"")
    });
    let (bytes, result) = download(&client(), &server.url("/a"), None).await;
    assert!(matches!(result, Ok(Downloaded::New { size: 10, .. })), "{result:?}");
    assert_eq!(bytes, b"0123456789");
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_not_mixed() {
    let count = AtomicUsize::new(0);
    let server = server(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let answer = Response { breaks_after: first.then_some(4), ..Response::new(200, "0123456789") };
        answer.header("ETag", if first { "\"1\"" } else { "\"2\"" })
    });
    let (_, result) = download(&client(), &server.url("/a"), None).await;
    assert!(matches!(result, Err(HttpError::Changed { .. })), "{result:?}");
}

#[tokio::test]
async fn redirects_are_followed_without_the_secret_of_the_first_host() {
    let target = server(|request| {
        assert_eq!(request.header("authorization"), None);
        Response::new(200, "there")
    });
    // Another host, as far as names go.
    let location = target.url("/file").replace("127.0.0.1", "localhost");
    let first = server(move |request| match request.path.as_str() {
        "/a" => {
            assert_eq!(request.header("authorization"), Some("Bearer secret"));
            Response::new(302, "").header("Location", "/b")
        }
        _ => {
            assert_eq!(request.header("authorization"), Some("Bearer secret"));
            Response::new(307, "").header("Location", &location)
        }
    });
    let credentials = Credentials::new(|name| match name {
        "HTTP_AUTH_TOKEN_127.0.0.1" | "HTTP_AUTH_TOKEN_localhost" => Some(b"secret\n".to_vec()),
        _ => None,
    });
    let (bytes, result) = download(&HttpClient::new(credentials), &first.url("/a"), None).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(bytes, b"there");
}

#[tokio::test]
async fn what_a_server_refuses_is_told_with_what_to_do() {
    let server = server(|request| match request.path.as_str() {
        "/loop" => Response::new(302, "").header("Location", "/loop"),
        "/file" => Response::new(302, "").header("Location", "file:///etc/passwd"),
        "/busy" => Response::new(503, ""),
        path => Response::new(path[1..].parse().unwrap(), ""),
    });
    let error = async |path: &str| download(&client(), &server.url(path), None).await.1.unwrap_err();
    let missing = error("/404").await;
    assert!(missing.to_string().ends_with("/404: the server answers 404 Not Found"), "{missing}");
    let denied = error("/401").await;
    assert!(denied.hint().unwrap().contains("id=HTTP_AUTH_TOKEN_127.0.0.1,"), "{denied:?}");
    assert!(matches!(error("/loop").await, HttpError::Redirects { .. }));
    assert!(matches!(error("/file").await, HttpError::Url { .. }));
    assert!(matches!(error("/busy").await, HttpError::Status { .. }));
    assert_eq!(server.requests().iter().filter(|request| request.path == "/busy").count(), 3);
}

#[tokio::test]
async fn a_file_is_bounded_whether_its_length_is_told_or_not() {
    let server = server(|_| Response::new(200, vec![0; 100]));
    let (bytes, result) = download(&client().with_limit(99), &server.url("/a"), None).await;
    assert!(matches!(result, Err(HttpError::TooLarge { limit: 99, .. })));
    assert!(bytes.is_empty());
    assert!(download(&client().with_limit(100), &server.url("/a"), None).await.1.is_ok());
}

#[tokio::test]
async fn errors_do_not_show_passwords() {
    let server = server(|_| Response::new(500, ""));
    let url = server.url("/a").replace("127.0.0.1", "user:hunter2@127.0.0.1");
    let error = download(&client(), &url, None).await.1.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic dXNlcjpodW50ZXIy"));
    let error = download(&client(), "http://user:hunter2@127.0.0.1:1/", None).await.1.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
