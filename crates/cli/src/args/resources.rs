//! What RUN steps may use: `--resource`, and Docker's flags for the same.

use archway_graph::size;
use archway_sandbox::{CpuTime, Resources, Swap};
use clap::Args;

use super::value;
use crate::error::CliError;

const FLAG: &str = "--resource";
const KEYS: [&str; 8] =
    ["memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"];

/// Flags that limit RUN steps, each by itself.
#[derive(Debug, Args)]
pub(crate) struct ResourceArgs {
    /// Limit each RUN step: memory=2g, cpus=1.5, cpu-shares=512, cpuset-cpus=0-1, …; repeat for several
    #[arg(long, value_name = "KEY=VALUE")]
    resource: Vec<String>,

    /// Memory that each RUN step may use (512m, 2g)
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,

    /// Processors that each RUN step may keep busy (1.5)
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,

    /// Memory and swap space together, or -1
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// Weight against other processes
    #[arg(short, long, value_name = "SHARES", hide = true)]
    cpu_shares: Option<String>,

    /// Length of a scheduling period in microseconds
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    cpu_period: Option<String>,

    /// Processor time in a period in microseconds
    #[arg(long, value_name = "MICROSECONDS", hide = true, allow_hyphen_values = true)]
    cpu_quota: Option<String>,

    /// Processors to run on
    #[arg(long, value_name = "LIST", hide = true)]
    cpuset_cpus: Option<String>,

    /// Memory nodes to use
    #[arg(long, value_name = "LIST", hide = true)]
    cpuset_mems: Option<String>,
}

/// One limit as it was given.
#[derive(Debug, Clone, Copy)]
struct Limit<'a> {
    flag: &'static str,
    key: &'a str,
    value: &'a str,
}

impl<'a> Limit<'a> {
    /// By a flag of its own, which has the name of the key.
    fn of_flag(flag: &'static str, value: &'a str) -> Self {
        Self { flag, key: flag.trim_start_matches('-'), value }
    }

    fn wrong(&self, hint: &str) -> CliError {
        let said = match self.flag {
            FLAG => format!("{}={}", self.key, self.value),
            _ => self.value.to_owned(),
        };
        CliError::Usage {
            flag: self.flag,
            message: format!("`{said}` is no limit"),
            hint: Some(hint.to_owned()),
        }
    }
}

/// Flags of the processor's time, before they are put together.
#[derive(Default)]
struct Cpu {
    count: Option<f64>,
    quota: Option<u64>,
    period: Option<u64>,
}

impl ResourceArgs {
    /// What these arguments say. As in buildx, `--resource` wins over the other flags.
    pub(super) fn resources(&self) -> Result<Resources, CliError> {
        let flags = [
            ("--memory", &self.memory),
            ("--memory-swap", &self.memory_swap),
            ("--cpus", &self.cpus),
            ("--cpu-shares", &self.cpu_shares),
            ("--cpu-period", &self.cpu_period),
            ("--cpu-quota", &self.cpu_quota),
            ("--cpuset-cpus", &self.cpuset_cpus),
            ("--cpuset-mems", &self.cpuset_mems),
        ];
        let mut limits: Vec<Limit<'_>> = flags
            .into_iter()
            .filter_map(|(flag, value)| Some(Limit::of_flag(flag, value.as_deref()?)))
            .collect();
        for text in &self.resource {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| CliError::usage(FLAG, format!("`{text}` is not KEY=VALUE")))?;
            limits.push(Limit { flag: FLAG, key: key.trim(), value: value.trim() });
        }
        parse(&limits)
    }
}

