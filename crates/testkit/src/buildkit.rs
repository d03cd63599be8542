//! BuildKit: the reference for what a Dockerfile means.
//!
//! `scripts/peers` builds it from Go's module proxy. A [`Buildkit`] is a daemon with a store, a socket,
//! a mount namespace and a process namespace of its own: when it ends, or this process does, nothing of
//! it is left on the machine.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{peers, registry::free_port, tools, watchdog::Watchdog};

/// The release that results are compared with.
pub const VERSION: &str = "v0.32.2";

/// Names the directory that `scripts/peers` builds into.
pub const DIRECTORY: &str = "ARCHWAY_PEERS";

const START_LIMIT: Duration = Duration::from_secs(60);
/// Another process may take the free port before the daemon does.
const START_ATTEMPTS: usize = 5;

/// How to start a daemon. It always listens on a Unix socket of its own.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Registries (`localhost:5000`) that it reads over plain HTTP.
    pub registries: Vec<String>,
    /// Listen on a free port of the loopback address, too.
    pub tcp: Option<Tcp>,
    /// What it says it builds for, its own platform first (`linux/arm64`); empty: what it finds out.
    pub platforms: Vec<String>,
}

/// How a daemon is spoken to over TCP.
#[derive(Debug, Clone)]
pub enum Tcp {
    /// By anybody, in the clear.
    Plain,
    /// With TLS, by who has a certificate. Files in PEM form.
    Mutual {
        /// Certificates that clients' must come from.
        authority: PathBuf,
        /// The daemon's certificate.
        certificate: PathBuf,
        /// The daemon's key.
        key: PathBuf,
    },
}

/// Why BuildKit did not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildkitError {
    /// Its files or its process.
    #[error("cannot start buildkitd")]
    Start(#[from] io::Error),
    /// It ended at once, or never answered.
    #[error("buildkitd does not answer; its log:\n{log}")]
    NotReady {
        /// What it wrote.
        log: String,
    },
}

/// The programs of one release of BuildKit.
#[derive(Debug, Clone)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Those that `scripts/peers` built. `None` where it did not.
    pub fn find() -> Option<Self> {
        let directory = peers::directory()?.join(format!("buildkit-{VERSION}"));
        let complete =
            ["buildkitd", "buildctl", "language"].iter().all(|program| directory.join(program).is_file());
        complete.then_some(Self { directory })
    }

    /// The daemon itself.
    pub fn buildkitd(&self) -> PathBuf {
        self.directory.join("buildkitd")
    }

    /// The program that answers what BuildKit's own packages make of words and ignore files.
    pub fn language(&self) -> PathBuf {
        self.directory.join("language")
    }

    /// Starts a daemon, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started, which takes root, or does not answer in time.
    pub fn start(&self, options: &Options) -> Result<Buildkit, BuildkitError> {
        let mut attempts = 1;
        loop {
            let port = options.tcp.as_ref().map(|_| free_port()).transpose()?;
            match self.start_once(port, |own| configuration(own, options, port)) {
                Err(BuildkitError::NotReady { log })
                    if attempts < START_ATTEMPTS && log.contains("address already in use") =>
                {
                    attempts += 1;
                }
                result => return result,
            }
        }
    }

    /// Starts a daemon with the `buildkitd.toml` that `configuration` gives for its directory, and waits until
    /// it answers at `socket` there.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(&self, configuration: impl FnOnce(&Path) -> String) -> Result<Buildkit, BuildkitError> {
        self.start_once(None, configuration)
    }

    fn start_once(
        &self,
        port: Option<u16>,
        configuration: impl FnOnce(&Path) -> String,
    ) -> Result<Buildkit, BuildkitError> {
        let directory = tempfile::Builder::new().prefix("archway-buildkit-").tempdir()?;
        let own = directory.path();
        fs::write(own.join("buildkitd.toml"), configuration(own))?;
        let process = self
            .command("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child=KILL"])
            .arg("--mount-proc")
            .arg(self.directory.join("buildkitd"))
            .arg("--config")
            .arg(own.join("buildkitd.toml"))
            .env("PATH", path(own)?)
            // Its temporary mounts belong to its directory, too.
            .env("TMPDIR", own)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(own.join("log"))?)
            .spawn()?;
        let watchdog = Watchdog::start(process.id(), own);
        let running = Running { process, watchdog: Some(watchdog?) };
        let mut buildkit = Buildkit { running, programs: self.clone(), directory, port };
        buildkit.wait_until_ready()?;
        Ok(buildkit)
    }

    /// `program` without this user's configuration of Docker and BuildKit.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for name in ["BUILDKIT_HOST", "DOCKER_CONFIG", "SOURCE_DATE_EPOCH", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        command
    }
}

/// `$PATH` with what BuildKit looks for to run arm64 where this machine has no handler for it. It is QEMU
/// as Debian has it, which emulates the first process of a step and no other.
fn path(own: &Path) -> io::Result<OsString> {
    let directory = own.join("bin");
    fs::create_dir(&directory)?;
    if let Some(qemu) = tools::find("qemu-aarch64-static") {
        symlink(qemu, directory.join("buildkit-qemu-aarch64"))?;
    }
    let inherited = env::var_os("PATH").unwrap_or_default();
    env::join_paths([directory].into_iter().chain(env::split_paths(&inherited))).map_err(io::Error::other)
}

