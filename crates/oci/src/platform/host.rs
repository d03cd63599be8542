//! The platform of this machine.

use super::Platform;

impl Platform {
    /// This machine's platform as containerd and buildx name it, without an x86-64 level: what
    /// `local`, or no platform at all, means. An image made for it runs on every machine of the
    /// architecture.
    pub fn host() -> Self {
        of_machine(&rustix::system::uname().machine().to_string_lossy())
    }

    /// What this machine's processor runs: [`Platform::host`], on x86-64 with the highest level of
    /// the psABI that processor and operating system support (`linux/amd64/v3`).
    ///
    /// This is what to ask whether something [runs natively](Platform::runs_natively_on), and never
    /// what to build for: older processors would refuse the image.
    pub fn host_processor() -> Self {
        let host = Self::host();
        if host.architecture != "amd64" {
            return host;
        }
        Self { variant: Some(format!("v{}", amd64_level())), ..host }.normalized()
    }
}

/// The platform of a Linux kernel by its `uname -m`.
fn of_machine(machine: &str) -> Platform {
    let (architecture, variant) = match machine {
        "i486" | "i586" | "i686" => ("386", None),
        "loongarch64" => ("loong64", None),
        // The kernel has one name for both byte orders.
        "mips" if cfg!(target_endian = "little") => ("mipsle", None),
        "mips64" if cfg!(target_endian = "little") => ("mips64le", None),
        _ if machine.starts_with("armv") => ("arm", machine.get(3..5)),
        other => (other, None),
    };
    Platform::new("linux", architecture, variant)
}

/// The x86-64 psABI level, 1 to 4.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn amd64_level() -> u8 {
    use std::arch::is_x86_feature_detected as has;

    let v2 = has!("cmpxchg16b")
        && has!("popcnt")
        && has!("sse3")
        && has!("sse4.1")
        && has!("sse4.2")
        && has!("ssse3");
    let v3 = has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v3, v4) {
        (true, true, true) => 4,
        (true, true, false) => 3,
        (true, false, _) => 2,
        (false, ..) => 1,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
fn amd64_level() -> u8 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_become_platforms() {
        let table = [
            ("x86_64", "linux/amd64"),
            ("i686", "linux/386"),
            ("aarch64", "linux/arm64"),
            ("armv7l", "linux/arm/v7"),
            ("armv6l", "linux/arm/v6"),
            ("armv5tejl", "linux/arm/v5"),
            ("armv8l", "linux/arm/v8"),
            ("ppc64le", "linux/ppc64le"),
            ("s390x", "linux/s390x"),
            ("riscv64", "linux/riscv64"),
            ("loongarch64", "linux/loong64"),
        ];
        for (machine, expected) in table {
            assert_eq!(of_machine(machine).to_string(), expected);
        }
    }

    #[test]
    fn this_machine_runs_what_is_built_for_it_by_default() {
        let (host, processor) = (Platform::host(), Platform::host_processor());
        assert!(host.runs_natively_on(&processor), "{host} on {processor}");
        assert_eq!(Platform::parse(&processor.to_string()), Ok(processor));
        if host.architecture == "amd64" {
            assert_eq!(host.variant, None);
        }
    }
}
