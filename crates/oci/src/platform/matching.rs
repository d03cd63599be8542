//! Which platforms may stand in for which, best first: containerd's `Only`.

use std::cmp::Reverse;

use super::{Platform, windows};

impl Platform {
    /// The platforms whose content runs on this one, best first; this one is the first.
    ///
    /// `amd64/v3` takes v3, v2, v1, 386. `arm/v7` takes v7, v6, v5. `arm64` takes arm64 and 32-bit
    /// arm from v8 down; `arm64/v9.1` also v9 and v8.6 down to v8.
    pub fn fallbacks(&self) -> Vec<Self> {
        let platform = self.clone().normalized();
        let variant = platform.variant.as_deref();
        let mut others: Vec<(&str, Option<String>)> = Vec::new();
        match platform.architecture.as_str() {
            "amd64" => {
                let level = variant.and_then(major).unwrap_or(1);
                others.extend((1..level).rev().map(|level| ("amd64", Some(format!("v{level}")))));
                others.push(("386", None));
            }
            "arm" => {
                let version = variant.and_then(major).unwrap_or(7);
                others.extend(arm_versions(version.saturating_sub(1)));
            }
            "arm64" => {
                others.extend(arm64_versions_below(variant.unwrap_or("v8")));
                others.extend(arm_versions(8));
            }
            _ => {}
        }
        let others: Vec<Self> = others
            .into_iter()
            .map(|(architecture, variant)| {
                let architecture = architecture.to_owned();
                Self { architecture, variant, ..platform.clone() }.normalized()
            })
            .collect();
        std::iter::once(platform).chain(others).collect()
    }

    /// Whether content made for `candidate` may be used where this platform is wanted: it is one of
    /// [`Platform::fallbacks`], needs no operating system feature that is not offered here, and its
    /// Windows version, if both have one, is compatible.
    pub fn satisfied_by(&self, candidate: &Self) -> bool {
        rank(&self.fallbacks(), candidate).is_some()
    }

    /// Whether a process of this platform runs on the processor of `host`, such as
    /// [`Platform::host_processor`], without an emulator.
    ///
    /// This is the architecture's promise: a kernel without 32-bit support, or one of the few
    /// arm64 processors that lack 32-bit mode, still refuses `386` or `arm` programs when started.
    pub fn runs_natively_on(&self, host: &Self) -> bool {
        host.satisfied_by(self)
    }
}

/// The offered platform that suits `requested` best: the earliest of its fallbacks; among equals
/// the one with most of the requested features, then the first offered.
pub fn best_match<'a>(requested: &Platform, offered: impl Iterator<Item = &'a Platform>) -> Option<usize> {
    let wanted = requested.fallbacks();
    offered
        .enumerate()
        .filter_map(|(index, candidate)| {
            Some((rank(&wanted, candidate)?, Reverse(candidate.os_features.len()), index))
        })
        .min()
        .map(|(_, _, index)| index)
}

/// Position of the first of `wanted` that the candidate suits, 0 the best.
fn rank(wanted: &[Platform], candidate: &Platform) -> Option<usize> {
    let candidate = candidate.clone().normalized();
    wanted.iter().position(|wanted| suits(wanted, &candidate))
}

/// Both in normal form.
fn suits(wanted: &Platform, candidate: &Platform) -> bool {
    wanted.os == candidate.os
        && wanted.architecture == candidate.architecture
        && wanted.variant == candidate.variant
        && candidate.os_features.iter().all(|feature| has_feature(wanted, feature))
        && (wanted.os != "windows" || windows_version_suits(wanted, candidate))
}

/// Every Windows offers `win32k`, whether it says so or not.
fn has_feature(wanted: &Platform, feature: &str) -> bool {
    wanted.os_features.iter().any(|offered| offered == feature)
        || (wanted.os == "windows" && feature == "win32k")
}

/// A version that is missing, or that cannot be read where it is wanted, suits any other.
fn windows_version_suits(wanted: &Platform, candidate: &Platform) -> bool {
    let Some(host) = wanted.os_version.as_deref().and_then(windows::Version::parse) else { return true };
    match candidate.os_version.as_deref() {
        None => true,
        Some(text) => windows::Version::parse(text).is_some_and(|container| host.runs(container)),
    }
}

/// N of `vN`.
fn major(variant: &str) -> Option<u8> {
    variant.strip_prefix('v')?.parse().ok()
}

/// 32-bit arm, from `highest` down to v5.
fn arm_versions(highest: u8) -> impl Iterator<Item = (&'static str, Option<String>)> {
    (5..=highest).rev().map(|version| ("arm", Some(format!("v{version}"))))
}

/// The arm64 versions that `variant` includes, downwards, itself left out; none for one we do not
/// know. Version 9.N includes 8.(N+5), and 8.9 was the last of its line.
fn arm64_versions_below(variant: &str) -> Vec<(&'static str, Option<String>)> {
    let (version, minor) = variant.split_once('.').unwrap_or((variant, "0"));
    match (version, minor.parse::<u8>()) {
        ("v8", Ok(minor @ 0..=9)) => arm64_minors("v8", minor).collect(),
        ("v9", Ok(minor @ 0..=7)) => {
            let last_of_v8 = (minor + 5).min(9);
            arm64_minors("v9", minor).chain(arm64_minors("v8", last_of_v8 + 1)).collect()
        }
        _ => Vec::new(),
    }
}

