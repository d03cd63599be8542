//! Asks daemons what they are, all at the same time, and none of them for long.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use archway_buildkit::{
    Daemon, Node, Pool,
    certs::Certificate,
    config::EMBEDDED,
    daemon::{DiskUsage, Worker},
    pool::Ability,
};
use archway_oci::Platform;
use archway_sandbox::emulation::Emulation;
use jiff::Timestamp;
use serde::Serialize;

use crate::error::{self, connect_hint};

/// How long a list waits for a daemon.
const LIMIT: Duration = Duration::from_secs(5);

/// What programs are emulated for, if this machine can.
const KNOWN: [&str; 9] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "linux/loong64",
];

/// A builder, as it is now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) name: String,
    /// Whether it is used when none is named.
    pub(super) current: bool,
    pub(super) nodes: Vec<NodeReport>,
}

/// A daemon, as it is now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeReport {
    /// `None`: this machine.
    pub(super) endpoint: Option<String>,
    pub(super) status: Status,
    pub(super) version: Option<String>,
    /// What it is restricted to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) restricted_to: Vec<String>,
    pub(super) platforms: Abilities,
    pub(super) disk: Option<Disk>,
    pub(super) running_builds: Option<usize>,
    /// This client's certificate.
    pub(super) certificate: Option<Credential>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) workers: Vec<WorkerReport>,
    pub(super) error: Option<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    /// It answers.
    Running,
    /// It does not, or not as it should.
    Error,
}

/// What is built natively, and what with an emulator.
#[derive(Debug, Default, Serialize)]
pub(super) struct Abilities {
    #[serde(serialize_with = "texts")]
    pub(super) native: Vec<Platform>,
    #[serde(serialize_with = "texts")]
    pub(super) emulated: Vec<Platform>,
}

/// Bytes of a build cache.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Disk {
    pub(super) total: u64,
    pub(super) reclaimable: u64,
}

/// A certificate's file, and until when it is valid.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Credential {
    pub(super) path: PathBuf,
    pub(super) valid_until: Timestamp,
}

#[derive(Debug, Serialize)]
pub(super) struct WorkerReport {
    pub(super) id: String,
    pub(super) labels: std::collections::BTreeMap<String, String>,
}

/// Why a daemon cannot be used.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) causes: Vec<String>,
    pub(super) hint: Option<String>,
}

impl Abilities {
    /// Of what the first worker of a daemon says; only what a node is restricted to, if it is.
    pub(super) fn of_daemon(node: &Node, daemon: &Daemon) -> Self {
        let offered = daemon.workers().first().map(|worker| worker.platforms.as_slice()).unwrap_or_default();
        let shown = if node.platforms.is_empty() { offered } else { &node.platforms };
        let mut abilities = Self::default();
        for platform in shown {
            match Ability::of(offered, platform) {
                Some(Ability::Native) => abilities.native.push(platform.clone()),
                Some(Ability::Emulated) => abilities.emulated.push(platform.clone()),
                None => {}
            }
        }
        abilities
    }

    /// Of this machine.
    fn of_this_machine() -> Self {
        let (processor, emulation) = (Platform::host_processor(), Emulation::detect());
        let mut abilities = Self::default();
        for platform in KNOWN.iter().map(|text| text.parse::<Platform>().expect("known platforms")) {
            if platform.runs_natively_on(&processor) {
                abilities.native.push(platform);
            } else if emulation.for_platform(&platform).is_ok() {
                abilities.emulated.push(platform);
            }
        }
        abilities
    }
}

/// This machine, as a builder.
pub(super) fn embedded(current: bool) -> Report {
    let node = NodeReport {
        status: Status::Running,
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        platforms: Abilities::of_this_machine(),
        ..NodeReport::unknown(None)
    };
    Report { name: EMBEDDED.to_owned(), current, nodes: vec![node] }
}

/// Asks all daemons of all builders at the same time. In the order given.
pub(super) async fn all(pools: Vec<(String, bool, Pool)>) -> Vec<Report> {
    let asked = pools.into_iter().map(|(name, current, pool)| {
        let nodes: Vec<_> = pool.nodes.into_iter().map(|node| tokio::spawn(ask(node))).collect();
        (name, current, nodes)
    });
    let mut reports = Vec::new();
    // First all are asked, then one after the other is waited for.
    for (name, current, asked) in asked.collect::<Vec<_>>() {
        let mut nodes = Vec::new();
        for node in asked {
            nodes.push(node.await.expect("a question does not panic"));
        }
        reports.push(Report { name, current, nodes });
    }
    reports
}

async fn ask(node: Node) -> NodeReport {
    let mut report = NodeReport::unknown(Some(node.endpoint.to_string()));
    report.restricted_to = node.platforms.iter().map(ToString::to_string).collect();
    report.certificate = node.tls.as_ref().and_then(|tls| credential(tls.cert.as_deref()?));
    let daemon = match Daemon::connect_within(&node, LIMIT).await {
        Ok(daemon) => daemon,
        Err(error) => {
            let (message, causes) = (error.to_string(), error::chain(&error));
            report.error = Some(Problem { message, causes, hint: connect_hint(&error) });
            return report;
        }
    };
    report.status = Status::Running;
    report.version = Some(error::printable(daemon.version()));
    report.platforms = Abilities::of_daemon(&node, &daemon);
    report.workers = daemon.workers().iter().map(WorkerReport::from).collect();
    // A daemon that is busy may take its time with these; the list does not.
    let details = async { tokio::join!(daemon.disk_usage(), daemon.running()) };
    if let Ok((disk, running)) = tokio::time::timeout(LIMIT, details).await {
        report.disk = disk.ok().map(|DiskUsage { total, reclaimable }| Disk { total, reclaimable });
        report.running_builds = running.ok();
    }
    report
}

/// `None` where it cannot be read, which a connection says better.
fn credential(path: &Path) -> Option<Credential> {
    let certificate = Certificate::parse_pem(&fs::read(path).ok()?)?.into_iter().next()?;
    let valid_until = Timestamp::try_from(certificate.not_after).ok()?;
    Some(Credential { path: path.to_owned(), valid_until })
}

impl NodeReport {
    /// Nothing is known yet.
    fn unknown(endpoint: Option<String>) -> Self {
        Self {
            endpoint,
            status: Status::Error,
            version: None,
            restricted_to: Vec::new(),
            platforms: Abilities::default(),
            disk: None,
            running_builds: None,
            certificate: None,
            workers: Vec::new(),
            error: None,
        }
    }
}

impl From<&Worker> for WorkerReport {
    fn from(worker: &Worker) -> Self {
        Self { id: worker.id.clone(), labels: worker.labels.clone() }
    }
}

fn texts<S: serde::Serializer>(platforms: &[Platform], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(platforms.iter().map(ToString::to_string))
}
