//! What a daemon says of itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use archway_oci::Platform;
use tonic::{Code, Status};

use crate::{
    ConnectError, Endpoint,
    connect::Connection,
    pool::Node,
    proto::control::{self, control_client::ControlClient},
};

/// The oldest version whose protocol has all that is used here: several exporters in one build.
const OLDEST: (&str, [u64; 2]) = ("0.13", [0, 13]);
/// How long a daemon may think about a simple question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message in either direction, bytes; that of BuildKit.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;

/// A daemon that answered. Cheap to clone; all clones use one connection.
#[derive(Clone)]
pub struct Daemon {
    pub(crate) connection: Arc<Connection>,
    endpoint: Endpoint,
    version: String,
    workers: Arc<[Worker]>,
}

/// What executes builds in a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its name, unique in the daemon.
    pub id: String,
    /// What it builds for: its own platform first, then what its processor or an emulator runs as well.
    pub platforms: Vec<Platform>,
    /// What it says of itself, by key.
    pub labels: BTreeMap<String, String>,
}

/// Bytes of a daemon's build cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// All.
    pub total: u64,
    /// What no build that goes on needs.
    pub reclaimable: u64,
}

/// What to remove from a daemon's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prune {
    /// Also internal images and frontends.
    pub all: bool,
    /// Only what was not used for this long.
    pub unused_for: Duration,
    /// Bytes that may stay.
    pub keep: Option<u64>,
}

impl Daemon {
    /// Connects, and asks what is there.
    ///
    /// # Errors
    /// [`ConnectError`], which has a case for each way in which this goes wrong.
    pub async fn connect(node: &Node) -> Result<Self, ConnectError> {
        Self::connect_within(node, ANSWER_TIMEOUT).await
    }

    /// The same for somebody who does not want to wait as long for a daemon that does not answer.
    ///
    /// # Errors
    /// See [`Self::connect`].
    pub async fn connect_within(node: &Node, limit: Duration) -> Result<Self, ConnectError> {
        match tokio::time::timeout(limit, Self::connect_now(node)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout { endpoint: node.endpoint.clone(), limit }),
        }
    }

    async fn connect_now(node: &Node) -> Result<Self, ConnectError> {
        let connection = Connection::open(node).await?;
        let mut control = client(&connection);
        let endpoint = &node.endpoint;
        let info = control.info(control::InfoRequest {}).await;
        // Even the oldest daemons answer this.
        let workers = match control.list_workers(control::ListWorkersRequest::default()).await {
            Ok(workers) => workers.into_inner().record.into_iter().map(Worker::from).collect(),
            // Where nothing works, the first error is the one that says why.
            Err(status) => return Err(connection.explain(node, info.err().unwrap_or(status))),
        };
        let version = match info {
            Ok(info) => info.into_inner().buildkit_version.unwrap_or_default().version,
            // Before version 0.11.
            Err(status) if status.code() == Code::Unimplemented => "0.10 or older".to_owned(),
            Err(status) => return Err(connection.explain(node, status)),
        };
        if is_too_old(&version) {
            return Err(ConnectError::TooOld {
                endpoint: endpoint.clone(),
                found: version,
                needed: OLDEST.0,
            });
        }
        Ok(Self { connection: Arc::new(connection), endpoint: endpoint.clone(), version, workers })
    }

    /// Whether nobody between the machines can read along.
    pub fn is_private(&self) -> bool {
        self.connection.is_private
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its version, as it says it: `v0.32.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its workers, the one that is used first.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// How large its cache is.
    ///
    /// # Errors
    /// The daemon's own, and those of a connection that broke.
    pub async fn disk_usage(&self) -> Result<DiskUsage, Status> {
        let mut control = self.control();
        let request = control.disk_usage(control::DiskUsageRequest::default());
        let records = within(ANSWER_TIMEOUT, request).await?.record;
        let mut usage = DiskUsage::default();
        for record in records {
            let size = u64::try_from(record.size).unwrap_or_default();
            usage.total += size;
            usage.reclaimable += if record.in_use { 0 } else { size };
        }
        Ok(usage)
    }

    /// Removes what no build that goes on needs from its cache, as its own `buildctl prune` does. Gives the bytes
    /// that it freed.
    ///
    /// # Errors
    /// The daemon's own, and those of a connection that broke.
    pub async fn prune(&self, what: &Prune) -> Result<u64, Status> {
        let bytes = |size: Option<u64>| i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
        let request = control::PruneRequest {
            all: what.all,
            keep_duration: i64::try_from(what.unused_for.as_nanos()).unwrap_or(i64::MAX),
            reserved_space: bytes(what.keep),
            ..Default::default()
        };
        let mut records = self.control().prune(request).await?.into_inner();
        let mut freed = 0;
        while let Some(record) = records.message().await? {
            freed += u64::try_from(record.size).unwrap_or_default();
        }
        Ok(freed)
    }

    /// How many builds it is busy with.
    ///
    /// # Errors
    /// The daemon's own, and those of a connection that broke.
    pub async fn running(&self) -> Result<usize, Status> {
        let request =
            control::BuildHistoryRequest { active_only: true, early_exit: true, ..Default::default() };
        let events = async {
            let mut events = self.control().listen_build_history(request).await?.into_inner();
            let mut running = 0;
            while let Some(event) = events.message().await? {
                running += usize::from(event.r#type == i32::from(control::BuildHistoryEventType::Started));
            }
            Ok(tonic::Response::new(running))
        };
        within(ANSWER_TIMEOUT, events).await
    }

    /// Whether it still answers.
    ///
    /// # Errors
    /// It does not, or not in time.
    pub(crate) async fn ping(&self, limit: Duration) -> Result<(), Status> {
        within(limit, self.control().info(control::InfoRequest {})).await.map(drop)
    }

    pub(crate) fn control(&self) -> ControlClient<tonic::transport::Channel> {
        client(&self.connection)
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("endpoint", &self.endpoint).field("version", &self.version).finish()
    }
}

fn client(connection: &Connection) -> ControlClient<tonic::transport::Channel> {
    ControlClient::new(connection.channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} seconds", limit.as_secs()))),
    }
}

/// Whether a version is older than [`OLDEST`]. One that is no version - that of a daemon somebody built without
/// saying which - is not.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+', ' ']).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(0))) => false,
        (Some(Ok(major)), Some(Ok(minor))) => [major, minor] < OLDEST.1,
        _ => false,
    }
}

impl From<crate::proto::types::WorkerRecord> for Worker {
    fn from(record: crate::proto::types::WorkerRecord) -> Self {
        let platforms = record.platforms.into_iter().filter_map(|platform| {
            let mut text = format!("{}/{}", platform.os, platform.architecture);
            if !platform.variant.is_empty() {
                text = format!("{text}/{}", platform.variant);
            }
            text.parse().ok()
        });
        Self { id: record.id, platforms: platforms.collect(), labels: record.labels.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_daemons_are_known_by_their_version() {
        for (version, old) in [
            ("v0.32.2", false),
            ("0.13.0", false),
            ("v1.0.0-rc1", false),
            ("v0.12.5", true),
            ("0.10 or older", true),
            ("v0.0.0+unknown", false),
            ("", false),
            ("master", false),
        ] {
            assert_eq!(is_too_old(version), old, "{version}");
        }
    }
}
