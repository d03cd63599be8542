//! The platform of this machine.

use super::Platform;

impl Platform {
    /// What this machine's processor runs: the kernel's architecture and, on x86-64, the highest
    /// level of the psABI that processor and operating system support (`linux/amd64/v3`).
    ///
    /// Ask it whether something [runs natively](Platform::runs_natively_on). It is *not* what to
    /// build for by default: that is [`Platform::local`].
    pub fn host() -> Self {
        let uname = rustix::system::uname();
        let mut platform = of_machine(&uname.machine().to_string_lossy());
        if platform.architecture == "amd64" {
            platform.variant = Some(format!("v{}", amd64_level()));
        }
        platform.normalized()
    }

    /// What `local`, or no platform at all, means: [`Platform::host`] without the x86-64 level, as
    /// in containerd and buildx. An image made for it runs on every machine of the architecture.
    pub fn local() -> Self {
        let host = Self::host();
        if host.architecture == "amd64" { Self { variant: None, ..host } } else { host }
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
        let (host, local) = (Platform::host(), Platform::local());
        assert!(local.runs_natively_on(&host), "{local} on {host}");
        assert_eq!(Platform::parse(&host.to_string()), Ok(host));
        assert_ne!((local.architecture.as_str(), local.variant.is_some()), ("amd64", true));
    }
}
