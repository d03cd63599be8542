//! Platforms: parsing, normalising, matching and ordering, by containerd's rules.

use serde::{Deserialize, Serialize};

/// An operating system and a processor that content is for, in normal form: `os` and
/// `architecture` are Go's names (`linux`, `amd64`), the default variant is left out where
/// containerd leaves it out (`arm64/v8` is `arm64`) and spelled where it is not (`arm` is `arm/v7`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture, Go's `GOARCH`.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, Go's `GOOS`.
    #[serde(default)]
    pub os: String,
    /// Operating system version (Windows).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Operating system features (Windows).
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}