fn parse(limits: &[Limit<'_>]) -> Result<Resources, CliError> {
    let mut resources = Resources::default();
    let mut cpu = Cpu::default();
    for limit in limits {
        match limit.key {
            "memory" => resources.memory = Some(bytes(limit)?),
            "memory-swap" if limit.value == "-1" => resources.swap = Some(Swap::Unlimited),
            "memory-swap" => resources.swap = Some(Swap::Bytes(bytes(limit)?)),
            "cpus" => cpu.count = Some(count(limit)?),
            "cpu-shares" => resources.cpu_shares = Some(number(limit)?),
            "cpu-period" => cpu.period = Some(number(limit)?),
            "cpu-quota" => cpu.quota = Some(number(limit)?),
            "cpuset-cpus" => resources.cpuset_cpus = Some(set(limit)?),
            "cpuset-mems" => resources.cpuset_mems = Some(set(limit)?),
            other => return Err(value::unknown(FLAG, "resource", other, &KEYS)),
        }
    }
    resources.cpu = match cpu {
        Cpu { count: Some(count), quota: None, period: None } => Some(CpuTime::processors(count)),
        Cpu { count: Some(_), .. } => {
            return Err(CliError::usage(
                "--cpus",
                "contradicts cpu-quota and cpu-period, which say the same",
            ));
        }
        Cpu { quota: None, period: None, .. } => None,
        // A period alone limits nothing.
        Cpu { quota: None, .. } => {
            return Err(CliError::usage("--cpu-period", "says nothing without cpu-quota"));
        }
        Cpu { quota, period, .. } => Some(CpuTime::new(quota, period)),
    };
    if let (Some(memory), Some(Swap::Bytes(both))) = (resources.memory, resources.swap)
        && both < memory
    {
        return Err(CliError::usage("--memory-swap", "is memory and swap space together, and below memory"));
    }
    Ok(resources)
}

fn bytes(limit: &Limit<'_>) -> Result<u64, CliError> {
    let bytes = size::bytes(limit.value).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| limit.wrong("want a size such as 512m or 2g"))
}

fn number(limit: &Limit<'_>) -> Result<u64, CliError> {
    let number = limit.value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| limit.wrong("want a number above 0"))
}

/// The kernel gives no less than a hundredth of a processor.
fn count(limit: &Limit<'_>) -> Result<f64, CliError> {
    let count = limit.value.parse::<f64>().ok().filter(|count| (0.01..=1e6).contains(count));
    count.ok_or_else(|| limit.wrong("want a number of processors of at least 0.01, such as 1.5"))
}

/// `0-2,7`
fn set(limit: &Limit<'_>) -> Result<String, CliError> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_range = |text: &str| match text.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(text),
    };
    match limit.value.split(',').all(is_range) {
        true => Ok(limit.value.to_owned()),
        false => Err(limit.wrong("want a list such as 0-2,7")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&'static str, &str)]) -> Result<Resources, CliError> {
        let limits: Vec<Limit<'_>> =
            pairs.iter().map(|(key, value)| Limit { flag: FLAG, key, value }).collect();
        super::parse(&limits)
    }

    #[test]
    fn an_error_names_the_flag_that_was_given() {
        for (limit, said) in [
            (Limit::of_flag("--memory", "20z"), "--memory: `20z` is no limit"),
            (Limit { flag: FLAG, key: "memory", value: "20z" }, "--resource: `memory=20z` is no limit"),
        ] {
            let error = super::parse(&[limit]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn limits_have_dockers_words() {
        let all = parse(&[
            ("memory", "2g"),
            ("memory-swap", "-1"),
            ("cpus", "1.5"),
            ("cpu-shares", "512"),
            ("cpuset-cpus", "0-1,3"),
            ("cpuset-mems", "0"),
        ]);
        let expected = Resources {
            memory: Some(2 << 30),
            swap: Some(Swap::Unlimited),
            cpu: Some(CpuTime { quota: Some(150_000), period: 100_000 }),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1,3".into()),
            cpuset_mems: Some("0".into()),
        };
        assert_eq!(all.unwrap(), expected);
        let quota = parse(&[("cpu-quota", "50000"), ("cpu-period", "200000")]).unwrap();
        assert_eq!(quota.cpu, Some(CpuTime { quota: Some(50_000), period: 200_000 }));
        assert!(!parse(&[]).unwrap().is_limited());
        // The last of a key wins.
        assert_eq!(parse(&[("memory", "1g"), ("memory", "64m")]).unwrap().memory, Some(64 << 20));
    }

    #[test]
    fn what_limits_nothing_is_refused() {
        for pairs in [
            &[("memory", "0")][..],
            &[("memory", "lots")],
            &[("memory", "2g"), ("memory-swap", "1g")],
            &[("cpus", "0")],
            &[("cpus", "-1")],
            &[("cpus", "1"), ("cpu-quota", "50000")],
            &[("cpu-period", "50000")],
            &[("cpu-quota", "-1")],
            &[("cpuset-cpus", "a")],
            &[("cpuset-cpus", "")],
            &[("cpu", "1")],
        ] {
            assert!(parse(pairs).is_err(), "{pairs:?}");
        }
    }
}
