//! Registries that ask who is there: passwords stay on this machine as long as there is another way.

use std::{fs, os::unix::fs::FileExt as _};

use archway_buildkit::{Daemon, Lent, Node, SessionError, SolveError};
use archway_report::Reason;
use archway_testkit::{
    RealRegistry,
    buildkit::{Options, Tcp},
    registry::{self, PASSWORD, USER},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::scene::{Scene, build, client, node, push};

fn with_tokens() -> RealRegistry {
    registry::Options { tokens: true, ..registry::Options::default() }.start().unwrap()
}

fn with_password() -> RealRegistry {
    registry::Options { htpasswd: true, ..registry::Options::default() }.start().unwrap()
}

/// Whether the memory of a process holds the password, by itself or as a header has it.
fn knows_the_password(process: u32) -> bool {
    let header = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let writable =
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")));
    let ranges = writable.filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
    });
    let needles = [PASSWORD.as_bytes(), header.as_bytes()];
    let longest = needles.iter().map(|needle| needle.len()).max().unwrap_or_default() as u64;
    let mut buffer = vec![0; 1 << 20];
    for (start, end) in ranges {
        let mut at = start;
        while at < end {
            let length = usize::try_from((end - at).min(buffer.len() as u64)).unwrap();
            // Some pages cannot be read, as those of devices.
            let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
            let holds = |needle: &[u8]| buffer[..read].windows(needle.len()).any(|window| window == needle);
            if needles.iter().any(|needle| holds(needle)) {
                return true;
            }
            if read as u64 <= longest {
                break;
            }
            // What lies across two pieces is read again.
            at += if at + read as u64 >= end { read as u64 } else { read as u64 - longest };
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_let_a_daemon_in_that_never_sees_the_password() {
    let private = with_tokens();
    let Some(scene) = Scene::start(&[&private], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let (_directory, client) = client(&private, PASSWORD);
    let lent = || Lent { registry: Some(client.clone()), ..Lent::default() };

    let dockerfile = format!("{}RUN echo built > /built\n", scene.from());
    let built = build(&daemon, &dockerfile, push(&private.reference("team/app:1")), lent()).await;
    let pushed = built.result.unwrap().digest().unwrap();
    let reference = private.reference("team/app:1").parse().unwrap();
    assert_eq!(client.head_manifest(&reference).await.unwrap().unwrap().digest, pushed);

    let dockerfile = format!("FROM {}\nRUN grep built /built\n", private.reference("team/app:1"));
    let built = build(&daemon, &dockerfile, push(&private.reference("team/next:1")), lent()).await;
    built.result.unwrap();

    let asked = private.token_requests();
    assert!(asked.iter().all(|request| request.header("authorization").is_some()), "{asked:?}");
    let pushes = asked.iter().filter(|request| request.path.contains("push")).count();
    assert!((2..=4).contains(&pushes), "a token serves many requests: {asked:?}");
    assert!(!knows_the_password(scene.buildkit.id().unwrap()));
    assert!(!scene.buildkit.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tokens_gets_the_password_through_the_daemon() {
    let private = with_password();
    let Some(scene) = Scene::start(&[&private], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let (_directory, client) = client(&private, PASSWORD);
    let lent = || Lent { registry: Some(client.clone()), ..Lent::default() };
    let built = build(&daemon, &scene.from(), push(&private.reference("team/app:1")), lent()).await;
    built.result.unwrap();
    let dockerfile = format!("FROM {}\nRUN true\n", private.reference("team/app:1"));
    build(&daemon, &dockerfile, Vec::new(), lent()).await.result.unwrap();
    // Else the search of the other test would prove nothing.
    assert!(knows_the_password(scene.buildkit.id().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_over_a_connection_in_the_clear() {
    let (password, tokens) = (with_password(), with_tokens());
    let options = Options { tcp: Some(Tcp::Plain), ..Options::default() };
    let Some(scene) = Scene::start(&[&password, &tokens], options) else { return };
    let node = node(&format!("tcp://127.0.0.1:{}", scene.buildkit.port().unwrap()));
    let error = Daemon::connect(&node).await.unwrap_err();
    assert!(error.to_string().contains("would be spoken to in the clear"), "{error}");

    let daemon = Daemon::connect(&Node { allow_insecure: true, ..node }).await.unwrap();
    let lent = |client| Lent { registry: Some(client), ..Lent::default() };
    let (_directory, client_of_password) = client(&password, PASSWORD);
    let pushed =
        build(&daemon, &scene.from(), push(&password.reference("app:1")), lent(client_of_password)).await;
    match pushed.result.unwrap_err() {
        SolveError::Session {
            source: SessionError::InTheClear { host }, reason: Reason::PushFailed, ..
        } => {
            assert_eq!(host, password.host());
        }
        error => panic!("{error:?}"),
    }
    assert!(!knows_the_password(scene.buildkit.id().unwrap()));

    let (_directory, client_of_tokens) = client(&tokens, PASSWORD);
    let pushed =
        build(&daemon, &scene.from(), push(&tokens.reference("app:1")), lent(client_of_tokens)).await;
    pushed.result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_the_users_error_and_not_the_daemons() {
    let private = with_tokens();
    let Some(scene) = Scene::start(&[&private], Options::default()) else { return };
    let daemon = scene.daemon().await;
    let (_directory, client) = client(&private, "wrong");
    for (dockerfile, exports, reason) in [
        (scene.from(), push(&private.reference("team/app:1")), Reason::PushFailed),
        (format!("FROM {}\n", private.reference("team/app:1")), Vec::new(), Reason::ImagePullFailed),
    ] {
        let lent = Lent { registry: Some(client.clone()), ..Lent::default() };
        let error = build(&daemon, &dockerfile, exports, lent).await.result.unwrap_err();
        assert_eq!(error.reason(), reason, "{error:?}");
        let SolveError::Session { source: SessionError::Registry(error), .. } = error else {
            panic!("{error:?}");
        };
        assert!(error.to_string().contains(&format!("those of user `{USER}`")), "{error}");
    }
}
