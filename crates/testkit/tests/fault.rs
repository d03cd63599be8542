//! The fault proxy in front of a web server: each fault is what it is called.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use archway_testkit::{
    FaultProxy, WebServer,
    fault::{Fault, Held, Rule, When},
    web::Response,
};

/// Generous, for a loaded machine.
const LIMIT: Duration = Duration::from_secs(30);

fn server() -> (WebServer, SocketAddr) {
    let server = WebServer::start(|request| {
        Response::new(
            200,
            if request.method == "PUT" { request.body.clone() } else { b"0123456789".to_vec() },
        )
    })
    .unwrap();
    let address = server.host().parse().unwrap();
    (server, address)
}

/// What comes back, and whether the connection broke.
fn ask(proxy: &FaultProxy, head: &str, body: &str) -> (String, bool) {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let sent = write!(stream, "{head}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    (String::from_utf8_lossy(&answer).into_owned(), sent.is_err() || read.is_err())
}

fn proxy(fault: Fault) -> (WebServer, FaultProxy) {
    let (server, address) = server();
    let proxy = FaultProxy::start(address, vec![Rule::on("*", "/struck", When::Nth(1), fault)]).unwrap();
    (server, proxy)
}

#[test]
fn what_no_rule_names_passes_unchanged() {
    let (server, proxy) = proxy(Fault::Reset);
    let (answer, broken) = ask(&proxy, "PUT /other HTTP/1.1", "body");
    assert!(answer.ends_with("\r\n\r\nbody") && !broken, "{answer}");
    assert_eq!((server.requests().len(), proxy.struck()), (1, 0));
}

#[test]
fn a_rule_strikes_once() {
    let (server, proxy) = proxy(Fault::Answer { status: 429, retry_after: Some(7) });
    let (answer, _) = ask(&proxy, "GET /struck HTTP/1.1", "");
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("Retry-After: 7\r\n"), "{answer}");
    assert_eq!(server.requests().len(), 0, "the server did not see it");
    assert!(ask(&proxy, "GET /struck HTTP/1.1", "").0.starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.struck(), 1);
}

#[test]
fn connections_break_before_or_after_the_server_saw_the_request() {
    for (fault, seen) in [(Fault::Reset, 0), (Fault::LoseAnswer, 1)] {
        let (server, proxy) = proxy(fault);
        assert_eq!(ask(&proxy, "GET /struck HTTP/1.1", ""), (String::new(), true));
        assert_eq!(server.requests().len(), seen);
    }
}

#[test]
fn answers_are_cut_and_damaged() {
    let (_server, cut) = proxy(Fault::CutAnswer(4));
    let (answer, _) = ask(&cut, "GET /struck HTTP/1.1", "");
    assert!(answer.contains("Content-Length: 10") && answer.ends_with("\r\n\r\n0123"), "{answer}");
    let (_server, damaged) = proxy(Fault::Corrupt);
    assert!(ask(&damaged, "GET /struck HTTP/1.1", "").0.ends_with("\r\n\r\n0123446789"));
}

#[test]
fn a_header_of_an_answer_is_changed() {
    let (_server, proxy) = proxy(Fault::Header("connection", "x: y".to_owned()));
    let (plain, _) = ask(&proxy, "GET /other HTTP/1.1", "");
    let (changed, _) = ask(&proxy, "GET /struck HTTP/1.1", "");
    assert_eq!(changed, plain.replace("Connection: close", "Connection: x: y"));
    assert_ne!(changed, plain);
}

#[test]
fn the_server_gets_the_start_of_a_cut_upload() {
    let (server, proxy) = proxy(Fault::CutUpload(3));
    let (answer, broken) = ask(&proxy, "PUT /struck HTTP/1.1", &"x".repeat(100_000));
    assert!(answer.is_empty() && broken);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].body, b"xxx");
}

