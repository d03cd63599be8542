//! The image config (image-spec `config.md`) with the fields Docker adds to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Platform,
    json::{self, DocumentError},
};

/// The config blob of one image.
///
/// Fields we do not know are kept in `extra`, so that a base image's config survives a build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Architecture, OS, variant, OS version and features, flattened into this object.
    #[serde(flatten)]
    pub platform: Platform,
    /// How a container of this image runs.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub config: ContainerConfig,
    /// The layers' diffIDs, base first.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub rootfs: RootFs,
    /// One entry for each instruction.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Every other field, unread and unchanged.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl ImageConfig {
    /// Reads a config blob of at most [`json::MAX_DOCUMENT`] bytes. Go's nulls are read as empty.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`], [`DocumentError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        json::parse("image config", bytes)
    }
}

/// The layers of an image, by the digest of their uncompressed tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers", deserialize_with = "kind")]
    pub kind: String,
    /// diffIDs, base first.
    #[serde(default, deserialize_with = "json::null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

fn layers() -> String {
    "layers".into()
}

fn kind<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_else(layers))
}

/// What one instruction did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction, as Docker words it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark; BuildKit writes `buildkit.dockerfile.v0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the instruction made no layer.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// How a container of the image runs (image-spec `config.md#properties`, and Docker's additions).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, by name or number.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(default, with = "set", skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// `NAME=value`, in order.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program; `None` when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its default arguments, or the program where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that hold data.
    #[serde(default, with = "set", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Directory the program starts in.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to stop.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Docker: the command is already escaped (Windows).
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Docker: how to tell that a container is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: instructions to run in a build that starts from this image.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker: the shell of the shell form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Every other field, unread and unchanged.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Docker's health check. Durations are in nanoseconds, as Docker writes them; 0 means inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// Time a check may take.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// Time before failures count.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Time between checks during the start period.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Consecutive failures that make a container unhealthy.
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "is_zero")]
    pub retries: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Go's `map[string]struct{}`: an object whose values are empty objects; sorted here.
mod set {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize, Default)]
    struct Empty {}

    pub(super) fn serialize<S: Serializer>(keys: &[String], to: S) -> Result<S::Ok, S::Error> {
        let map: BTreeMap<&str, Empty> = keys.iter().map(|k| (k.as_str(), Empty {})).collect();
        map.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(from)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}
