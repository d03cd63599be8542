//! Does a Dockerfile mean here what it means to BuildKit? Every fixture of the corpus is built by a real
//! `buildkitd` and by `archway`; root file systems and configs are compared, and each difference must be
//! one that docs/compatibility.md explains.
//!
//! `make test` runs the fast half, and a part of it at a daemon; `make conformance` runs everything, and writes a report.
//! `ARCHWAY_CONFORMANCE=copy/` runs the fixtures whose names begin so.
//!
//! | module | holds |
//! |---|---|
//! | [`fixture`] | the format of the corpus |
//! | [`context`] | contexts on disk |
//! | [`bases`] | base images |
//! | [`servers`] | registry, web server and repositories |
//! | [`build`] | one fixture, built by either program |
//! | [`image`] | what an OCI archive holds |
//! | [`compare`] | differences |
//! | [`language`] | random words and ignore files, read by BuildKit's packages and by ours |
//! | [`report`] | verdicts, the report, docs/compatibility.md |

mod bases;
mod build;
mod compare;
mod context;
mod fixture;
mod image;
mod language;
mod report;
mod servers;

use std::{
    env, fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use archway_testkit::{Buildkit, Cli, buildkit, tools};

use build::{Outcome, Workplace};
use fixture::Fixture;
use report::{Report, Result};
use servers::Servers;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/corpus");

/// Names the fixtures to run, by the beginning of their names.
const SELECTION: &str = "ARCHWAY_CONFORMANCE";

#[test]
fn the_fast_half_of_the_corpus_means_the_same() {
    let selection = env::var(SELECTION).unwrap_or_default();
    let mut fixtures = fixture::corpus(Path::new(CORPUS));
    fixtures.retain(|fixture| !fixture.slow && fixture.name.starts_with(&selection));
    compare_all(&fixtures, Way::Embedded).check();
}

/// A sample: a daemon reads Dockerfiles as it always does, and what could differ is how it is asked.
#[test]
fn a_quarter_of_the_fast_half_means_the_same_at_a_daemon() {
    let selection = env::var(SELECTION).unwrap_or_default();
    let mut fixtures = fixture::corpus(Path::new(CORPUS));
    fixtures.retain(|fixture| !fixture.slow && fixture.name.starts_with(&selection));
    let fixtures: Vec<Fixture> = fixtures.into_iter().step_by(4).collect();
    compare_all(&fixtures, Way::Daemon).check();
}

#[test]
#[ignore = "minutes; `make conformance` runs it"]
fn the_whole_corpus_means_the_same_at_a_daemon() {
    let selection = env::var(SELECTION).unwrap_or_default();
    let mut fixtures = fixture::corpus(Path::new(CORPUS));
    fixtures.retain(|fixture| fixture.name.starts_with(&selection));
    compare_all(&fixtures, Way::Daemon).check();
}

#[test]
#[ignore = "minutes; `make conformance` runs it"]
fn the_whole_corpus_means_the_same() {
    let selection = env::var(SELECTION).unwrap_or_default();
    let mut fixtures = fixture::corpus(Path::new(CORPUS));
    fixtures.retain(|fixture| fixture.name.starts_with(&selection));
    let report = compare_all(&fixtures, Way::Embedded);
    report.check();
    if selection.is_empty() {
        report.check_page();
    }
}

/// Who builds for Archway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its own engine.
    Embedded,
    /// The daemon that it is compared with.
    Daemon,
}

fn compare_all(fixtures: &[Fixture], way: Way) -> Report {
    let Some(programs) = buildkit::Programs::find() else {
        tools::skip(&format!(
            "buildkitd {} is not built: scripts/peers builds it, with Go",
            buildkit::VERSION
        ));
        return Report::default();
    };
    let root = rustix::process::geteuid().is_root() || tools::skip("only root can run buildkitd");
    if !root
        || !tools::require_each(&[
            "docker-registry",
            "skopeo",
            "runc",
            "qemu-aarch64-static",
            "bzip2",
            "xz",
            "zstd",
        ])
    {
        return Report::default();
    }
    let servers = Servers::start();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let options = buildkit::Options { registries: vec![servers.registry()], ..Default::default() };
    let suite = Suite {
        buildkit: programs.start(&options).unwrap(),
        archway: Cli::new(env!("CARGO_BIN_EXE_archway")).unwrap(),
        servers,
        started,
        way,
    };
    Report::of(suite.run(fixtures))
}

struct Suite {
    buildkit: Buildkit,
    archway: Cli,
    servers: Servers,
    /// Seconds since 1970.
    started: u64,
    way: Way,
}

impl Suite {
    /// As many at a time as there are processors, in any order; the results are in that of `fixtures`.
    fn run(&self, fixtures: &[Fixture]) -> Vec<Result> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let worker = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(fixture) = fixtures.get(number) else { return };
                let result = self.result(fixture, number);
                results.lock().unwrap().push(result);
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(worker);
            }
        });
        let mut results = results.into_inner().unwrap();
        let position = |result: &Result| fixtures.iter().position(|fixture| fixture.name == result.name);
        results.sort_by_key(position);
        results
    }

    fn result(&self, fixture: &Fixture, number: usize) -> Result {
        let (directory, places) = (self.servers.directory(number), self.servers.places(number));
        fs::create_dir(&directory).unwrap();
        context::write(fixture, &places, &directory);
        let workplace = Workplace { fixture, directory: &directory, places: &places };
        let theirs = workplace.build_theirs(&self.buildkit);
        let builder =
            (self.way == Way::Daemon).then(|| format!("unix://{}", self.buildkit.socket().display()));
        let ours = workplace.build_ours(&self.archway, builder.as_deref());
        let times_are_set = fixture.values("epoch").next().is_some();
        let differences = compare::differences(&theirs, &ours, self.started, times_are_set);
        let message = |outcome: &Outcome| match outcome {
            Outcome::Built(_) => None,
            Outcome::Refused(why) => Some(why.clone()),
        };
        fs::remove_dir_all(&directory).unwrap();
        let judge = match self.way {
            Way::Embedded => Result::new,
            Way::Daemon => Result::through_a_daemon,
        };
        judge(fixture, differences, message(&theirs), message(&ours))
    }
}
