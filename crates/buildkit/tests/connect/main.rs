//! Every way in which a connection is refused, by real daemons where there are any that do it.

mod stub;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use archway_buildkit::{
    ConnectError, Daemon, Node,
    certs::{self, Order, VALIDITY},
    tls::{Tls, TlsError},
};
use archway_testkit::{
    Buildkit,
    buildkit::{Options, Tcp},
};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A directory of certificates for the loopback address.
struct Certs(TempDir);

impl Certs {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        certs::create(directory.path(), &Self::order(), SystemTime::now()).unwrap();
        Self(directory)
    }

    fn order() -> Order {
        let server = vec!["localhost".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        Order { server, client: None, validity: VALIDITY }
    }

    /// As they are now, in another place: the same authority.
    fn copy(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["", "server", "client"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
            for entry in fs::read_dir(self.file(name)).unwrap().map(Result::unwrap) {
                if entry.path().is_file() {
                    fs::copy(entry.path(), directory.path().join(name).join(entry.file_name())).unwrap();
                }
            }
        }
        Self(directory)
    }

    /// The same authority; what it issued has expired.
    fn expired(&self) -> Self {
        self.reissued(SystemTime::now() - 2 * HOUR, HOUR)
    }

    /// The same authority; what it issued is not valid yet.
    fn future(&self) -> Self {
        self.reissued(SystemTime::now() + 3 * HOUR, HOUR)
    }

    fn reissued(&self, now: SystemTime, validity: Duration) -> Self {
        let copy = self.copy();
        certs::rotate(copy.0.path(), &Order { validity, ..Self::order() }, now).unwrap();
        copy
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn server(&self) -> Options {
        let file = |name| self.file("server").join(name);
        let tcp =
            Tcp::Mutual { authority: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") };
        Options { tcp: Some(tcp), ..Options::default() }
    }

    fn client(&self) -> Tls {
        let file = |name| self.file("client").join(name);
        Tls {
            cacert: file("ca.pem"),
            cert: Some(file("cert.pem")),
            key: Some(file("key.pem")),
            server_name: None,
        }
    }
}

fn node(port: u16, tls: Option<Tls>) -> Node {
    Node {
        endpoint: format!("tcp://127.0.0.1:{port}").parse().unwrap(),
        platforms: Vec::new(),
        tls,
        allow_insecure: false,
    }
}

fn in_the_clear(port: u16) -> Node {
    Node { allow_insecure: true, ..node(port, None) }
}

async fn refused(node: &Node) -> ConnectError {
    match Daemon::connect(node).await {
        Ok(_) => panic!("{node:?} is connected to"),
        Err(error) => error,
    }
}

/// A port that nobody listens on.
fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

macro_rules! assert_refused {
    ($node:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = refused(&$node).await;
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
    }};
}

#[tokio::test]
async fn a_daemon_with_certificates_lets_in_who_has_one_of_its_authority() {
    let certs = Certs::new();
    let Some(buildkit) = Buildkit::required(&certs.server()) else { return };
    let port = buildkit.port().unwrap();

    let daemon = Daemon::connect(&node(port, Some(certs.client()))).await.unwrap();
    // One that was built from its module does not know its release.
    assert!(daemon.version().starts_with('v'), "{}", daemon.version());
    let own = daemon.workers()[0].platforms[0].clone();
    assert!(own.runs_natively_on(&archway_oci::Platform::host_processor()), "{own}");
    daemon.disk_usage().await.unwrap();
    assert_eq!(daemon.running().await.unwrap(), 0);

    let other = Certs::new();
    let with = |change: &dyn Fn(&mut Tls)| {
        let mut tls = certs.client();
        change(&mut tls);
        node(port, Some(tls))
    };
    let of = |certs: &Certs| {
        let Tls { cert, key, .. } = certs.client();
        with(&move |tls| (tls.cert, tls.key) = (cert.clone(), key.clone()))
    };
    assert_refused!(with(&|tls| tls.cacert = other.file("ca.pem")), ConnectError::UnknownAuthority { cacert, .. } if *cacert == other.file("ca.pem"));
    assert_refused!(with(&|tls| tls.server_name = Some("elsewhere.example".into())), ConnectError::WrongName { name, .. } if name == "elsewhere.example");
    assert_refused!(with(&|tls| tls.server_name = Some("not a name".into())), ConnectError::WrongName { .. });
    assert_refused!(
        with(&|tls| (tls.cert, tls.key) = (None, None)),
        ConnectError::ClientCertificateRequired { .. }
    );
    assert_refused!(of(&other), ConnectError::ClientCertificateRefused { why, .. } if why.contains("authority"));
    for expired in [certs.expired(), certs.future()] {
        assert_refused!(of(&expired), ConnectError::ClientCertificateRefused { why, .. } if why.contains("expired, or is not valid yet"));
    }
    let server = |name| Some(certs.file("server").join(name));
    assert_refused!(
        with(&|tls| (tls.cert, tls.key) = (server("cert.pem"), server("key.pem"))),
        ConnectError::ClientCertificateRefused { why, .. } if why.contains("not for clients")
    );
    assert_refused!(node(port, None), ConnectError::Insecure { .. });
    assert_refused!(in_the_clear(port), ConnectError::Protocol { what, .. } if what.contains("certificates"));
    // Its name is in the certificate as well.
    Daemon::connect(&with(&|tls| tls.server_name = Some("localhost".into()))).await.unwrap();
}

#[tokio::test]
async fn a_daemon_whose_certificate_is_not_valid_now_is_told_by_that() {
    let certs = Certs::new();
    for (server, text) in [(certs.expired(), "has expired"), (certs.future(), "is not valid yet")] {
        let Some(buildkit) = Buildkit::required(&server.server()) else { return };
        let node = node(buildkit.port().unwrap(), Some(certs.client()));
        assert_refused!(node, ConnectError::ServerExpired { when, .. } if *when == text);
    }
}

#[tokio::test]
async fn daemons_and_clients_of_before_and_after_a_rotation_know_each_other() {
    let now = SystemTime::now();
    let half_a_year = 190 * 24 * HOUR;
    let old = Certs(tempfile::tempdir().unwrap());
    certs::create(old.0.path(), &Certs::order(), now - half_a_year).unwrap();
    // Renewed last week, and still from the old authority.
    let old = {
        certs::rotate(old.0.path(), &Certs::order(), now - half_a_year + HOUR).unwrap();
        let longer = Order { validity: 3 * VALIDITY, ..Certs::order() };
        let copy = old.copy();
        certs::rotate(copy.0.path(), &longer, now - half_a_year + 150 * 24 * HOUR).unwrap();
        copy
    };
    let new = old.copy();
    let bundle = certs::rotate(new.0.path(), &Certs::order(), now).unwrap();
    assert_eq!((bundle.authorities.len(), bundle.cross.len()), (2, 1));
    for (server, client, which) in
        [(&new, &old, "a new daemon, an old client"), (&old, &new, "an old daemon, a new client")]
    {
        let Some(buildkit) = Buildkit::required(&server.server()) else { return };
        let node = node(buildkit.port().unwrap(), Some(client.client()));
        Daemon::connect(&node).await.unwrap_or_else(|error| panic!("{which}: {error:?}"));
    }
}

#[tokio::test]
async fn a_daemon_in_the_clear_is_spoken_to_if_that_is_meant() {
    let options = Options { tcp: Some(Tcp::Plain), ..Options::default() };
    let Some(buildkit) = Buildkit::required(&options) else { return };
    let port = buildkit.port().unwrap();
    Daemon::connect(&in_the_clear(port)).await.unwrap();
    let socket = format!("unix://{}", buildkit.socket().display());
    Daemon::connect(&Node { endpoint: socket.parse().unwrap(), ..node(port, None) }).await.unwrap();
    assert_refused!(node(port, None), ConnectError::Insecure { .. });
    let certs = Certs::new();
    assert_refused!(node(port, Some(certs.client())), ConnectError::Protocol { what, .. } if *what == "does not speak TLS");
}

#[tokio::test]
async fn files_that_are_none_are_found_before_anybody_is_asked() {
    let certs = Certs::new();
    // Nobody is there, and nobody has to be.
    let port = dead_port();
    let with = |change: &dyn Fn(&mut Tls)| {
        let mut tls = certs.client();
        change(&mut tls);
        node(port, Some(tls))
    };
    let garbled = certs.file("garbled.pem");
    fs::write(&garbled, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    let empty = certs.file("empty.pem");
    fs::write(&empty, "no certificate\n").unwrap();
    let nonsense = certs.file("nonsense.pem");
    fs::write(&nonsense, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let missing = PathBuf::from("/nowhere/ca.pem");
    let is = |path: &Path, want: &Path| path == want;

    assert_refused!(with(&|tls| tls.cacert = missing.clone()), ConnectError::Tls(TlsError::File { path, .. }) if is(path, &missing));
    assert_refused!(with(&|tls| tls.cacert = garbled.clone()), ConnectError::Tls(TlsError::File { path, .. }) if is(path, &garbled));
    assert_refused!(with(&|tls| tls.cacert = empty.clone()), ConnectError::Tls(TlsError::Empty { path }) if is(path, &empty));
    assert_refused!(with(&|tls| tls.cacert = nonsense.clone()), ConnectError::Tls(TlsError::Authority { path, .. }) if is(path, &nonsense));
    assert_refused!(with(&|tls| tls.cert = Some(missing.clone())), ConnectError::Tls(TlsError::File { what, .. }) if what.contains("certificate"));
    assert_refused!(with(&|tls| tls.cert = Some(empty.clone())), ConnectError::Tls(TlsError::Empty { path }) if is(path, &empty));
    assert_refused!(with(&|tls| tls.cert = Some(nonsense.clone())), ConnectError::Tls(TlsError::Client { cert, .. }) if is(cert, &nonsense));
    assert_refused!(with(&|tls| tls.key = Some(missing.clone())), ConnectError::Tls(TlsError::File { what, .. }) if what.contains("key"));
    assert_refused!(with(&|tls| tls.key = Some(empty.clone())), ConnectError::Tls(TlsError::File { path, .. }) if is(path, &empty));
    let key = certs.file("server/key.pem");
    assert_refused!(with(&|tls| tls.key = Some(key.clone())), ConnectError::Tls(TlsError::OtherKey { key: found, .. }) if is(found, &key));
    assert_refused!(with(&|_| {}), ConnectError::Unreachable { .. });
}

#[tokio::test]
async fn nobody_there_and_nobody_who_answers() {
    assert_refused!(in_the_clear(dead_port()), ConnectError::Unreachable { .. });
    let socket = Node { endpoint: "unix:///nowhere/socket".parse().unwrap(), ..in_the_clear(1) };
    assert_refused!(socket, ConnectError::Unreachable { .. });
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let certs = Certs::new();
    for node in [in_the_clear(port), node(port, Some(certs.client()))] {
        let error = Daemon::connect_within(&node, Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn others_than_todays_daemons_are_known_by_their_answers() {
    for version in ["v0.12.0", "v0.12.5"] {
        let node = in_the_clear(stub::daemon(Some(version)).await);
        assert_refused!(node, ConnectError::TooOld { found, needed, .. } if found == version && *needed == "0.13");
    }
    // Before there was a version to ask for.
    assert_refused!(in_the_clear(stub::daemon(None).await), ConnectError::TooOld { .. });
    Daemon::connect(&in_the_clear(stub::daemon(Some("v0.13.0")).await)).await.unwrap();
    assert_refused!(in_the_clear(stub::other_service().await), ConnectError::NotBuildKit { .. });
    assert_refused!(in_the_clear(stub::http1().await), ConnectError::Protocol { what, .. } if what.contains("HTTP/2"));
}
