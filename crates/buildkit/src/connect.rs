//! Connections to daemons, and every way in which one can be refused.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, ReadBuf},
    net::{TcpStream, UnixStream},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Status, transport::Channel};

use crate::{
    Endpoint,
    pool::Node,
    tls::{Tls, TlsError},
};

/// How long a server has to speak first, after the handshake, before this side does.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// Bytes that a daemon may send before this side has taken them, for each stream and for all of them.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What of the ssh program's messages is kept.
const MAX_MESSAGES: u64 = 4 << 10;

/// Why there is no connection to a daemon.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP without certificates, which nobody asked for.
    #[error("{endpoint} would be spoken to in the clear")]
    Insecure {
        /// Where.
        endpoint: Endpoint,
    },
    /// A file of certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody is there.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// Nothing came back in time.
    #[error("{endpoint} did not answer within {} seconds", .limit.as_secs())]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// How long it had.
        limit: Duration,
    },
    /// The server's certificate comes from somebody else.
    #[error("the certificate of {endpoint} was not issued by an authority in {}", .cacert.display())]
    UnknownAuthority {
        /// Where.
        endpoint: Endpoint,
        /// The authorities that would do.
        cacert: std::path::PathBuf,
    },
    /// The server's certificate is too old, or not valid yet.
    #[error("the certificate of {endpoint} {when}")]
    ServerExpired {
        /// Where.
        endpoint: Endpoint,
        /// `has expired`, `is not valid yet`.
        when: &'static str,
    },
    /// The server's certificate is for others.
    #[error("the certificate of {endpoint} is not for the name `{name}`")]
    WrongName {
        /// Where.
        endpoint: Endpoint,
        /// The name that it should have.
        name: String,
    },
    /// The server wants to see a certificate.
    #[error("{endpoint} asks for a client certificate, and none was given")]
    ClientCertificateRequired {
        /// Where.
        endpoint: Endpoint,
    },
    /// The server does not take the one that it saw.
    #[error("{endpoint} does not accept the client certificate: {why}")]
    ClientCertificateRefused {
        /// Where.
        endpoint: Endpoint,
        /// `it has expired`, …
        why: &'static str,
    },
    /// It speaks TLS, and was not spoken to in it, or the other way round.
    #[error("{endpoint} {what}")]
    Protocol {
        /// Where.
        endpoint: Endpoint,
        /// What it does instead.
        what: &'static str,
    },
    /// TLS failed in another way.
    #[error("no TLS connection to {endpoint}")]
    Handshake {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// The ssh program, or what it started on the other machine, ended.
    #[error("ssh to {endpoint} ended: {messages}")]
    Ssh {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        messages: String,
    },
    /// It is too old.
    #[error("{endpoint} is BuildKit {found}; {needed} or newer is needed")]
    TooOld {
        /// Where.
        endpoint: Endpoint,
        /// Its version.
        found: String,
        /// The version that would do.
        needed: &'static str,
    },
    /// It answers, but not as a BuildKit daemon does.
    #[error("{endpoint} does not answer as a BuildKit daemon")]
    NotBuildKit {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        source: Box<Status>,
    },
}

/// A connection, and what is known of it.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    /// Whether nobody between the machines can read along.
    pub(crate) is_private: bool,
    /// Messages of the ssh program.
    messages: Option<Arc<Mutex<String>>>,
}

impl Connection {
    /// Connects to a node, once: when the connection breaks, everything on it fails.
    ///
    /// # Errors
    /// All of [`ConnectError`] but what only the first answer of the daemon can show; see [`Self::explain`].
    pub(crate) async fn open(node: &Node) -> Result<Self, ConnectError> {
        let endpoint = &node.endpoint;
        let unreachable = |source| ConnectError::Unreachable { endpoint: endpoint.clone(), source };
        let (mut is_private, mut messages) = (true, None);
        let stream: Box<dyn Stream> = match endpoint {
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(unreachable)?),
            Endpoint::Tcp { host, port } => {
                if node.tls.is_none() && !node.allow_insecure {
                    return Err(ConnectError::Insecure { endpoint: endpoint.clone() });
                }
                // Before the connection is made, so that a wrong file is told whether or not somebody is there.
                let tls = node.tls.as_ref().map(|tls| Ok::<_, TlsError>((tls, tls.client_config()?)));
                let tls = tls.transpose()?;
                let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                tcp.set_nodelay(true).map_err(unreachable)?;
                match tls {
                    Some((tls, config)) => Box::new(handshake(endpoint, tls, config, tcp).await?),
                    None => {
                        is_private = false;
                        Box::new(tcp)
                    }
                }
            }
            Endpoint::Ssh { destination, port, socket } => {
                let kept = Arc::new(Mutex::new(String::new()));
                messages = Some(kept.clone());
                Box::new(ssh(destination, *port, socket, kept).map_err(unreachable)?)
            }
        };
        let stream = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
        let once = tower::service_fn(move |_: tonic::transport::Uri| {
            let stream = stream.lock().expect("no holder panics").take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)))
        });
        let channel = tonic::transport::Endpoint::from_static("http://buildkit")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector(once)
            .await;
        let mut connection =
            Self { channel: Channel::balance_list(std::iter::empty()), is_private, messages };
        match channel {
            Ok(channel) => connection.channel = channel,
            Err(error) => return Err(connection.explain(node, Status::from_error(error.into()))),
        }
        Ok(connection)
    }

    /// Why the first question to a daemon was not answered.
    pub(crate) fn explain(&self, node: &Node, status: Status) -> ConnectError {
        let endpoint = node.endpoint.clone();
        if let Some(messages) = &self.messages {
            let messages = messages.lock().expect("no holder panics").trim().to_owned();
            if !messages.is_empty() {
                return ConnectError::Ssh { endpoint, messages };
            }
        }
        let has_certificate = node.tls.as_ref().is_some_and(|tls| tls.cert.is_some());
        if let Some(rustls::Error::AlertReceived(alert)) = source_of::<rustls::Error>(&status) {
            return refused(endpoint, *alert, has_certificate);
        }
        let is_tcp = matches!(endpoint, Endpoint::Tcp { .. });
        if is_tcp && node.tls.is_none() && status.code() != Code::Unimplemented {
            let what =
                "does not speak HTTP/2 in the clear; it may want certificates (--cacert, --cert, --key)";
            return ConnectError::Protocol { endpoint, what };
        }
        ConnectError::NotBuildKit { endpoint, source: Box::new(status) }
    }
}

