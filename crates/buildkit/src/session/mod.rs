//! What a daemon may call this machine for while it builds.
//!
//! A session is a gRPC server on this machine whose only client is the daemon: its bytes travel inside a stream of
//! the connection that this machine made, so nothing here listens. What is offered is what [`Lent`] holds, and the
//! daemon is told which methods that is.

mod auth;
mod files;
mod health;
mod problem;
mod receive;
mod secrets;
mod ssh;
mod transport;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use archway_oci::Reference;
use archway_registry::Client;
use archway_source::Snapshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Status, metadata::MetadataValue, service::Routes};

use crate::{Daemon, daemon::MAX_MESSAGE, proto};

pub use files::Sent;
pub use problem::SessionError;
pub use receive::Receiver;

use self::problem::Problems;

/// What is lent to a daemon for one build.
#[derive(Clone, Default)]
pub struct Lent {
    /// Directories, by the names that the build knows them by: `context`, `dockerfile`, those of named contexts.
    pub directories: BTreeMap<String, Directory>,
    /// Counts what is sent of the directories. Clones of this share it.
    pub sent: Arc<Sent>,
    /// Who knows the credentials for registries.
    pub registry: Option<Client>,
    /// Values of `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of SSH agents (`--ssh`), by id. Whatever a step says there is passed on: an agent whose keys must not be
    /// changed has to see to it itself.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Who takes the bytes of an image that the daemon sends, by the position of the export.
    pub receivers: BTreeMap<usize, Arc<dyn Receiver>>,
}

/// Files that a build reads here.
#[derive(Clone)]
pub enum Directory {
    /// The source snapshot.
    Snapshot(Arc<Snapshot>),
    /// Files that are nowhere on a disk, by name: the Dockerfile. All in one directory.
    Texts(BTreeMap<String, Arc<str>>),
}

/// A value that is not shown.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// A value is larger than daemons take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {size} bytes; a BuildKit daemon takes {} KiB", Secret::MAX_SIZE >> 10)]
pub struct SecretTooLarge {
    /// Its size, bytes.
    pub size: usize,
}

impl Secret {
    /// Largest value, bytes; that of BuildKit's own client.
    pub const MAX_SIZE: usize = 500 << 10;

    /// A value, checked before a build begins that would fail with it.
    ///
    /// # Errors
    /// It is too large.
    pub fn new(value: impl Into<Arc<[u8]>>) -> Result<Self, SecretTooLarge> {
        let value = value.into();
        if value.len() > Self::MAX_SIZE {
            return Err(SecretTooLarge { size: value.len() });
        }
        Ok(Self(value))
    }

    fn value(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A session that runs; it ends when this is dropped.
pub(crate) struct Session {
    id: String,
    problems: Problems,
    _end: DropGuard,
}

impl Session {
    /// Opens a session. Daemons find what an earlier session with the same `shared_key` sent, and ask for the
    /// difference.
    ///
    /// `pushes` are the references that the build pushes to: for others there are no tokens that would allow it.
    pub(crate) async fn open(
        daemon: &Daemon,
        shared_key: &str,
        lent: Lent,
        pushes: Vec<Reference>,
    ) -> Result<Self, Status> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let problems = Problems::default();
        let (routes, methods) = routes(lent, pushes, daemon.connection.is_private, &problems);
        let (ours, outgoing) = transport::outgoing();
        let mut request = Request::new(outgoing);
        let headers = request.metadata_mut();
        let header = |text: &str| {
            MetadataValue::try_from(text)
                .map_err(|_| Status::invalid_argument(format!("`{text}` is no header")))
        };
        headers.insert("x-docker-expose-session-uuid", header(&id)?);
        headers.insert("x-docker-expose-session-sharedkey", header(shared_key)?);
        for method in methods {
            headers.append("x-docker-expose-session-grpc-method", MetadataValue::from_static(method));
        }
        let incoming = daemon.control().session(request).await?.into_inner();
        let end = CancellationToken::new();
        let stream = transport::Transport::new(incoming, ours, end.clone());
        tokio::spawn(async move {
            // Its one connection has a task of its own, which ends with the transport.
            let _ = tonic::transport::Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .add_routes(routes)
                .serve_with_incoming(futures_util::stream::once(std::future::ready(Ok::<_, std::io::Error>(
                    stream,
                ))))
                .await;
        });
        Ok(Self { id, problems, _end: end.drop_guard() })
    }

    /// Its name, for the request that uses it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What a daemon's message about a failed build comes from, if it was something that it did not get here.
    pub(crate) fn cause_of(&self, message: &str) -> Option<SessionError> {
        self.problems.cause_of(message)
    }
}

/// The services, and the full names of their methods.
fn routes(
    lent: Lent,
    pushes: Vec<Reference>,
    is_private: bool,
    problems: &Problems,
) -> (Routes, Vec<&'static str>) {
    let mut methods = vec!["/grpc.health.v1.Health/Check"];
    let mut routes = Routes::new(proto::health::health_server::HealthServer::new(health::Health));
    if !lent.directories.is_empty() {
        let service = proto::files::file_sync_server::FileSyncServer::new(files::Files::new(
            lent.directories,
            lent.sent,
            problems.clone(),
        ))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
        routes = routes.add_service(service);
        methods.push("/moby.filesync.v1.FileSync/DiffCopy");
    }
    if let Some(client) = lent.registry {
        let service = proto::filesync::auth_server::AuthServer::new(auth::Auth::new(
            client,
            pushes,
            is_private,
            problems.clone(),
        ));
        routes = routes.add_service(service);
        methods.extend(auth::METHODS);
    }
    // Also if there are none: what a step then does not get is named.
    let secrets = secrets::Secrets::new(lent.secrets, problems.clone());
    routes = routes.add_service(proto::secrets::secrets_server::SecretsServer::new(secrets));
    methods.push("/moby.buildkit.secrets.v1.Secrets/GetSecret");
    let agents = ssh::Agents::new(lent.ssh, problems.clone());
    routes = routes.add_service(proto::ssh::ssh_server::SshServer::new(agents));
    methods.extend(["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"]);
    if !lent.receivers.is_empty() {
        let service = proto::filesync::file_send_server::FileSendServer::new(receive::Files::new(
            lent.receivers,
            problems.clone(),
        ))
        .max_decoding_message_size(MAX_MESSAGE);
        routes = routes.add_service(service);
        methods.push("/moby.filesync.v1.FileSend/DiffCopy");
    }
    (routes, methods)
}
