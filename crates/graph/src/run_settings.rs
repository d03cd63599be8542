//! What a request says about every RUN.

use std::net::IpAddr;

use serde::Serialize;

/// What a request says about every RUN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RunSettings {
    /// `--add-host`: further lines of `/etc/hosts`, in order.
    pub hosts: Vec<ExtraHost>,
    /// `--shm-size`: bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// `--ulimit`: resource limits, each resource once.
    pub limits: Vec<ResourceLimit>,
    /// `BUILDKIT_SANDBOX_HOSTNAME`: the name that processes see for the machine.
    pub hostname: Option<String>,
}

/// A name that `/etc/hosts` gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address, which is no part of a step's identity, as in BuildKit.
    pub address: IpAddr,
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ResourceLimit {
    /// Docker's name of the resource: `nofile`, `core`, …
    pub resource: String,
    /// What counts; `None` is no limit.
    pub soft: Option<u64>,
    /// What a process can raise it to; `None` is no limit.
    pub hard: Option<u64>,
}

/// What a build may do only if the user allows it: `--allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entitlement {
    /// `network.host`: `RUN --network=host`. Needs no permission here, as steps have the network of this
    /// machine anyway.
    NetworkHost,
    /// `security.insecure`: `RUN --security=insecure`.
    SecurityInsecure,
    /// `device`: `RUN --device`.
    Device,
}

impl Entitlement {
    /// Each with its name.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("network.host", Self::NetworkHost),
        ("security.insecure", Self::SecurityInsecure),
        ("device", Self::Device),
    ];

    /// The entitlement of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, entitlement)| *entitlement)
    }
}

/// What a process may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// What Docker allows.
    #[default]
    Sandbox,
    /// Everything.
    Insecure,
}
