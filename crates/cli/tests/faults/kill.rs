//! `kill -9` at any moment of a build with a push: the store stays valid, each tag whole, and nothing
//! of the build goes on.
//!
//! `make kill-test KILLS=1000 SEED=7` runs it with other numbers than `make test` does. A seed decides what
//! is killed, and when: after so many microseconds, or where the move of each tag has come to. What a build
//! has done after so many microseconds also depends on the machine.
//!
//! | module | holds |
//! |---|---|
//! | this | the builds, their kills, and what is asked of them |
//! | [`moment`] | when a build is killed, how far it has come by then |
//! | [`victim`] | what is built |
//! | [`tags`] | the tags that move |

mod moment;
mod tags;
mod victim;

use std::{
    collections::BTreeMap,
    env, fmt, io,
    time::{Duration, Instant},
};

use archway_oci::Digest;
use archway_testkit::{Cli, Random};

use self::{
    moment::{Moment, Phase, is_written},
    tags::Tags,
    victim::{Aim, Victim},
};
use crate::place::{BINARY, is_ready};

/// How many kills, if not 100: half of them as root, half as a normal user.
const KILLS: &str = "ARCHWAY_KILLS";
/// Where the random numbers start, if not at 1.
const SEED: &str = "ARCHWAY_SEED";

/// A build is killed up to so many times before it is let through.
const KILLS_OF_ONE: u64 = 4;
/// After so many of them, one is compared with a build that was never killed, and the next one begins with an
/// empty store.
const BUILDS_OF_A_STORE: u64 = 10;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

#[test]
fn a_build_that_is_killed_leaves_a_valid_store_and_whole_tags() {
    run("as whoever tests", || Cli::new(BINARY).map(Some), number(KILLS, 100).div_ceil(2), number(SEED, 1));
}

#[test]
fn a_build_of_a_normal_user_that_is_killed_leaves_a_valid_store_and_whole_tags() {
    // Other moments than those of the other test.
    let seed = number(SEED, 1).wrapping_add(1_000_000);
    run("as a normal user", || Cli::rootless(BINARY), number(KILLS, 100) / 2, seed);
}

/// Kills builds of stores that `place` makes, if it can.
fn run(name: &str, place: impl Fn() -> io::Result<Option<Cli>>, kills: u64, seed: u64) {
    let store = || place().expect("a directory for the test");
    let Some(cli) = is_ready().then(store).flatten() else { return };
    let started = Instant::now();
    let tags = Tags::new();
    let mut victim = Victim::new(cli, &tags);
    let another = || Victim::new(store().expect("there was a user before"), &tags);

    // What a build takes here, from an empty store and after another.
    let mut takes = [Duration::ZERO; 2];
    for (round, takes) in takes.iter_mut().enumerate() {
        victim.context(seed.wrapping_sub(1 + round as u64));
        let started = Instant::now();
        victim.build();
        *takes = started.elapsed();
    }
    let [at_first, later] = takes;
    println!("{name}, seed {seed}: a build takes {at_first:?} at first, then {later:?}");

    let (mut random, mut outcome, mut round) = (Random::new(seed), Outcome::default(), 0);
    while outcome.kills() < kills {
        let takes = if round > 0 && round % BUILDS_OF_A_STORE == 0 { at_first } else { later };
        round += 1;
        victim.context(seed.wrapping_add(round));
        let times = (1 + random.below(KILLS_OF_ONE)).min(kills - outcome.kills());
        let what = format!("{name}, seed {seed}, build {round}");
        let new = Build { victim: &victim, tags: &tags, what, takes }.kill(times, &mut random, &mut outcome);
        if round % BUILDS_OF_A_STORE == 0 {
            let untouched = another();
            untouched.context(seed.wrapping_add(round));
            assert_eq!(untouched.build().digest, new, "build {round}: what kills left is in the image");
            victim = another();
            println!("{name}: {} kills so far", outcome.kills());
        }
    }
    println!("{name}, seed {seed}: {round} builds, {} kills in {:?}\n{outcome}", kills, started.elapsed());
    for phase in [Phase::Building, Phase::MovingTags] {
        assert!(outcome.in_phase(phase) > 0, "no build was killed while {}: {outcome}", phase.name());
    }
}

