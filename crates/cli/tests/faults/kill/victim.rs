//! A build that is killed.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use archway_oci::Digest;
use archway_testkit::{Cli, Random};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use super::tags::Tags;
use crate::{place::registry, store};

/// Generous, for a loaded machine: what a kill leaves is gone much sooner.
const LIMIT: Duration = Duration::from_secs(30);

/// What is built: a step in each platform, shared layers, copies, and a cache mount.
const DOCKERFILE: &str = "FROM BASE AS made\n\
    COPY data /data\n\
    RUN --mount=type=cache,target=/kept cp /data /kept/last && cat /kept/last /data > /made\n\
    FROM BASE\n\
    COPY --from=made /made /made\n\
    COPY data noise /\n\
    RUN mkdir -p /deep/er && cp /noise /deep/er/noise && ln /deep/er/noise /linked\n";

/// A store, and the tags its builds move.
pub(super) struct Victim<'a> {
    cli: Cli,
    tags: &'a Tags,
}

/// A build that was let through.
pub(super) struct Built {
    /// Of the index.
    pub(super) digest: Digest,
    /// Steps that were not in the build cache.
    pub(super) steps_run: u64,
}

impl<'a> Victim<'a> {
    pub(super) fn new(cli: Cli, tags: &'a Tags) -> Self {
        cli.write("Dockerfile", DOCKERFILE.replace("BASE", &registry().reference("busybox"))).unwrap();
        Self { cli, tags }
    }

    /// The context of a build, which decides its digest.
    pub(super) fn context(&self, number: u64) {
        let mut random = Random::new(number);
        let noise: Vec<u8> = (0..300_000).map(|_| random.below(256) as u8).collect();
        self.cli.write("data", number.to_string()).unwrap();
        self.cli.write("noise", noise).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = self.cli.command();
        command.args(["build", "--quiet", "--push", "--platform=linux/amd64,linux/arm64"]);
        command.arg("--build-arg=SOURCE_DATE_EPOCH=1700000000");
        command.args(self.tags.references().map(|reference| format!("--tag={reference}"))).arg(".");
        command
    }

    /// Builds to the end.
    pub(super) fn build(&self) -> Built {
        let metadata = self.cli.home().join("metadata.json");
        let output = self.command().arg("--metadata-file").arg(&metadata).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let digest = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
        let platforms = metadata["archway.platforms"].as_array().unwrap();
        assert_eq!(platforms.len(), 2);
        let steps_run = platforms.iter().map(|platform| platform["stepsRun"].as_u64().unwrap()).sum();
        Built { digest, steps_run }
    }

    /// A build in a process group of its own.
    pub(super) fn start(&self) -> Child {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).spawn().unwrap()
    }

    /// No process of it is there, nothing is mounted, and every object of the store is whole.
    pub(super) fn assert_nothing_is_left(&self, what: &str) {
        let started = Instant::now();
        while !self.processes().is_empty() && started.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.processes(), Vec::<String>::new(), "{what}: processes are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.cli.root().to_str().unwrap()), "{what}: {mounts}");
        store::assert_valid(&self.cli, what);
    }

    /// Processes that the environment or a mount says are ours: steps, helpers, the program.
    fn processes(&self) -> Vec<String> {
        let root = self.cli.root();
        let root = root.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
        let ours = processes.filter(|process| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            mounts.contains(root) || String::from_utf8_lossy(&environment).contains(root)
        });
        ours.map(|process| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            format!("{} {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
    }
}

/// Which processes a kill is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    Program,
    Group,
}

impl Aim {
    /// Kills what has not ended; whether it ended by itself.
    pub(super) fn kill(self, mut build: Child, what: &str) -> bool {
        // Once it was waited for, the number may be another's.
        if build.try_wait().unwrap().is_none() {
            let id = i32::try_from(build.id()).ok().and_then(Pid::from_raw).unwrap();
            match self {
                Self::Program => kill_process(id, Signal::KILL),
                Self::Group => kill_process_group(id, Signal::KILL),
            }
            .unwrap();
        }
        let status = build.wait().unwrap();
        assert!(status.success() || status.code().is_none(), "{what}: {status}");
        status.success()
    }
}
