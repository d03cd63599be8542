//! What a process may use, and how each version of control groups is told. Docker's words and meanings.

use std::{fs, path::Path};

use super::mounts::Version;

/// Microseconds of a period, where nobody says otherwise: the kernel's default.
const PERIOD: u64 = 100_000;

/// What a process and all that it starts may use. Nothing is limited by default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Memory and swap space together. Without it, and with a limit of memory, twice that.
    pub swap: Option<Swap>,
    /// Processor time in each period.
    pub cpu: Option<CpuTime>,
    /// Weight against other processes when all processors are busy; the kernel's default is 1024.
    pub cpu_shares: Option<u64>,
    /// Processors, as `0-2,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, as `0-1`.
    pub cpuset_mems: Option<String>,
}

/// A limit of memory and swap space together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// This many bytes.
    Bytes(u64),
    /// As much swap space as there is.
    Unlimited,
}

/// Processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    /// Microseconds of all processors together; `None` is no limit.
    pub quota: Option<u64>,
    /// In so many microseconds.
    pub period: u64,
}

impl CpuTime {
    /// As much as that many processors have.
    pub fn processors(count: f64) -> Self {
        Self { quota: Some((count * PERIOD as f64).round() as u64), period: PERIOD }
    }

    /// With the kernel's default for what is missing.
    pub fn new(quota: Option<u64>, period: Option<u64>) -> Self {
        Self { quota, period: period.unwrap_or(PERIOD) }
    }
}

/// Part of the kernel that a group limits something by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Cpuset,
}

impl Controller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
        }
    }
}

impl Resources {
    /// Whether anything is limited.
    pub fn is_limited(&self) -> bool {
        !self.controllers().is_empty()
    }

    pub(super) fn controllers(&self) -> Vec<Controller> {
        let wanted = [
            (Controller::Memory, self.memory.is_some() || self.swap.is_some()),
            (Controller::Cpu, self.cpu.is_some() || self.cpu_shares.is_some()),
            (Controller::Cpuset, self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()),
        ];
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(controller, _)| controller).collect()
    }

    /// Files of a group in `parent`, and what is written to them, in order.
    pub(super) fn settings(
        &self,
        controller: Controller,
        version: Version,
        parent: &Path,
    ) -> Vec<(&'static str, String)> {
        match (controller, version) {
            (Controller::Memory, Version::One) => self.memory_one(parent),
            (Controller::Memory, Version::Two) => self.memory_two(parent),
            (Controller::Cpu, Version::One) => self.cpu_one(),
            (Controller::Cpu, Version::Two) => self.cpu_two(),
            // Version 1 begins with empty sets, and takes no process before both are set.
            (Controller::Cpuset, Version::One) => {
                let inherited = |file: &str| fs::read_to_string(parent.join(file)).unwrap_or_default();
                let set = |own: &Option<String>, file: &'static str| {
                    (file, own.clone().unwrap_or_else(|| inherited(file).trim().to_owned()))
                };
                vec![set(&self.cpuset_cpus, "cpuset.cpus"), set(&self.cpuset_mems, "cpuset.mems")]
            }
            (Controller::Cpuset, Version::Two) => {
                let set = |own: &Option<String>, file| own.clone().map(|value| (file, value));
                let (cpus, mems) =
                    (set(&self.cpuset_cpus, "cpuset.cpus"), set(&self.cpuset_mems, "cpuset.mems"));
                cpus.into_iter().chain(mems).collect()
            }
        }
    }

    /// Memory and swap space together: what is asked for, and otherwise Docker's default.
    fn swap(&self) -> Option<Swap> {
        self.swap.or(self.memory.map(|memory| Swap::Bytes(memory.saturating_mul(2))))
    }

    fn memory_one(&self, parent: &Path) -> Vec<(&'static str, String)> {
        const SWAP: &str = "memory.memsw.limit_in_bytes";
        let memory = self.memory.map(|bytes| ("memory.limit_in_bytes", bytes.to_string()));
        let swap = self.swap().map(|swap| match swap {
            Swap::Bytes(bytes) => bytes.to_string(),
            Swap::Unlimited => "-1".to_owned(),
        });
        // The default is no reason to fail where swap space is not counted. The limit of both may not be below that of
        // memory, so it comes second.
        let is_counted = parent.join(SWAP).exists();
        let swap = swap.filter(|_| is_counted || self.swap.is_some()).map(|value| (SWAP, value));
        memory.into_iter().chain(swap).collect()
    }

    fn memory_two(&self, parent: &Path) -> Vec<(&'static str, String)> {
        const SWAP: &str = "memory.swap.max";
        let memory = self.memory.map(|bytes| ("memory.max", bytes.to_string()));
        // Here it is swap space alone.
        let swap = self.swap().map(|swap| match swap {
            Swap::Bytes(both) => both.saturating_sub(self.memory.unwrap_or(0)).to_string(),
            Swap::Unlimited => "max".to_owned(),
        });
        // The topmost group has no such files at all.
        let is_counted = parent.join(SWAP).exists() || !parent.join("memory.max").exists();
        let swap = swap.filter(|_| is_counted || self.swap.is_some()).map(|value| (SWAP, value));
        memory.into_iter().chain(swap).collect()
    }

    fn cpu_one(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let Some(shares) = self.cpu_shares {
            settings.push(("cpu.shares", shares.to_string()));
        }
        if let Some(CpuTime { quota, period }) = self.cpu {
            settings.push(("cpu.cfs_period_us", period.to_string()));
            settings
                .push(("cpu.cfs_quota_us", quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string())));
        }
        settings
    }

    fn cpu_two(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let Some(shares) = self.cpu_shares {
            settings.push(("cpu.weight", weight(shares).to_string()));
        }
        if let Some(CpuTime { quota, period }) = self.cpu {
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            settings.push(("cpu.max", format!("{quota} {period}")));
        }
        settings
    }
}

