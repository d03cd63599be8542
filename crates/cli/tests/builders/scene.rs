//! Daemons, certificates, the file of builders, and a registry.

use std::{
    cell::Cell,
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{self, Child, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use archway_testkit::{
    BaseImages, Buildkit, Cli, RealRegistry, Skopeo,
    bases::Base,
    buildkit::{Options, Tcp},
    cli::Run,
    tools,
};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// This machine's platform, and one that the second daemon presents.
pub(crate) const TWO: &str = "linux/amd64,linux/arm64";
/// Longer than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// A command line, a registry, and a directory of certificates.
pub(crate) struct Scene {
    pub(crate) cli: Cli,
    repository: String,
    /// Whether the builder `pool` has a daemon already.
    has_pool: Cell<bool>,
}

impl Scene {
    /// `None` where the tools that every test needs are missing: the test is to be skipped.
    pub(crate) fn new() -> Option<Self> {
        if !tools::require_each(&["docker-registry", "skopeo", "qemu-aarch64-static", "runc"]) {
            return None;
        }
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cli = Cli::new(env!("CARGO_BIN_EXE_archway")).expect("a directory for the test");
        let repository = format!("builders-{}-{number}-test", process::id());
        Some(Self { cli, repository, has_pool: Cell::new(false) })
    }

    /// Writes `Dockerfile`; `BASE` in it stands for the busybox image.
    pub(crate) fn dockerfile(&self, text: &str) {
        let text = text.replace("BASE", &registry().reference("busybox"));
        self.cli.write("Dockerfile", text).expect("the test's directory can be written");
    }

    /// `localhost:PORT/TEST:tag` in this test's own repository.
    pub(crate) fn image(&self, tag: &str) -> String {
        registry().reference(&format!("{}:{tag}", self.repository))
    }

    pub(crate) fn archway(&self, arguments: &[&str]) -> Run {
        self.cli.run(arguments).expect("archway starts")
    }

    /// `archway build ARGUMENTS .`
    pub(crate) fn build(&self, arguments: &[&str]) -> Run {
        self.archway(&[&["build", "--progress=plain"], arguments, &["."]].concat())
    }

    /// The same, in the background.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let arguments = [&["build", "--progress=plain"], arguments, &["."]].concat();
        let mut command = self.cli.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Running(command.spawn().expect("archway starts"))
    }

    /// A daemon that clients with certificates reach over TCP; made for `platforms`, or for what it finds out.
    pub(crate) fn daemon(&self, platforms: &[&str]) -> Option<Buildkit> {
        let certificates = self.cli.work().join("../certificates");
        if !certificates.exists() {
            let directory = certificates.to_str().expect("a path of text");
            self.archway(&["builder", "certs", "--dir", directory, "--server", "localhost,127.0.0.1"])
                .succeeded();
        }
        let server = certificates.join("server");
        Buildkit::required(&Options {
            tcp: Some(Tcp::Mutual {
                authority: server.join("ca.pem"),
                certificate: server.join("cert.pem"),
                key: server.join("key.pem"),
            }),
            platforms: platforms.iter().map(|platform| (*platform).to_owned()).collect(),
            ..Options::default()
        })
    }

    /// Adds a daemon to the builder `pool`.
    pub(crate) fn add(&self, daemon: &Buildkit) {
        let client = self.cli.work().join("../certificates/client");
        let file = |name: &str| client.join(name).display().to_string();
        let (cacert, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let endpoint = endpoint(daemon);
        let mut arguments = vec!["builder", "create", "pool"];
        arguments.extend(self.has_pool.replace(true).then_some("--append"));
        arguments.extend(["--cacert", &cacert, "--cert", &cert, "--key", &key, &endpoint]);
        self.archway(&arguments).succeeded();
    }

    /// The document that a name of the registry stands for, as skopeo reads it; `None` if there is no such name.
    pub(crate) fn published(&self, image: &str) -> Option<Value> {
        let bytes = Skopeo::new().raw_manifest(&format!("docker://{image}")).ok()?;
        Some(serde_json::from_slice(&bytes).expect("a JSON document"))
    }

    /// A JSON file that a run wrote.
    pub(crate) fn json(&self, path: &str) -> Value {
        let bytes = fs::read(self.cli.work().join(path)).expect("the file was written");
        serde_json::from_slice(&bytes).expect("the file holds JSON")
    }
}

/// `tcp://127.0.0.1:PORT`
pub(crate) fn endpoint(daemon: &Buildkit) -> String {
    format!("tcp://127.0.0.1:{}", daemon.port().expect("it listens on TCP"))
}

/// A build in the background; killed when it is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a process id")).expect("a process id");
        rustix::process::kill_process(pid, Signal::INT).expect("the build runs");
    }

    /// How it ended, and what it wrote.
    ///
    /// # Panics
    /// If it does not end.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut pipe = self.0.stderr.take().expect("piped");
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("it is a child") {
                break status;
            }
            assert!(started.elapsed() < LIMIT, "the build hangs");
            std::thread::sleep(Duration::from_millis(50));
        };
        (status.code(), reading.join().unwrap().expect("it writes text"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A place where a step waits until the test lets it go on: `RUN` of [`Gate::wait`].
pub(crate) struct Gate {
    listener: TcpListener,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    /// An instruction that waits here. Daemons of tests have this machine's network.
    pub(crate) fn wait(&self) -> String {
        let port = self.listener.local_addr().expect("it is bound").port();
        format!(r#"RUN ["/bin/busybox", "wget", "-q", "-O", "/waited", "http://127.0.0.1:{port}/"]"#)
    }

    /// Waits for a step to come. It waits as long as the result lives, or until it is let go.
    pub(crate) fn arrival(&self) -> Waiting {
        self.listener.set_nonblocking(true).expect("a socket");
        let started = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Waiting(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(started.elapsed() < LIMIT, "no step comes to the gate");
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A step at a gate.
pub(crate) struct Waiting(TcpStream);

impl Waiting {
    /// Lets it go on.
    pub(crate) fn release(mut self) {
        self.0.set_nonblocking(false).expect("a socket");
        let mut request = [0; 1024];
        let _ = self.0.read(&mut request);
        self.0.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the step reads");
    }
}

/// Sends a signal to a daemon.
pub(crate) fn signal(daemon: &Buildkit, signal: Signal) {
    let id = daemon.id().expect("the daemon runs");
    let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the daemon is this test's");
}

/// Whether a step of a daemon runs this program.
pub(crate) fn runs(daemon: &Buildkit, program: &str) -> bool {
    let Some(daemon) = daemon.id() else { return false };
    let processes = fs::read_dir("/proc").expect("/proc is mounted").filter_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.parse::<u32>().ok()
    });
    processes.filter(|id| command(*id).is_some_and(|command| command == program)).any(|id| {
        let mut ancestor = Some(id);
        while let Some(id) = ancestor {
            if id == daemon {
                return true;
            }
            ancestor = parent(id);
        }
        false
    })
}

fn command(id: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{id}/comm")).ok()?.trim().to_owned())
}

fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 1)
}

/// Started by the first test, with a base image; its watchdog ends it with this program.
pub(crate) fn registry() -> &'static RealRegistry {
    static REGISTRY: OnceLock<RealRegistry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = RealRegistry::start().expect("docker-registry starts");
        let bases = BaseImages::open().expect("a cache of base images");
        bases.push(Base::Busybox, &registry.host()).expect("busybox can be made and pushed");
        registry
    })
}
