//! Named daemons, and which of them builds a platform.

use archway_oci::Platform;
use serde::{Deserialize, Serialize};

use crate::{Endpoint, tls::Tls};

/// A builder: daemons under one name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pool {
    /// The daemons, in the order in which they were added.
    #[serde(default, rename = "node")]
    pub nodes: Vec<Node>,
}

/// One daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Where it is.
    pub endpoint: Endpoint,
    /// `--platform`: what it is to be used for; empty: whatever it says it can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Certificates; `None` for sockets and ssh, and for TCP in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// `--allow-insecure`: TCP in the clear is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure: bool,
}
