//! Platforms: parsing, normalising, matching and ordering, by the rules of containerd's
//! `platforms` package, so that Archway picks the same image as every other tool.

mod host;
mod matching;
mod parse;
mod spelling;
mod windows;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json;

pub use matching::best_match;
pub use parse::{PlatformError, PlatformProblem, parse_list};

/// An operating system and a processor that content is for.
///
/// [`Platform::new`], [`Platform::parse`] and [`Platform::normalized`] give the normal form: `os`
/// and `architecture` are Go's names (`linux`, `amd64`), the default variant is left out where
/// containerd leaves it out (`arm64/v8` is `arm64`) and spelled where it is not (`arm` is
/// `arm/v7`). A platform read from JSON is as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture, Go's `GOARCH`.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub architecture: String,
    /// Operating system, Go's `GOOS`.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub os: String,
    /// Operating system version (Windows).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Operating system features (Windows).
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "json::null_is_default"
    )]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// A platform in normal form. An empty `variant` is none.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let platform = Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.map(str::to_owned),
            ..Self::default()
        };
        platform.normalized()
    }

    /// The normal form: lower case, aliases replaced (`x86_64`, `aarch64`, `armhf`, `macos`, …),
    /// default variants settled, features sorted. A missing `os` is taken to be `linux`.
    #[must_use]
    pub fn normalized(self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "" => "linux".to_owned(),
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) =
            normal_architecture(&self.architecture, self.variant.as_deref().unwrap_or_default());
        let mut os_features = self.os_features;
        os_features.sort();
        os_features.dedup();
        Self {
            architecture,
            os,
            os_version: self.os_version.filter(|version| !version.is_empty()),
            os_features,
            variant: Some(variant).filter(|variant| !variant.is_empty()),
        }
    }

    /// Whether this is the `unknown/unknown` that BuildKit gives to attestations in an index.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// The text [`Platform::parse`] reads back, with operating system version and features:
    /// `windows(10.0.17763+win32k)/amd64`. The same as `Display` where there are none.
    pub fn specifier(&self) -> String {
        if self.os_version.is_none() && self.os_features.is_empty() {
            return self.to_string();
        }
        let mut text = format!("{}({}", self.os, self.os_version.as_deref().unwrap_or_default());
        for feature in &self.os_features {
            text.push('+');
            text.push_str(feature);
        }
        text.push(')');
        for part in [Some(&self.architecture), self.variant.as_ref()].into_iter().flatten() {
            text.push('/');
            text.push_str(part);
        }
        text
    }
}

/// `os/architecture[/variant]`.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.variant.as_deref() {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        };
        f.pad(&text)
    }
}

/// Settles aliases and default variants. An empty variant is none.
fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
        ("amd64" | "x86_64" | "x86-64", other) => ("amd64", other),
        ("arm64" | "aarch64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("arm64" | "aarch64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("arm64" | "aarch64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_default_variants_have_one_normal_form() {
        let table = [
            (("linux", "x86_64", ""), "linux/amd64"),
            (("linux", "x86-64", "v1"), "linux/amd64"),
            (("Linux", "AMD64", "V3"), "linux/amd64/v3"),
            (("linux", "aarch64", "v8"), "linux/arm64"),
            (("linux", "arm64", "8"), "linux/arm64"),
            (("linux", "arm64", "v8.0"), "linux/arm64"),
            (("linux", "arm64", "v8.2"), "linux/arm64/v8.2"),
            (("linux", "arm64", "9"), "linux/arm64/v9"),
            (("linux", "arm64", "v9.0"), "linux/arm64/v9"),
            (("linux", "armhf", ""), "linux/arm/v7"),
            (("linux", "armel", "v7"), "linux/arm/v6"),
            (("linux", "arm", ""), "linux/arm/v7"),
            (("linux", "arm", "6"), "linux/arm/v6"),
            (("linux", "i386", "sse2"), "linux/386"),
            (("macos", "aarch64", ""), "darwin/arm64"),
            (("", "riscv64", ""), "linux/riscv64"),
        ];
        for ((os, architecture, variant), expected) in table {
            let platform = Platform::new(os, architecture, Some(variant));
            assert_eq!(platform.to_string(), expected);
            assert_eq!(platform.clone().normalized(), platform, "normalising twice changes nothing");
        }
    }

    #[test]
    fn features_are_a_sorted_set() {
        let features = ["win32k", "a", "win32k"].map(str::to_owned).to_vec();
        let platform = Platform { os_features: features, ..Platform::new("windows", "amd64", None) };
        assert_eq!(platform.normalized().os_features, ["a", "win32k"]);
    }

    #[test]
    fn json_keys_are_those_of_the_image_index() {
        let platform = Platform {
            os_version: Some("10.0.17763".into()),
            os_features: vec!["win32k".into()],
            ..Platform::new("windows", "arm", Some("v7"))
        };
        let json = serde_json::to_value(&platform).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "architecture": "arm", "os": "windows", "os.version": "10.0.17763",
                "os.features": ["win32k"], "variant": "v7",
            })
        );
        assert_eq!(serde_json::from_value::<Platform>(json).unwrap(), platform);
    }

    #[test]
    fn go_nulls_are_empty() {
        let platform: Platform = serde_json::from_str(
            r#"{"architecture":null,"os":"linux","os.version":null,"os.features":null,"variant":null}"#,
        )
        .unwrap();
        assert_eq!(platform, Platform { os: "linux".into(), ..Platform::default() });
    }
}
