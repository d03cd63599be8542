//! An S3-compatible object store on a loopback port: `gofakes3`, in memory. It compares entity tags as S3
//! does, and does not check signatures.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::watchdog::Watchdog;

/// Its program: `go install github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0`.
pub const PROGRAM: &str = "gofakes3";
/// The one bucket.
pub const BUCKET: &str = "bucket";

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running object store. It is killed on drop, and also when this process is killed.
#[derive(Debug)]
pub struct ObjectStore {
    process: Child,
    address: SocketAddr,
    watchdog: Option<Watchdog>,
    _directory: TempDir,
}

impl ObjectStore {
    /// An object store with one empty bucket, [`BUCKET`].
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub fn start() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("archway-objects-").tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let process = Command::new(PROGRAM)
            .args(["-backend", "memory", "-initialbucket", BUCKET, "-host", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let watchdog = Watchdog::start(process.id(), directory.path());
        let mut store = Self { process, address, watchdog: None, _directory: directory };
        store.watchdog = Some(watchdog?);
        let started = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if store.process.try_wait()?.is_some() || started.elapsed() > START_LIMIT {
                return Err(io::Error::other(format!("{PROGRAM} does not answer on {address}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(store)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        // First the watchdog: once the process is reaped, its id may belong to another.
        self.watchdog.take();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
