//! Which daemons a list of platforms needs, and where they can run.

use archway_oci::Platform;

use super::check::PoolError;

/// Daemons that build natively for the same platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is called after: an architecture of Go.
    pub architecture: &'static str,
    /// Values of the node label `kubernetes.io/arch` where its daemons run; one, or several that do as well.
    pub node_architectures: &'static [&'static str],
    /// The platforms that were asked for and are built here, in the order they were asked for.
    pub platforms: Vec<Platform>,
}

/// Architectures that have a group, in the order of the groups: those that Kubernetes has nodes of
/// and BuildKit's rootless image is made for.
const ARCHITECTURES: [(&str, &[&str]); 6] = [
    ("amd64", &["amd64"]),
    // 64-bit processors run 32-bit programs if they have AArch32, and nodes of 32 bits are rare.
    ("arm", &["arm", "arm64"]),
    ("arm64", &["arm64"]),
    ("ppc64le", &["ppc64le"]),
    ("riscv64", &["riscv64"]),
    ("s390x", &["s390x"]),
];

/// The groups that build `platforms` natively, as few as can be: `linux/386` is built by the daemons of
/// amd64, and `linux/arm/v7` by those of arm64 if there are any. A daemon finds out itself what its
/// processor runs, so one on a node without AArch32 does not offer `linux/arm/v7`.
///
/// # Errors
/// [`PoolError::NoDaemon`] for a platform that no rootless daemon on Kubernetes can build natively.
pub fn groups(platforms: &[Platform]) -> Result<Vec<Group>, PoolError> {
    let has_arm64 = platforms.iter().any(|platform| platform.architecture == "arm64");
    let mut groups: Vec<Group> = ARCHITECTURES
        .map(|(architecture, node_architectures)| Group {
            architecture,
            node_architectures,
            platforms: Vec::new(),
        })
        .into();
    for platform in platforms {
        let wanted = match platform.architecture.as_str() {
            "386" => "amd64",
            "arm" if has_arm64 => "arm64",
            other => other,
        };
        let group = groups.iter_mut().find(|group| group.architecture == wanted);
        match group.filter(|_| platform.os == "linux") {
            Some(group) => group.platforms.push(platform.clone()),
            None => return Err(PoolError::NoDaemon { platform: platform.clone() }),
        }
    }
    groups.retain(|group| !group.platforms.is_empty());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use archway_oci::platform::parse_list;

    use super::*;

    fn summary(platforms: &str) -> String {
        let groups = groups(&parse_list(&[platforms]).unwrap()).unwrap();
        let described = groups.iter().map(|group| {
            let platforms: Vec<String> = group.platforms.iter().map(Platform::to_string).collect();
            format!("{}@{}: {}", group.architecture, group.node_architectures.join("|"), platforms.join(" "))
        });
        described.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn platforms_share_daemons_where_a_processor_runs_both() {
        let cases = [
            ("linux/amd64", "amd64@amd64: linux/amd64"),
            ("linux/arm64,linux/amd64", "amd64@amd64: linux/amd64; arm64@arm64: linux/arm64"),
            ("linux/386", "amd64@amd64: linux/386"),
            ("linux/amd64/v3,linux/386", "amd64@amd64: linux/amd64/v3 linux/386"),
            ("linux/arm/v7", "arm@arm|arm64: linux/arm/v7"),
            ("linux/arm/v7,linux/arm/v6", "arm@arm|arm64: linux/arm/v7 linux/arm/v6"),
            ("linux/arm/v7,linux/arm64", "arm64@arm64: linux/arm/v7 linux/arm64"),
            (
                "linux/s390x,linux/ppc64le,linux/riscv64",
                "ppc64le@ppc64le: linux/ppc64le; riscv64@riscv64: linux/riscv64; s390x@s390x: linux/s390x",
            ),
        ];
        for (platforms, want) in cases {
            assert_eq!(summary(platforms), want, "{platforms}");
        }
    }

    #[test]
    fn what_no_daemon_builds_is_refused() {
        for text in ["windows/amd64", "linux/mips64le", "darwin/arm64"] {
            let platform = Platform::parse(text).unwrap();
            let list = [Platform::parse("linux/amd64").unwrap(), platform.clone()];
            assert_eq!(groups(&list), Err(PoolError::NoDaemon { platform }), "{text}");
        }
    }
}
