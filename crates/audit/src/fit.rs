//! Which programs a platform runs.

use archway_oci::Platform;

use crate::program::{Format, Machine, Program};

/// Whether a program suits a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It runs.
    Native,
    /// The processor may run it, but not every machine of the platform does: why.
    Limited(String),
    /// It is for another machine or system.
    Foreign,
}

/// Whether `platform`, in normal form, runs `program`.
pub fn fit(platform: &Platform, program: &Program) -> Fit {
    let system_suits = match program.format {
        Format::Elf => match &program.os {
            Some(os) => *os == platform.os,
            None => !matches!(platform.os.as_str(), "windows" | "darwin"),
        },
        Format::Pe => platform.os == "windows",
        Format::MachO => platform.os == "darwin",
    };
    match system_suits {
        true => machine_fit(platform, &program.machine),
        false => Fit::Foreign,
    }
}

fn machine_fit(platform: &Platform, machine: &Machine) -> Fit {
    let (wanted, architecture) = (platform.architecture.as_str(), &*machine.architecture);
    match (wanted, architecture, machine.variant.as_deref()) {
        ("arm", "arm", Some(version)) => arm_fit(platform.variant.as_deref(), version),
        ("amd64", "amd64", Some(level @ ("v2" | "v3" | "v4"))) => x86_fit(platform.variant.as_deref(), level),
        ("amd64", "amd64", Some("x32")) => limited("few kernels are built for the x32 interface"),
        ("mips64" | "mips64le", _, Some("n32")) if wanted == architecture => Fit::Native,
        ("arm64", "arm64", Some("ilp32")) => limited("Linux does not run ILP32 programs"),
        _ if wanted == architecture => Fit::Native,
        ("amd64", "386", _)
        | ("arm64", "arm", _)
        | ("mips64", "mips", _)
        | ("mips64le", "mipsle", _)
        | ("ppc64", "ppc", _)
        | ("s390x", "s390", _) => {
            limited("it is a 32-bit program, which some kernels and processors do not run")
        }
        ("arm64", "amd64" | "386", _) if platform.os == "windows" => limited("Windows emulates it"),
        _ => Fit::Foreign,
    }
}

/// 32-bit ARM: a file states the newest instructions it *may* use; a library may look before it does.
fn arm_fit(wanted: Option<&str>, version: &str) -> Fit {
    let wanted = wanted.unwrap_or("v7");
    // `v5` to `v8`: one digit each.
    match version > wanted {
        true => limited(&format!("it may use instructions of ARM{version}, which ARM{wanted} does not have")),
        false => Fit::Native,
    }
}

/// x86-64: a file states the level without whose instructions it does not start.
fn x86_fit(wanted: Option<&str>, level: &str) -> Fit {
    let wanted = wanted.unwrap_or("v1");
    match level > wanted {
        true => {
            limited(&format!("it needs the instructions of x86-64-{level}, and x86-64-{wanted} is promised"))
        }
        false => Fit::Native,
    }
}

fn limited(why: &str) -> Fit {
    Fit::Limited(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Role;

    fn fits(platform: &str, format: Format, machine: Machine) -> char {
        let program = Program { format, machine, role: Role::Program, os: None, interpreter: None };
        match fit(&platform.parse().unwrap(), &program) {
            Fit::Native => '+',
            Fit::Limited(_) => '~',
            Fit::Foreign => '-',
        }
    }

    #[test]
    fn a_platform_runs_its_own_and_some_others_here_and_there() {
        for (platform, machine, expected) in [
            ("linux/amd64", Machine::new("amd64"), '+'),
            ("linux/amd64/v3", Machine::new("amd64"), '+'),
            ("linux/amd64", Machine::with("amd64", "v2"), '~'),
            ("linux/amd64/v2", Machine::with("amd64", "v2"), '+'),
            ("linux/amd64/v2", Machine::with("amd64", "v3"), '~'),
            ("linux/amd64/v4", Machine::with("amd64", "v3"), '+'),
            ("linux/386", Machine::with("amd64", "v2"), '-'),
            ("linux/amd64", Machine::with("amd64", "x32"), '~'),
            ("linux/amd64", Machine::new("386"), '~'),
            ("linux/amd64", Machine::new("arm64"), '-'),
            ("linux/386", Machine::new("amd64"), '-'),
            ("linux/arm64", Machine::new("arm64"), '+'),
            ("linux/arm64", Machine::with("arm", "v7"), '~'),
            ("linux/arm64", Machine::new("amd64"), '-'),
            ("linux/arm/v7", Machine::new("arm64"), '-'),
            ("linux/arm/v7", Machine::with("arm", "v7"), '+'),
            ("linux/arm/v6", Machine::with("arm", "v7"), '~'),
            ("linux/arm/v6", Machine::with("arm", "v5"), '+'),
            ("linux/arm/v6", Machine::new("arm"), '+'),
            ("linux/ppc64le", Machine::new("ppc64"), '-'),
            ("linux/s390x", Machine::new("s390x"), '+'),
            ("linux/mips64le", Machine::with("mips64le", "n32"), '+'),
            ("linux/mips64le", Machine::new("mipsle"), '~'),
            ("windows/amd64", Machine::new("amd64"), '-'),
        ] {
            assert_eq!(fits(platform, Format::Elf, machine.clone()), expected, "{machine} on {platform}");
        }
        for (platform, machine, expected) in [
            ("windows/amd64", "amd64", '+'),
            ("windows/amd64", "386", '~'),
            ("windows/amd64", "arm64", '-'),
            ("windows/arm64", "amd64", '~'),
            ("linux/amd64", "amd64", '-'),
        ] {
            assert_eq!(
                fits(platform, Format::Pe, Machine::new(machine)),
                expected,
                "{machine} on {platform}"
            );
        }
        assert_eq!(fits("linux/arm64", Format::MachO, Machine::new("arm64")), '-');
    }
}
