//! When a build is killed, and how far it has come by then.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

use archway_testkit::{
    FaultProxy, Random,
    fault::{Fault, Held, Rule, Seen, When},
};

use super::tags;

/// Of a build that does not come to the moment, and does not end.
const LIMIT: Duration = Duration::from_secs(300);

/// How far a build has come, by what its registry has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Nothing was sent.
    Building,
    /// Layers were; steps may still run.
    PushingBlobs,
    /// Images or the index were, by digest.
    PushingManifests,
    /// A tag was asked for, and not all of them are confirmed.
    MovingTags,
    /// All tags are confirmed.
    After,
}

impl Phase {
    pub(super) const ALL: [Self; 5] =
        [Self::Building, Self::PushingBlobs, Self::PushingManifests, Self::MovingTags, Self::After];

    /// Of a build that has so many tags to move.
    pub(super) fn of(seen: &[Seen], to_move: usize) -> Self {
        let moves: Vec<&Seen> = seen.iter().filter(|seen| tags::moves(seen)).collect();
        let wrote = |part: &str| seen.iter().any(|seen| is_written(seen) && seen.path.contains(part));
        if to_move > 0 && moves.iter().filter(|seen| is_confirmed(seen)).count() == to_move {
            Self::After
        } else if !moves.is_empty() {
            Self::MovingTags
        } else if wrote("/manifests/") {
            Self::PushingManifests
        } else if wrote("/blobs/") {
            Self::PushingBlobs
        } else {
            Self::Building
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::PushingBlobs => "pushing blobs",
            Self::PushingManifests => "pushing manifests",
            Self::MovingTags => "moving tags",
            Self::After => "after",
        }
    }
}

/// Whether the build has the answer to a request, or will have it in a moment.
fn is_confirmed(seen: &Seen) -> bool {
    seen.answered && seen.fault != Some(Fault::HoldAnswer)
}

/// Whether a request writes.
pub(super) fn is_written(seen: &Seen) -> bool {
    ["POST", "PATCH", "PUT"].contains(&seen.method.as_str())
}

/// When a build is killed.
#[derive(Debug, Clone)]
pub(super) enum Moment {
    /// So long after it was started.
    Anytime(Duration),
    /// So long after it came to a phase.
    Within(Phase, Duration),
    /// When each of the tags is where its [`Stop`] says, in the order of their requests. Requests that the
    /// registry has not seen by then reach it after the kill, or never.
    Moving { stops: Vec<Stop>, rest: Held },
}

/// How far the move of one tag has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The registry has not seen the request.
    Asked,
    /// It has moved the tag, and its answer has not arrived.
    Moved,
    /// The build knows.
    Confirmed,
}

impl Moment {
    /// For a build that takes about so long, and has so many tags to move.
    pub(super) fn choose(random: &mut Random, takes: Duration, to_move: usize) -> Self {
        let mut micros = |limit: Duration| {
            Duration::from_micros(random.below(u64::try_from(limit.as_micros()).expect("a short time")))
        };
        let (anytime, soon) = (micros(takes * 3 / 4), micros(Duration::from_millis(20)));
        if to_move == 0 {
            return Self::Anytime(anytime);
        }
        match random.below(8) {
            0..=2 => Self::Anytime(anytime),
            3 => Self::Within(Phase::PushingBlobs, soon),
            4 => Self::Within(Phase::PushingManifests, soon),
            // The registry moves a tag within a few of them.
            5 => Self::Within(Phase::MovingTags, soon / 4),
            _ => {
                let mut stops: Vec<Stop> = (0..to_move)
                    .map(|_| [Stop::Asked, Stop::Moved, Stop::Confirmed][random.below(3) as usize])
                    .collect();
                if stops.iter().all(|stop| *stop == Stop::Confirmed) {
                    stops[0] = Stop::Moved;
                }
                let rest = [Held::PassedOn, Held::Dropped][random.below(2) as usize];
                Self::Moving { stops, rest }
            }
        }
    }

    /// What the proxy has to do, so that the moment comes and stays.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let Self::Moving { stops, .. } = self else { return Vec::new() };
        let rules = stops.iter().enumerate().filter_map(|(index, stop)| {
            let fault = match stop {
                Stop::Asked => Fault::HoldRequest,
                Stop::Moved => Fault::HoldAnswer,
                Stop::Confirmed => return None,
            };
            Some(Rule::on("PUT", &tags::path(), When::Nth(index + 1), fault))
        });
        rules.collect()
    }

    /// Waits for it, or until the build has ended.
    pub(super) fn wait(&self, proxy: &FaultProxy, build: &mut Child, to_move: usize) {
        match self {
            Self::Anytime(time) => thread::sleep(*time),
            Self::Within(phase, time) => {
                wait_until(proxy, build, |seen| Phase::of(seen, to_move) >= *phase);
                thread::sleep(*time);
            }
            Self::Moving { stops, .. } => wait_until(proxy, build, |seen| {
                let moves: Vec<&Seen> = seen.iter().filter(|seen| tags::moves(seen)).collect();
                let arrived = |(seen, stop): (&&Seen, &Stop)| seen.answered || *stop == Stop::Asked;
                moves.len() == stops.len() && moves.iter().zip(stops).all(arrived)
            }),
        }
    }

    /// How many tags have moved in the end by a build that was killed in this moment, if that is certain.
    pub(super) fn moved(&self) -> Option<usize> {
        let Self::Moving { stops, rest } = self else { return None };
        let moved = |stop: &&Stop| **stop != Stop::Asked || *rest == Held::PassedOn;
        Some(stops.iter().filter(moved).count())
    }

    /// What becomes of requests that are held when the build is dead.
    pub(super) fn rest(&self) -> Held {
        match self {
            Self::Moving { rest, .. } => *rest,
            _ => Held::PassedOn,
        }
    }
}

fn wait_until(proxy: &FaultProxy, build: &mut Child, condition: impl Fn(&[Seen]) -> bool) {
    let started = Instant::now();
    while !proxy.wait_for(Duration::from_millis(20), &condition) && build.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < LIMIT, "the build does not go on: {:#?}", proxy.seen());
    }
}