/// The cause of an error that is of this type.
fn source_of<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // The inner error of an io::Error is not its source, its source is.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = source_of::<E>(inner)
        {
            return Some(found);
        }
        current = error.source();
    }
    None
}

fn refused(endpoint: Endpoint, alert: AlertDescription, has_certificate: bool) -> ConnectError {
    let why = match alert {
        // Go says the same of both.
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::UnknownCA => "it was issued by an authority that the daemon does not know",
        AlertDescription::CertificateRequired | AlertDescription::BadCertificate if !has_certificate => {
            return ConnectError::ClientCertificateRequired { endpoint };
        }
        AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate => {
            "it was issued by an authority that the daemon does not know, or is not for clients"
        }
        _ => {
            let source = io::Error::other(rustls::Error::AlertReceived(alert));
            return ConnectError::Handshake { endpoint, source };
        }
    };
    ConnectError::ClientCertificateRefused { endpoint, why }
}

async fn handshake(
    endpoint: &Endpoint,
    tls: &Tls,
    config: rustls::ClientConfig,
    tcp: TcpStream,
) -> Result<BufReader<TlsStream<TcpStream>>, ConnectError> {
    let name = tls.server_name.as_deref().or_else(|| endpoint.host()).unwrap_or_default();
    let wrong_name = || ConnectError::WrongName { endpoint: endpoint.clone(), name: name.to_owned() };
    let server = ServerName::try_from(name.to_owned()).map_err(|_| wrong_name())?;
    let result = TlsConnector::from(Arc::new(config)).connect(server, tcp).await;
    let result = match result {
        Ok(stream) => first_word(stream).await,
        Err(error) => Err(error),
    };
    result.map_err(|source| {
        let endpoint = endpoint.clone();
        match source_of::<rustls::Error>(&source) {
            Some(rustls::Error::InvalidCertificate(problem)) => match problem {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    ConnectError::ServerExpired { endpoint, when: "has expired" }
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    ConnectError::ServerExpired { endpoint, when: "is not valid yet" }
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    wrong_name()
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    ConnectError::UnknownAuthority { endpoint, cacert: tls.cacert.clone() }
                }
                _ => ConnectError::Handshake { endpoint, source },
            },
            Some(rustls::Error::InvalidMessage(_)) => {
                ConnectError::Protocol { endpoint, what: "does not speak TLS" }
            }
            Some(rustls::Error::AlertReceived(alert)) => refused(endpoint, *alert, tls.cert.is_some()),
            _ => ConnectError::Handshake { endpoint, source },
        }
    })
}

/// With TLS 1.3 a server refuses a client's certificate after the handshake, as far as the client can see. Who writes
/// then may see a broken connection only, and not why; so the server, which has to greet anyway, comes first.
async fn first_word(stream: TlsStream<TcpStream>) -> io::Result<BufReader<TlsStream<TcpStream>>> {
    let mut stream = BufReader::new(stream);
    match tokio::time::timeout(FIRST_WORD, stream.fill_buf()).await {
        Ok(Ok([])) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) | Err(_) => {}
    }
    Ok(stream)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// `buildctl dial-stdio` on another machine; it ends when this is dropped.
struct Ssh {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

fn ssh(
    destination: &str,
    port: Option<u16>,
    socket: &std::path::Path,
    messages: Arc<Mutex<String>>,
) -> io::Result<Ssh> {
    let mut command = Command::new("ssh");
    // Questions would go to the terminal that shows the progress.
    command.args(["-T", "-o", "BatchMode=yes"]);
    if let Some(port) = port {
        command.arg("-p").arg(port.to_string());
    }
    let address = format!("unix://{}", socket.display());
    command.args(["--", destination, "buildctl", "--addr", &quoted(&address), "dial-stdio"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let errors = child.stderr.take().expect("piped");
    tokio::spawn(async move {
        let mut text = Vec::new();
        let mut errors = errors.take(MAX_MESSAGES);
        while let Ok(1..) = errors.read_buf(&mut text).await {
            *messages.lock().expect("no holder panics") = String::from_utf8_lossy(&text).into_owned();
        }
    });
    Ok(Ssh { _child: child, input, output })
}

/// For the shell of the other machine, which gets one line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl AsyncRead for Ssh {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Ssh {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}