/// One content, built until it is let through.
struct Build<'a> {
    victim: &'a Victim<'a>,
    tags: &'a Tags,
    what: String,
    /// Without a kill.
    takes: Duration,
}

impl Build<'_> {
    /// Kills it so many times, then lets it through; the digest of the index.
    fn kill(&self, times: u64, random: &mut Random, outcome: &mut Outcome) -> Digest {
        let before = self.tags.point_at();
        let old = before[0].clone();
        assert!(before.iter().all(|tag| *tag == old), "{}: {before:?}", self.what);
        let (mut found, mut furthest) = (Vec::new(), Phase::Building);
        for _ in 0..times {
            let to_move = self.tags.point_at().iter().filter(|tag| **tag == old).count();
            let aim = if random.below(2) == 0 { Aim::Program } else { Aim::Group };
            let moment = Moment::choose(random, self.takes, to_move);
            let what = format!("{}, {aim:?} killed {moment:?}", self.what);
            let phase = self.kill_once(aim, &moment, to_move, &what);
            let tags = self.tags.point_at();
            let moved = tags.iter().filter(|tag| **tag != old).count();
            if let Some(expected) = moment.moved() {
                let others = tags.len() - to_move;
                assert_eq!(moved, others + expected, "{what}: {tags:?}, before {old}");
            }
            outcome.add(aim, phase, moved > 0 && moved < tags.len());
            furthest = furthest.max(phase);
            found.push((what, tags));
        }
        self.tags.proxy.restart(Vec::new());
        let built = self.victim.build();
        let new = built.digest;
        assert!(
            self.tags.point_at().iter().all(|tag| *tag == new),
            "{}: {:?}",
            self.what,
            self.tags.point_at()
        );
        for (what, tags) in found {
            let known = tags.iter().all(|tag| [&old, &new].contains(&tag));
            assert!(known, "{what}: the tags are {tags:?}, not {old} or {new}");
        }
        if furthest >= Phase::PushingManifests {
            assert_eq!(built.steps_run, 0, "{}: what was done is in the store", self.what);
        }
        if furthest >= Phase::MovingTags {
            let seen = self.tags.proxy.seen();
            let other = seen.iter().find(|seen| is_written(seen) && seen.path.contains("/blobs/"));
            assert_eq!(other, None, "{}: the registry had everything", self.what);
        }
        new
    }

    /// How far it had come.
    fn kill_once(&self, aim: Aim, moment: &Moment, to_move: usize, what: &str) -> Phase {
        let proxy = &self.tags.proxy;
        proxy.restart(moment.rules());
        let mut build = self.victim.start();
        moment.wait(proxy, &mut build, to_move);
        let phase = Phase::of(&proxy.seen(), to_move);
        let ended = aim.kill(build, what);
        // What was on its way arrives, or does not.
        proxy.end_hold(moment.rest());
        proxy.settle().unwrap();
        self.victim.assert_nothing_is_left(what);
        if ended { Phase::After } else { phase }
    }
}

/// How many kills there were, in each phase.
#[derive(Debug, Default)]
struct Outcome {
    counts: BTreeMap<(Phase, Aim), u64>,
    /// Kills after which some tags had moved and others not.
    between: u64,
}

impl Outcome {
    fn add(&mut self, aim: Aim, phase: Phase, between: bool) {
        *self.counts.entry((phase, aim)).or_default() += 1;
        self.between += u64::from(between);
    }

    fn kills(&self) -> u64 {
        self.counts.values().sum()
    }

    fn of(&self, phase: Phase, aim: Aim) -> u64 {
        self.counts.get(&(phase, aim)).copied().unwrap_or_default()
    }

    fn in_phase(&self, phase: Phase) -> u64 {
        self.of(phase, Aim::Program) + self.of(phase, Aim::Group)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in Phase::ALL {
            let (program, group) = (self.of(phase, Aim::Program), self.of(phase, Aim::Group));
            let name = phase.name();
            writeln!(
                f,
                "  {name:17} {:4} ({program} of the program, {group} of its group)",
                program + group
            )?;
        }
        writeln!(f, "  some tags moved, others not: {}", self.between)
    }
}
