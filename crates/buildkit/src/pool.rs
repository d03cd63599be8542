//! Named daemons, and which of them builds a platform.

use archway_oci::Platform;
use serde::{Deserialize, Serialize};

use crate::{Endpoint, tls::Tls};

/// A builder: daemons under one name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pool {
    /// The daemons, in the order in which they were added.
    #[serde(default, rename = "node")]
    pub nodes: Vec<Node>,
}

/// One daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Where it is.
    pub endpoint: Endpoint,
    /// `--platform`: what it is to be used for; empty: whatever it says it can.
    #[serde(default, with = "as_text", skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Certificates; `None` for sockets and ssh, and for TCP in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// `--allow-insecure`: TCP in the clear is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure: bool,
}

/// How a daemon builds for a platform; the better way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// Its processor runs the platform's programs.
    Native,
    /// It has an emulator.
    Emulated,
}

impl Ability {
    /// How a daemon whose platforms are `offered` (its own first) builds for `platform`; `None`: it does not.
    pub fn of(offered: &[Platform], platform: &Platform) -> Option<Self> {
        let own = offered.first()?;
        // A daemon lists what its processor can do beyond its own platform, `linux/amd64/v3`, after it.
        let processor = |other: &&Platform| (&other.os, &other.architecture) == (&own.os, &own.architecture);
        if offered.iter().filter(processor).any(|other| platform.runs_natively_on(other)) {
            return Some(Self::Native);
        }
        offered.iter().any(|other| platform.satisfied_by(other)).then_some(Self::Emulated)
    }
}

impl Node {
    /// How a daemon here, whose platforms are `offered` (its own first), builds for `platform`; `None`: it does not.
    pub fn ability(&self, offered: &[Platform], platform: &Platform) -> Option<Ability> {
        let is_wanted = self.platforms.is_empty()
            || self.platforms.iter().any(|own| own == platform || platform.satisfied_by(own));
        Ability::of(offered, platform).filter(|_| is_wanted)
    }

    /// Whether it may turn out to build for `platform`, once it can be reached.
    pub fn may_build(&self, platform: &Platform) -> bool {
        self.platforms.is_empty() || self.platforms.contains(platform)
    }
}

/// A daemon that could build a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub endpoint: Endpoint,
    /// How it would build.
    pub ability: Ability,
    /// Builds that it is busy with.
    pub running: usize,
}

/// How many more builds than the least busy one a daemon may have before the source goes elsewhere: its warm cache is
/// worth a short wait.
const PATIENCE: usize = 2;

/// The order in which to ask: native ones first; among equals the one that this source always goes to (the highest
/// random weight of source and daemon), unless it is much busier than another.
pub fn order(candidates: &[Candidate], source: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let least = |ability| candidates.iter().filter(|c| c.ability == ability).map(|c| c.running).min();
    let key = |index: &usize| {
        let candidate = &candidates[*index];
        let is_busy = candidate.running >= least(candidate.ability).unwrap_or_default() + PATIENCE;
        (candidate.ability, is_busy, std::cmp::Reverse(weight(source, &candidate.endpoint)))
    };
    order.sort_by_key(key);
    order
}

/// The same on every machine and in every version, so that a source finds its cache again.
fn weight(source: &str, endpoint: &Endpoint) -> [u8; 32] {
    *blake3::hash(format!("{source}\n{endpoint}").as_bytes()).as_bytes()
}

/// Platforms as people write them, and not as documents of OCI do.
mod as_text {
    use archway_oci::Platform;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(platforms: &[Platform], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(platforms.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Platform>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(platforms: &[&str]) -> Node {
        Node {
            endpoint: "tcp://a".parse().unwrap(),
            platforms: platforms.iter().map(|platform| platform.parse().unwrap()).collect(),
            tls: None,
            allow_insecure: false,
        }
    }

    #[test]
    fn what_the_processor_runs_is_native() {
        let offered: Vec<Platform> =
            ["linux/arm64", "linux/amd64", "linux/arm/v7"].iter().map(|p| p.parse().unwrap()).collect();
        for (own, wanted, ability) in [
            (&[][..], "linux/arm64", Some(Ability::Native)),
            (&[], "linux/arm/v7", Some(Ability::Native)),
            (&[], "linux/amd64", Some(Ability::Emulated)),
            (&[], "linux/s390x", None),
            (&["linux/arm64"], "linux/arm64", Some(Ability::Native)),
            (&["linux/arm64"], "linux/amd64", None),
        ] {
            assert_eq!(node(own).ability(&offered, &wanted.parse().unwrap()), ability, "{own:?} {wanted}");
        }
        assert_eq!(node(&[]).ability(&[], &"linux/arm64".parse().unwrap()), None);
        let newer: Vec<Platform> = ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/386"]
            .iter()
            .map(|p| p.parse().unwrap())
            .collect();
        for wanted in ["linux/amd64", "linux/amd64/v3", "linux/386"] {
            assert_eq!(Ability::of(&newer, &wanted.parse().unwrap()), Some(Ability::Native), "{wanted}");
        }
    }

    fn candidates(running: &[usize]) -> Vec<Candidate> {
        let candidate = |(index, running): (usize, &usize)| Candidate {
            endpoint: format!("tcp://node-{index}").parse().unwrap(),
            ability: Ability::Native,
            running: *running,
        };
        running.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn a_source_goes_where_it_went_before() {
        let all = candidates(&[0, 0, 0]);
        let first = order(&all, "app")[0];
        // Others may come and go.
        let fewer: Vec<Candidate> = all
            .iter()
            .enumerate()
            .filter(|(index, _)| *index == first || *index == (first + 1) % 3)
            .map(|(_, c)| c.clone())
            .collect();
        assert_eq!(fewer[order(&fewer, "app")[0]], all[first]);
        let spread: std::collections::BTreeSet<usize> =
            (0..50).map(|source| order(&all, &format!("app-{source}"))[0]).collect();
        assert_eq!(spread.len(), 3, "sources are spread");
    }

    #[test]
    fn a_busy_daemon_is_left_alone() {
        let first = order(&candidates(&[0, 0, 0]), "app")[0];
        let mut running = [0, 0, 0];
        running[first] = PATIENCE - 1;
        assert_eq!(order(&candidates(&running), "app")[0], first, "its cache is worth a short wait");
        running[first] = PATIENCE;
        assert_ne!(order(&candidates(&running), "app")[0], first);
    }

    #[test]
    fn native_comes_before_idle() {
        let mut all = candidates(&[9, 0]);
        all[1].ability = Ability::Emulated;
        assert_eq!(order(&all, "app"), [0, 1]);
    }
}
