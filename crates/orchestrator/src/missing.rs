//! Which platforms an index lacks: what a partial publication says in its index, so that whoever reads it can
//! tell a short index from a whole one, and which goes away when it is completed.

use std::fmt;

use archway_oci::{Descriptor, Platform};
use archway_report::{PlatformResult, Reason, State};

/// The annotation of the index. Its value is `PLATFORM=REASON`, comma-separated, in request order.
pub const KEY: &str = "dev.archway.index.missing";

/// Platforms that were asked for and are not in an index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing(Vec<(Platform, Option<Reason>)>);

impl Missing {
    /// Those that did not succeed.
    pub fn of(results: &[PlatformResult]) -> Self {
        let missing = results.iter().filter(|result| result.state != State::Succeeded);
        Self(missing.map(|result| (result.platform.clone(), result.reason)).collect())
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The platforms.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.0.iter().map(|(platform, _)| platform)
    }
}

/// The value of the annotation.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (platform, reason)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let reason = reason.map_or("Unknown", Reason::as_str);
            write!(f, "{comma}{}={reason}", platform.specifier())?;
        }
        Ok(())
    }
}

/// The value of the annotation for an index that has `manifests` by now, given the value it had; `None` if
/// nothing is missing any more. What cannot be read stays as it is.
pub(crate) fn still_missing(value: &str, manifests: &[Descriptor]) -> Option<String> {
    let is_there = |wanted: Platform| {
        let listed = manifests.iter().filter_map(|manifest| manifest.platform.clone());
        listed.map(Platform::normalized).any(|listed| is_for(&listed, &wanted.clone().normalized()))
    };
    let is_missing = |entry: &&str| {
        let name = entry.split_once('=').map_or(*entry, |(name, _)| name);
        !name.parse().is_ok_and(is_there)
    };
    let left: Vec<&str> = value.split(',').filter(|entry| !entry.is_empty()).filter(is_missing).collect();
    (!left.is_empty()).then(|| left.join(","))
}

/// Whether an image for `listed` is one for `wanted`. A version of Windows counts if one was asked for.
fn is_for(listed: &Platform, wanted: &Platform) -> bool {
    (&listed.os, &listed.architecture, &listed.variant) == (&wanted.os, &wanted.architecture, &wanted.variant)
        && (wanted.os_version.is_none() || wanted.os_version == listed.os_version)
}

#[cfg(test)]
mod tests {
    use archway_oci::media_type;

    use super::*;

    fn manifest(platform: &str) -> Descriptor {
        let mut manifest = Descriptor::of(media_type::OCI_MANIFEST, platform.as_bytes());
        manifest.platform = Some(platform.parse().unwrap());
        manifest
    }

    #[test]
    fn the_value_has_platforms_and_reasons() {
        let entry = |name: &str, reason| (name.parse().unwrap(), reason);
        let missing = Missing(vec![
            entry("linux/arm64", Some(Reason::StepFailed)),
            entry("windows(10.0.20348)/amd64", Some(Reason::TimedOut)),
            entry("linux/s390x", None),
        ]);
        let value = "linux/arm64=StepFailed,windows(10.0.20348)/amd64=TimedOut,linux/s390x=Unknown";
        assert_eq!(missing.to_string(), value);
        assert_eq!(Missing::default().to_string(), "");
    }

    #[test]
    fn what_is_added_is_missing_no_more() {
        let value = "linux/arm64=StepFailed,linux/arm/v7=TimedOut,something else";
        let left = |manifests: &[&str]| {
            let manifests: Vec<Descriptor> = manifests.iter().map(|name| manifest(name)).collect();
            still_missing(value, &manifests)
        };
        assert_eq!(left(&["linux/amd64"]).as_deref(), Some(value));
        let rest = "linux/arm/v7=TimedOut,something else";
        assert_eq!(left(&["linux/amd64", "linux/aarch64"]).as_deref(), Some(rest));
        assert_eq!(left(&["linux/arm64", "linux/arm"]).as_deref(), Some("something else"));
        assert_eq!(still_missing("linux/arm64=StepFailed", &[manifest("linux/arm64")]), None);
        let windows = [manifest("windows(10.0.20348)/amd64")];
        assert_eq!(still_missing("windows/amd64=TimedOut", &windows), None);
        assert!(still_missing("windows(10.0.17763)/amd64=TimedOut", &windows).is_some());
        assert_eq!(still_missing("", &[]), None);
    }
}