/// The weight of version 2 for shares of version 1, by the curve that OCI runtimes use: least, default and most (2, 1024 and
/// 262144) become least, default and most (1, 100 and 10000).
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Resources {
        Resources {
            memory: Some(64 << 20),
            swap: None,
            cpu: Some(CpuTime::processors(1.5)),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: None,
        }
    }

    fn settings(resources: &Resources, version: Version, parent: &Path) -> Vec<String> {
        let settings =
            resources.controllers().into_iter().flat_map(|it| resources.settings(it, version, parent));
        settings.map(|(file, value)| format!("{file}={value}")).collect()
    }

    #[test]
    fn each_version_is_told_in_its_own_words() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        for (file, text) in [("cpuset.mems", "0\n"), ("memory.memsw.limit_in_bytes", "")] {
            fs::write(parent.join(file), text).unwrap();
        }
        let expected = [
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=150000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ];
        assert_eq!(settings(&all(), Version::One, parent), expected);
        let expected = [
            "memory.max=67108864",
            "memory.swap.max=67108864",
            "cpu.weight=100",
            "cpu.max=150000 100000",
            "cpuset.cpus=0-1",
        ];
        assert_eq!(settings(&all(), Version::Two, parent), expected);
        assert!(!Resources::default().is_limited());
    }

    #[test]
    fn swap_space_is_what_is_left_of_both() {
        let parent = tempfile::tempdir().unwrap();
        let with = |swap| Resources { memory: Some(100), swap: Some(swap), ..Resources::default() };
        let two = |swap| settings(&with(swap), Version::Two, parent.path());
        assert_eq!(two(Swap::Bytes(150)), ["memory.max=100", "memory.swap.max=50"]);
        assert_eq!(two(Swap::Bytes(100)), ["memory.max=100", "memory.swap.max=0"]);
        assert_eq!(two(Swap::Unlimited), ["memory.max=100", "memory.swap.max=max"]);
        // Where swap space is not counted, only an explicit limit is an error.
        let memory = Resources { memory: Some(100), ..Resources::default() };
        assert_eq!(settings(&memory, Version::One, parent.path()), ["memory.limit_in_bytes=100"]);
    }

    #[test]
    fn shares_become_weights() {
        for (shares, expected) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (1 << 40, 10_000)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert!(weight(512) < 100 && weight(2048) > 100);
    }
}