#[test]
fn a_request_without_a_body_has_no_upload_to_cut() {
    let (server, proxy) = proxy(Fault::CutUpload(3));
    let (answer, broken) = ask(&proxy, "GET /struck HTTP/1.1", "");
    assert!(answer.contains(" 200 ") && !broken, "{answer}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn held_requests_wait_before_or_after_the_server_saw_them() {
    for (fault, seen_while_held) in [(Fault::HoldRequest, 0), (Fault::HoldAnswer, 1)] {
        for held in [Held::PassedOn, Held::Dropped] {
            let (server, proxy) = proxy(fault.clone());
            thread::scope(|scope| {
                let asking = scope.spawn(|| ask(&proxy, "GET /struck HTTP/1.1", ""));
                let is_held = proxy.wait_for(LIMIT, |seen| {
                    seen.iter().any(|seen| seen.fault.is_some() && seen.answered == (seen_while_held == 1))
                });
                assert!(is_held && !asking.is_finished(), "{fault:?}");
                assert_eq!(server.requests().len(), seen_while_held, "{fault:?}");
                proxy.end_hold(held);
                let (answer, broken) = asking.join().unwrap();
                assert_eq!(
                    (answer.contains(" 200 "), broken),
                    (held == Held::PassedOn, held == Held::Dropped)
                );
            });
            let seen = if held == Held::PassedOn { 1 } else { seen_while_held };
            assert_eq!(server.requests().len(), seen, "{fault:?} {held:?}");
        }
    }
}

#[test]
fn a_client_that_dies_is_over_when_the_proxy_has_settled() {
    let (server, proxy) = proxy(Fault::HoldRequest);
    for (request, length) in [("GET /struck", 0), ("PUT /cut", 10)] {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        write!(client, "{request} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").unwrap();
        client.write_all(&b"xxx"[..length.min(3)]).unwrap();
    }
    proxy.end_hold(Held::PassedOn);
    proxy.settle().unwrap();
    let mut bodies: Vec<_> =
        server.requests().into_iter().map(|request| (request.path, request.body)).collect();
    bodies.sort();
    assert_eq!(bodies, [("/cut".to_owned(), b"xxx".to_vec()), ("/struck".to_owned(), Vec::new())]);
    proxy.restart(vec![Rule::on("GET", "/struck", When::Every, Fault::Reset)]);
    assert_eq!(proxy.seen(), []);
    assert_eq!(ask(&proxy, "GET /struck HTTP/1.1", ""), (String::new(), true));
}

#[test]
fn waiting_ends_when_nothing_comes() {
    let (_server, proxy) = proxy(Fault::Reset);
    assert!(!proxy.wait_for(Duration::from_millis(1), |seen| !seen.is_empty()));
}

#[test]
fn redirects_lead_to_the_same_path_elsewhere() {
    let (_server, proxy) = proxy(Fault::Redirect("127.0.0.1:1".parse().unwrap()));
    let (answer, _) = ask(&proxy, "GET /struck HTTP/1.1", "");
    assert!(answer.contains("Location: http://127.0.0.1:1/struck\r\n"), "{answer}");
}

#[test]
fn tokens_end_when_a_rule_says_so() {
    let (_server, address) = server();
    let rules = vec![Rule::on("GET", "/struck", When::Nth(1), Fault::ExpireTokens)];
    let proxy = FaultProxy::start_with_tokens(address, rules).unwrap();
    let token = || {
        let (answer, _) = ask(&proxy, "GET /token?scope=x HTTP/1.1", "");
        answer.split('"').nth(3).unwrap().to_owned()
    };
    let status = |path: &str, token: &str| {
        let (answer, _) = ask(&proxy, &format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}"), "");
        answer[9..12].to_owned()
    };
    let first = token();
    assert_eq!(status("/other", "wrong"), "401");
    assert_eq!(status("/other", &first), "200");
    assert_eq!(status("/struck", &first), "401");
    assert_eq!(status("/other", &first), "401");
    assert_eq!(status("/struck", &token()), "200");
}