fn configuration(own: &Path, options: &Options, port: Option<u16>) -> String {
    let directory = own.display();
    let mut addresses = format!("\"unix://{directory}/socket\"");
    if let Some(port) = port {
        addresses += &format!(", \"tcp://127.0.0.1:{port}\"");
    }
    let mut text = format!(
        "root = \"{directory}/root\"\n\
         insecure-entitlements = [\"network.host\", \"security.insecure\"]\n\
         [grpc]\naddress = [{addresses}]\n"
    );
    if let Some(Tcp::Mutual { authority, certificate, key }) = &options.tcp {
        text += &format!("[grpc.tls]\nca = {authority:?}\ncert = {certificate:?}\nkey = {key:?}\n");
    }
    text += "[cdi]\ndisabled = true\n\
         [worker.containerd]\nenabled = false\n\
         [worker.oci]\nenabled = true\nsnapshotter = \"overlayfs\"\ngc = false\nnetworkMode = \"host\"\n";
    if !options.platforms.is_empty() {
        text += &format!("platforms = {:?}\n", options.platforms);
    }
    for registry in &options.registries {
        text += &format!("[registry.\"{registry}\"]\nhttp = true\n");
    }
    text
}

/// A running daemon. It ends on drop, and also when this process is killed.
#[derive(Debug)]
pub struct Buildkit {
    // Dropped in this order: first the process, then its files.
    running: Running,
    programs: Programs,
    directory: TempDir,
    port: Option<u16>,
}

impl Buildkit {
    /// `None` where it cannot be started: the test is to be skipped.
    ///
    /// # Panics
    /// Where it cannot and every test must run ([`tools::skip`]), or if it does not answer.
    pub fn required(options: &Options) -> Option<Self> {
        let Some(programs) = Programs::find() else {
            tools::skip(&format!("buildkitd {VERSION} is not built: scripts/peers builds it, with Go"));
            return None;
        };
        let is_root = rustix::process::geteuid().is_root() || tools::skip("only root can run buildkitd");
        let can_start = is_root && tools::require("runc");
        can_start.then(|| programs.start(options).expect("the daemon starts"))
    }

    /// Where it listens: its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Where it listens on 127.0.0.1, if it does ([`Options::tcp`]).
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Process id of the daemon itself, for signals; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        let parent = self.running.process.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        children.split_ascii_whitespace().next()?.parse().ok()
    }

    /// `buildctl` for this daemon, its arguments still to come.
    pub fn buildctl(&self) -> Command {
        let mut command = self.programs.command(self.programs.directory.join("buildctl"));
        command.arg("--addr").arg(format!("unix://{}", self.socket().display()));
        // Docker's credentials of whoever runs this have no part in it.
        command.env("DOCKER_CONFIG", self.directory.path());
        command
    }

    fn wait_until_ready(&mut self) -> Result<(), BuildkitError> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT && self.running.process.try_wait()?.is_none() {
            let answer = self
                .buildctl()
                .args(["debug", "workers"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if answer.success() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(BuildkitError::NotReady { log: self.log() })
    }
}

#[derive(Debug)]
struct Running {
    process: Child,
    watchdog: Option<Watchdog>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // First the watchdog: once the process is reaped, its id may belong to another.
        self.watchdog.take();
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The daemon, in the namespace below, ends a moment later; it holds the pipe until then.
        if let Some(mut pipe) = self.process.stdout.take() {
            let _ = pipe.read_to_end(&mut Vec::new());
        }
        remove_control_groups(Path::new("/sys/fs/cgroup"));
    }
}

/// runc makes a group for the daemon's steps, in each hierarchy where there are several, and leaves it.
/// One that another daemon uses is not empty, and stays.
fn remove_control_groups(root: &Path) {
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in [root.to_owned()].into_iter().chain(hierarchies) {
        let _ = fs::remove_dir(hierarchy.join("buildkit"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_built() {
        let module = include_str!("../peers/go.mod");
        assert!(module.contains(&format!("github.com/moby/buildkit {VERSION}")), "{module}");
        assert!(module.contains("github.com/moby/buildkit/cmd/buildkitd"));
    }

    #[test]
    fn control_groups_go_where_they_are_empty() {
        let root = tempfile::tempdir().unwrap();
        for group in ["buildkit", "pids/buildkit", "memory/buildkit/used", "memory/other"] {
            fs::create_dir_all(root.path().join(group)).unwrap();
        }
        remove_control_groups(root.path());
        let exists = |group: &str| root.path().join(group).exists();
        assert!(!exists("buildkit") && !exists("pids/buildkit"));
        assert!(exists("memory/buildkit/used") && exists("memory/other"));
    }

    #[test]
    fn registries_are_read_over_plain_http() {
        let options = Options { registries: vec!["localhost:5000".into()], ..Options::default() };
        let text = configuration(Path::new("/d"), &options, None);
        assert!(
            text.contains("root = \"/d/root\"")
                && text.contains("address = [\"unix:///d/socket\"]\n")
                && text.ends_with("[registry.\"localhost:5000\"]\nhttp = true\n")
        );
    }

    #[test]
    fn a_port_can_ask_for_certificates() {
        let tls = Tcp::Mutual { authority: "/a".into(), certificate: "/c".into(), key: "/k".into() };
        let options = Options { tcp: Some(tls), platforms: vec!["linux/arm64".into()], ..Options::default() };
        let text = configuration(Path::new("/d"), &options, Some(77));
        assert!(
            text.contains(
                "address = [\"unix:///d/socket\", \"tcp://127.0.0.1:77\"]\n[grpc.tls]\nca = \"/a\"\n"
            )
        );
        assert!(text.ends_with("platforms = [\"linux/arm64\"]\n"));
    }
}
