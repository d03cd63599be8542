//! What a daemon may call this machine for while it builds.
//!
//! A session is a gRPC server on this machine whose only client is the daemon: its bytes travel inside a stream of
//! the connection that this machine made, so nothing here listens. What is offered is what [`Lent`] holds, and the
//! daemon is told which methods that is.

mod auth;
mod files;
mod health;
mod receive;
mod secrets;
mod ssh;
mod transport;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use archway_registry::Client;
use archway_source::Snapshot;
use tokio::task::JoinHandle;
use tonic::{Request, Status, metadata::MetadataValue, service::Routes};

use crate::{Daemon, daemon::MAX_MESSAGE, proto};

pub use receive::Receiver;

/// What is lent to a daemon for one build.
#[derive(Clone, Default)]
pub struct Lent {
    /// Directories, by the names that the build knows them by: `context`, `dockerfile`, those of named contexts.
    pub directories: BTreeMap<String, Directory>,
    /// Who knows the credentials for registries.
    pub registry: Option<Client>,
    /// Values of `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of SSH agents (`--ssh`), by id.
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
pub struct Secret(pub Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A session that runs; it ends when this is dropped.
pub(crate) struct Session {
    id: String,
    server: JoinHandle<()>,
}

impl Session {
    /// Opens a session. Daemons find what an earlier session with the same `shared_key` sent, and ask for the
    /// difference.
    pub(crate) async fn open(daemon: &Daemon, shared_key: &str, lent: Lent) -> Result<Self, Status> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (routes, methods) = routes(lent, daemon.connection.is_private);
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
        let stream = transport::Transport::new(incoming, ours);
        let server = tokio::spawn(async move {
            // It ends with the connection, which everything else on it notices as well.
            let _ = tonic::transport::Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .add_routes(routes)
                .serve_with_incoming(futures_util::stream::once(std::future::ready(Ok::<_, std::io::Error>(
                    stream,
                ))))
                .await;
        });
        Ok(Self { id, server })
    }

    /// Its name, for the request that uses it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The services, and the full names of their methods.
fn routes(lent: Lent, is_private: bool) -> (Routes, Vec<&'static str>) {
    let mut methods = vec!["/grpc.health.v1.Health/Check"];
    let mut routes = Routes::new(proto::health::health_server::HealthServer::new(health::Health));
    if !lent.directories.is_empty() {
        let service =
            proto::files::file_sync_server::FileSyncServer::new(files::Files::new(lent.directories))
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
        routes = routes.add_service(service);
        methods.push("/moby.filesync.v1.FileSync/DiffCopy");
    }
    if let Some(client) = lent.registry {
        let service = proto::filesync::auth_server::AuthServer::new(auth::Auth::new(client, is_private));
        routes = routes.add_service(service);
        methods.extend(auth::METHODS);
    }
    if !lent.secrets.is_empty() {
        let service = proto::secrets::secrets_server::SecretsServer::new(secrets::Secrets::new(lent.secrets));
        routes = routes.add_service(service);
        methods.push("/moby.buildkit.secrets.v1.Secrets/GetSecret");
    }
    if !lent.ssh.is_empty() {
        let service = proto::ssh::ssh_server::SshServer::new(ssh::Agents::new(lent.ssh));
        routes = routes.add_service(service);
        methods.extend(["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"]);
    }
    if !lent.receivers.is_empty() {
        let service =
            proto::filesync::file_send_server::FileSendServer::new(receive::Files::new(lent.receivers))
                .max_decoding_message_size(MAX_MESSAGE);
        routes = routes.add_service(service);
        methods.push("/moby.filesync.v1.FileSend/DiffCopy");
    }
    (routes, methods)
}