/// `version.N` for every N below `end`, downwards.
fn arm64_minors(version: &'static str, end: u8) -> impl Iterator<Item = (&'static str, Option<String>)> {
    (0..end).rev().map(move |minor| ("arm64", Some(format!("{version}.{minor}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    fn names(platforms: &[Platform]) -> Vec<String> {
        platforms.iter().map(|p| p.to_string().trim_start_matches("linux/").to_owned()).collect()
    }

    #[test]
    fn fallbacks_are_containerds() {
        let table: [(&str, &[&str]); 12] = [
            ("linux/amd64", &["amd64", "386"]),
            ("linux/amd64/v3", &["amd64/v3", "amd64/v2", "amd64", "386"]),
            ("linux/386", &["386"]),
            ("linux/arm", &["arm/v7", "arm/v6", "arm/v5"]),
            ("linux/arm/v5", &["arm/v5"]),
            ("linux/arm/v8", &["arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
            ("linux/arm64", &["arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
            (
                "linux/arm64/v8.2",
                &["arm64/v8.2", "arm64/v8.1", "arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"],
            ),
            (
                "linux/arm64/v9",
                &[
                    "arm64/v9",
                    "arm64/v8.5",
                    "arm64/v8.4",
                    "arm64/v8.3",
                    "arm64/v8.2",
                    "arm64/v8.1",
                    "arm64",
                    "arm/v8",
                    "arm/v7",
                    "arm/v6",
                    "arm/v5",
                ],
            ),
            (
                "linux/arm64/v9.1",
                &[
                    "arm64/v9.1",
                    "arm64/v9",
                    "arm64/v8.6",
                    "arm64/v8.5",
                    "arm64/v8.4",
                    "arm64/v8.3",
                    "arm64/v8.2",
                    "arm64/v8.1",
                    "arm64",
                    "arm/v8",
                    "arm/v7",
                    "arm/v6",
                    "arm/v5",
                ],
            ),
            ("linux/ppc64le", &["ppc64le"]),
            ("linux/riscv64", &["riscv64"]),
        ];
        for (text, expected) in table {
            assert_eq!(names(&platform(text).fallbacks()), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_variant_of_foreign_json_is_its_own_first_fallback() {
        let strange = Platform { variant: Some("v10".into()), ..platform("linux/arm64") };
        assert_eq!(names(&strange.fallbacks())[0], "arm64/v10");
    }

    #[test]
    fn the_best_offer_wins_whatever_the_order() {
        let table: [(&str, &[&str], Option<usize>); 9] = [
            ("linux/amd64", &["linux/386", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/386", "linux/arm64"], Some(0)),
            ("linux/amd64", &["linux/amd64/v2"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some(1)),
            ("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], Some(1)),
            ("linux/arm/v7", &["linux/arm64"], None),
            ("linux/s390x", &["linux/amd64"], None),
            ("linux/amd64", &["linux/amd64", "linux/x86_64"], Some(0)),
        ];
        for (requested, offered, expected) in table {
            let offered: Vec<Platform> = offered.iter().map(|text| platform(text)).collect();
            assert_eq!(best_match(&platform(requested), offered.iter()), expected, "{requested}");
        }
    }

    #[test]
    fn offers_are_normalised_before_they_are_compared() {
        let offered: Platform =
            serde_json::from_str(r#"{"architecture":"aarch64","os":"Linux","variant":"v8"}"#).unwrap();
        assert!(platform("linux/arm64").satisfied_by(&offered));
        let attestation =
            Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() };
        assert!(attestation.is_unknown());
        assert!(!platform("linux/arm64").satisfied_by(&attestation));
    }

    #[test]
    fn windows_wants_a_compatible_version() {
        let table = [
            ("windows(10.0.17763)/amd64", "windows(10.0.17763.1879)/amd64", true),
            ("windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64", false),
            ("windows(10.0.17763)/amd64", "windows/amd64", true),
            ("windows/amd64", "windows(10.0.20348)/amd64", true),
            ("windows(10.0.26100)/amd64", "windows(10.0.20348)/amd64", true),
            ("windows(10.0.20348)/amd64", "windows(10.0.26100)/amd64", false),
            ("windows(10.0.20348)/amd64", "windows(strange)/amd64", false),
            ("windows/amd64", "linux/amd64", false),
        ];
        for (wanted, candidate, expected) in table {
            assert_eq!(
                platform(wanted).satisfied_by(&platform(candidate)),
                expected,
                "{wanted} <- {candidate}"
            );
        }
    }

    #[test]
    fn features_must_be_offered_and_the_richest_match_wins() {
        assert!(platform("windows/amd64").satisfied_by(&platform("windows(+win32k)/amd64")));
        assert!(!platform("linux/amd64").satisfied_by(&platform("linux(+gpu)/amd64")));
        let offered = [platform("linux/amd64"), platform("linux(+gpu)/amd64")];
        assert_eq!(best_match(&platform("linux(+gpu)/amd64"), offered.iter()), Some(1));
        assert_eq!(best_match(&platform("linux/amd64"), offered.iter()), Some(0));
    }

    #[test]
    fn native_is_what_the_processor_includes() {
        let table = [
            ("linux/386", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64/v3", "linux/amd64/v3", true),
            ("linux/amd64/v4", "linux/amd64/v3", false),
            ("linux/amd64/v2", "linux/amd64", false),
            ("linux/arm/v7", "linux/arm64", true),
            ("linux/arm64", "linux/arm/v7", false),
            ("linux/arm64", "linux/amd64/v4", false),
            ("windows/amd64", "linux/amd64", false),
        ];
        for (wanted, host, expected) in table {
            assert_eq!(platform(wanted).runs_natively_on(&platform(host)), expected, "{wanted} on {host}");
        }
    }
}
