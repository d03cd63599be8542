//! `kill -9` at any moment of a build with a push: the store stays valid, the tag whole, and nothing
//! of the build goes on.
//!
//! `make kill-test KILLS=1000 SEED=7` runs it with other numbers than `make test` does. A seed decides what
//! is killed and after how many microseconds; what a build has done by then also depends on the machine.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use archway_oci::Digest;
use archway_store::Store;
use archway_testkit::{Cli, Random};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::place::{Repository, archway, is_ready, registry};

/// How many kills, if not 100.
const KILLS: &str = "ARCHWAY_KILLS";
/// Where the random numbers start, if not at 1.
const SEED: &str = "ARCHWAY_SEED";

/// A build is killed up to so many times before it is let through.
const KILLS_OF_ONE: u64 = 4;
/// After so many of them, one is compared with a build that was never killed.
const COMPARED: u64 = 10;

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

/// A store and a tag that go through all the kills.
struct Victim {
    cli: Cli,
    repository: Repository,
}

impl Victim {
    fn new(repository: Repository) -> Self {
        let cli = archway();
        cli.write("Dockerfile", DOCKERFILE.replace("BASE", &registry().reference("busybox"))).unwrap();
        Self { cli, repository }
    }

    /// The context of a build, which decides its digest.
    fn context(&self, number: u64) {
        let mut random = Random::new(number);
        let noise: Vec<u8> = (0..300_000).map(|_| random.below(256) as u8).collect();
        self.cli.write("data", number.to_string()).unwrap();
        self.cli.write("noise", noise).unwrap();
    }

    fn command(&self, tag: &str) -> Command {
        let mut command = self.cli.command();
        command.args(["build", "--quiet", "--push", "--platform=linux/amd64,linux/arm64"]).args([
            "--build-arg=SOURCE_DATE_EPOCH=1700000000",
            "-t",
            &self.repository.image(tag),
            ".",
        ]);
        command
    }

    /// Builds to the end; the digest of the index.
    fn build(&self, tag: &str) -> Digest {
        let output = self.command(tag).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }

    /// A build in a process group of its own.
    fn start(&self) -> Child {
        self.command("1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    /// No process of it is there, nothing is mounted, and every object of the store is whole.
    fn assert_nothing_is_left(&self, what: &str) {
        let started = Instant::now();
        while !self.processes().is_empty() && started.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.processes(), Vec::<String>::new(), "{what}: processes are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.cli.root().to_str().unwrap()), "{what}: {mounts}");
        self.assert_the_store_is_valid(what);
    }

    /// Processes that the environment or the directory says are ours: steps, helpers, the program.
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

    fn assert_the_store_is_valid(&self, what: &str) {
        // A build that was killed at once may not have come to it.
        if !self.cli.root().exists() {
            return;
        }
        let store = Store::open(self.cli.root()).unwrap_or_else(|error| panic!("{what}: {error}"));
        for digest in store.blobs().list().unwrap() {
            assert!(store.blobs().verify(&digest).unwrap(), "{what}: {digest} is damaged");
        }
        for key in store.snapshots().list().unwrap() {
            assert!(store.snapshots().path(&key).unwrap().is_some(), "{what}: {key} is listed and missing");
        }
        store.usage().unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// Which processes a kill is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    Program,
    Group,
}

impl Aim {
    fn kill(self, build: &Child) {
        let id = i32::try_from(build.id()).ok().and_then(Pid::from_raw).unwrap();
        // Not yet waited for: the number is still the build's, also if it has ended.
        let _ = match self {
            Self::Program => kill_process(id, Signal::KILL),
            Self::Group => kill_process_group(id, Signal::KILL),
        };
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

#[test]
fn a_build_that_is_killed_leaves_a_valid_store_and_a_whole_tag() {
    if !is_ready() {
        return;
    }
    let (kills, seed) = (number(KILLS, 100), number(SEED, 1));
    let mut random = Random::new(seed);
    let (repository, mut old) = Repository::with_old_image();
    let victim = Victim::new(repository);

    // What a build takes here, from an empty store and after another.
    victim.context(seed.wrapping_sub(1));
    let mut longest = Duration::ZERO;
    let mut shortest = Duration::MAX;
    for round in 0..2 {
        victim.cli.write("data", format!("timing {round}")).unwrap();
        let started = Instant::now();
        old = victim.build("1");
        longest = longest.max(started.elapsed());
        shortest = shortest.min(started.elapsed());
    }
    println!("seed {seed}: a build takes {longest:?} at first, then {shortest:?}");
    // A build after one that was killed has less to do.
    let range = u64::try_from(shortest.as_micros()).unwrap() * 3 / 4;

    let (mut killed, mut round, mut ends) = (0, 0, BTreeMap::<(Aim, &str), u64>::new());
    while killed < kills {
        round += 1;
        victim.context(seed.wrapping_add(round));
        let mut tags = Vec::new();
        for _ in 0..=random.below(KILLS_OF_ONE).min(kills - killed - 1) {
            let aim = if random.below(2) == 0 { Aim::Program } else { Aim::Group };
            let delay = Duration::from_micros(random.below(range));
            let what = format!("seed {seed}, build {round}, {aim:?} killed after {delay:?}");
            let mut build = victim.start();
            thread::sleep(delay);
            aim.kill(&build);
            let status = build.wait().unwrap();
            assert!(status.success() || status.code().is_none(), "{what}: {status}");
            killed += 1;
            victim.assert_nothing_is_left(&what);
            let tag = victim.repository.tagged("1").expect("the tag is there");
            victim.repository.assert_whole(&tag);
            let end = match (status.success(), tag == old) {
                (true, _) => "had ended",
                (false, true) => "before the tag moved",
                (false, false) => "after the tag moved",
            };
            *ends.entry((aim, end)).or_default() += 1;
            tags.push((what, tag));
        }
        let new = victim.build("1");
        victim.repository.assert_whole(&new);
        for (what, tag) in tags {
            assert!([&old, &new].contains(&&tag), "{what}: the tag is {tag}, neither {old} nor {new}");
        }
        if round % COMPARED == 0 {
            let untouched = Victim::new(Repository::new());
            untouched.context(seed.wrapping_add(round));
            assert_eq!(
                untouched.build("1"),
                new,
                "seed {seed}, build {round}: what kills left is in the image"
            );
        }
        old = new;
    }
    println!("{killed} kills in {round} builds:");
    for ((aim, end), count) in &ends {
        println!("  {aim:?} {end}: {count}");
    }
    let during = |(_, end): &(Aim, &str)| *end == "before the tag moved";
    assert!(ends.keys().any(during), "no build was killed before it had ended: {ends:?}");
}
