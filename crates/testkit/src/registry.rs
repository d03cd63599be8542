//! Debian's `docker-registry` on a loopback port, with storage of its own.

mod access_log;
mod token_server;

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub use access_log::Request;

use self::token_server::TokenServer;
use crate::{certificate, process::ProcessError, watchdog::Watchdog, web};

/// The one user of a registry that asks for credentials.
pub const USER: &str = "archway";
/// That user's password.
pub const PASSWORD: &str = "correct horse";
/// bcrypt of [`PASSWORD`], the only form that docker-registry takes.
const HTPASSWD: &str = "archway:$2y$04$archwaytestkitsaltsalujlNENN3PjcJL6IVIT/Hob2wjHg/GFtu\n";

const PROGRAM: &str = "docker-registry";
const START_LIMIT: Duration = Duration::from_secs(20);
/// Another process may take the free port before the registry does.
const START_ATTEMPTS: usize = 5;

/// Why a registry did not start.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Its files or its process.
    #[error("cannot start {PROGRAM} (Debian package docker-registry)")]
    Start(#[from] io::Error),
    /// The certificate for TLS could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] ProcessError),
    /// It ended at once, or never answered.
    #[error("{PROGRAM} does not answer on {address}; its log:\n{log}")]
    NotReady {
        /// Where it should listen.
        address: SocketAddr,
        /// What it wrote.
        log: String,
    },
}

/// How to start a registry.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// TCP port; 0 for a free one.
    pub port: u16,
    /// Ask for [`USER`] and [`PASSWORD`].
    pub htpasswd: bool,
    /// Ask for tokens of a token server of its own, which takes [`USER`] and [`PASSWORD`].
    pub tokens: bool,
    /// Speak TLS, with a certificate for `localhost` and `127.0.0.1` signed by [`RealRegistry::ca_file`].
    pub tls: bool,
    /// Send uploads to plain HTTP, which nobody answers if there is TLS.
    pub plain_uploads: bool,
    /// Delete nothing, neither manifests nor tags.
    pub keeps_tags: bool,
    /// Where the log goes; a temporary file if not set.
    pub log: Option<PathBuf>,
}

impl Options {
    /// Starts a registry and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub fn start(&self) -> Result<RealRegistry, RegistryError> {
        let directory = tempfile::Builder::new().prefix("archway-registry-").tempdir()?;
        if self.tls {
            certificate::make(directory.path())?;
        }
        let tokens = self.tokens.then(|| TokenServer::start(directory.path())).transpose()?;
        let realm = tokens.as_ref().map(TokenServer::realm);
        let attempts = if self.port == 0 { START_ATTEMPTS } else { 1 };
        let mut result = self.launch(directory.path(), realm.as_deref());
        for _ in 1..attempts {
            if result.is_ok() {
                break;
            }
            result = self.launch(directory.path(), realm.as_deref());
        }
        result.map(|running| RealRegistry { running, tokens, directory })
    }

    fn launch(&self, directory: &Path, realm: Option<&str>) -> Result<Running, RegistryError> {
        let port = if self.port == 0 { free_port()? } else { self.port };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        fs::write(directory.join("htpasswd"), HTPASSWD)?;
        fs::write(directory.join("config.yml"), self.configuration(directory, address, realm))?;
        let log = self.log.clone().unwrap_or_else(|| directory.join("log"));
        let output = fs::File::create(&log)?;
        let process = Command::new(PROGRAM)
            .arg("serve")
            .arg(directory.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let watchdog = Watchdog::start(process.id(), directory);
        let mut running = Running { process, address, log, watchdog: None };
        running.watchdog = Some(watchdog?);
        running.wait_until_ready()?;
        Ok(running)
    }

    fn configuration(&self, directory: &Path, address: SocketAddr, realm: Option<&str>) -> String {
        let own = directory.display();
        let mut text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: \"{own}/storage\"}}\n  \
             delete: {{enabled: {}}}\n  maintenance: {{uploadpurging: {{enabled: false}}}}\n",
            !self.keeps_tags
        );
        if self.htpasswd {
            text += &format!("auth:\n  htpasswd: {{realm: archway-testkit, path: \"{own}/htpasswd\"}}\n");
        }
        if let Some(realm) = realm {
            let (name, certificate) = (token_server::NAME, token_server::certificate(directory));
            text += &format!(
                "auth:\n  token: {{realm: \"{realm}\", service: {name}, issuer: {name}, \
                 rootcertbundle: \"{}\"}}\n",
                certificate.display()
            );
        }
        text += &format!("http:\n  addr: \"{address}\"\n  secret: archway-testkit\n");
        if self.plain_uploads {
            text += &format!("  host: \"http://localhost:{}\"\n", address.port());
        }
        if self.tls {
            text += &format!("  tls: {{certificate: \"{own}/cert.pem\", key: \"{own}/key.pem\"}}\n");
        }
        text
    }
}

/// A running registry. It is killed and its storage removed on drop, and also when this process is
/// killed.
#[derive(Debug)]
pub struct RealRegistry {
    // Dropped in this order: first the process, then its files.
    running: Running,
    tokens: Option<TokenServer>,
    directory: TempDir,
}

impl RealRegistry {
    /// An open registry without TLS on a free port.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub fn start() -> Result<Self, RegistryError> {
        Options::default().start()
    }

    /// `localhost:PORT`, the first part of an image reference.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.running.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// `localhost:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// The log: the registry's messages and one line for each request.
    pub fn log_file(&self) -> &Path {
        &self.running.log
    }

    /// The requests answered so far. A request is logged just after its answer was sent, so one that
    /// was answered this instant may be missing.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> io::Result<Vec<Request>> {
        let text = fs::read(&self.running.log)?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(Request::parse).collect())
    }

    /// What its token server was asked so far; nothing if it has none.
    pub fn token_requests(&self) -> Vec<web::Request> {
        self.tokens.as_ref().map(TokenServer::requests).unwrap_or_default()
    }

    /// The certificate authority of a registry with TLS, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Where blobs are stored: `docker/registry/v2/blobs/sha256/…`, for tests that damage or count them.
    pub fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }
}

#[derive(Debug)]
struct Running {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
    watchdog: Option<Watchdog>,
}

impl Running {
    fn wait_until_ready(&mut self) -> Result<(), RegistryError> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if self.process.try_wait()?.is_some() {
                break;
            }
            if self.says_it_listens() && answers(self.address) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let log = fs::read(&self.log).unwrap_or_default();
        Err(RegistryError::NotReady {
            address: self.address,
            log: String::from_utf8_lossy(&log).into_owned(),
        })
    }

    /// An answer alone may come from another process that has the port.
    fn says_it_listens(&self) -> bool {
        fs::read(&self.log).is_ok_and(|log| String::from_utf8_lossy(&log).contains("listening on "))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First the watchdog: once the process is reaped, its id may belong to another.
        self.watchdog.take();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether anything answers HTTP; a registry with TLS says so in plain text.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /v2/ HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(1024).read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1."))
}
