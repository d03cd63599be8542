//! A registry that misbehaves on demand: an HTTP/1.1 server whose answers a test scripts.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use archway_oci::{Descriptor, Digest, Reference};
use archway_registry::{Client, ClientOptions, Keychain};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Reply {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        missing: usize,
        endless: bool,
    },
    /// Closes the connection instead of answering.
    HangUp,
    /// Never answers.
    Silence,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new(), missing: 0, endless: false }
    }

    pub(crate) fn bytes(body: &[u8]) -> Self {
        Self::status(200).body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_string()));
        }
        self
    }

    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        if let Self::Reply { body, .. } = &mut self {
            *body = bytes.to_vec();
        }
        self
    }

    /// Announces that many bytes more than it sends, then closes the connection.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        if let Self::Reply { missing, .. } = &mut self {
            *missing = bytes;
        }
        self
    }

    /// Spaces without an end follow the body, until the client goes away.
    pub(crate) fn endless(mut self) -> Self {
        if let Self::Reply { endless, .. } = &mut self {
            *endless = true;
        }
        self
    }
}

/// A server on a free loopback port; it ends with the test.
pub(crate) struct Server {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::slow(Duration::ZERO, script).await
    }

    /// Reads each MiB of a body only after a pause.
    pub(crate) async fn slow(
        pause: Duration,
        script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (script, seen) = (Arc::new(script), Arc::new(Mutex::new(Vec::new())));
        let log = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (script.clone(), log.clone());
                connections.spawn(async move {
                    // A client that goes away is no failure of the server.
                    let _ = serve(stream, pause, &*script, &log).await;
                });
            }
        });
        Self { host, seen, task }
    }

    /// All requests but the first contact.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.path != "/v2/").cloned().collect()
    }

    /// `METHOD` of each request whose path starts with `path`.
    pub(crate) fn methods(&self, path: &str) -> Vec<String> {
        let seen = self.seen();
        seen.iter().filter(|seen| seen.path.starts_with(path)).map(|seen| seen.method.clone()).collect()
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }
}

async fn serve(
    stream: TcpStream,
    pause: Duration,
    script: &(impl Fn(&Seen) -> Answer + ?Sized),
    log: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream, pause).await? {
        log.lock().unwrap().push(request.clone());
        match script(&request) {
            Answer::HangUp => return Ok(()),
            Answer::Silence => return std::future::pending().await,
            Answer::Reply { status, headers, body, missing, endless } => {
                let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
                if endless {
                    head += "transfer-encoding: chunked\r\n";
                } else if !headers.iter().any(|(name, _)| name == "content-length") {
                    head += &format!("content-length: {}\r\n", body.len() + missing);
                }
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                stream.write_all(format!("{head}\r\n").as_bytes()).await?;
                if endless {
                    return without_end(&mut stream, &body).await;
                }
                if request.method != "HEAD" {
                    stream.write_all(&body).await?;
                }
                stream.flush().await?;
                if missing > 0 {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// A chunked body that begins like this.
async fn without_end(stream: &mut BufReader<TcpStream>, start: &[u8]) -> std::io::Result<()> {
    let spaces = [b' '; 1 << 16];
    if !start.is_empty() {
        stream.write_all(&[format!("{:x}\r\n", start.len()).as_bytes(), start, b"\r\n"].concat()).await?;
    }
    let chunk = [format!("{:x}\r\n", spaces.len()).as_bytes(), &spaces, b"\r\n"].concat();
    loop {
        stream.write_all(&chunk).await?;
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>, pause: Duration) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    for piece in body.chunks_mut(1 << 20) {
        tokio::time::sleep(pause).await;
        stream.read_exact(piece).await?;
    }
    Ok(Some(Seen { method, path, headers, body }))
}

/// Options of a client that repeats at once and looks nowhere for credentials.
pub(crate) fn options() -> ClientOptions {
    ClientOptions { retries: 3, retry_delay: Duration::from_millis(1), ..ClientOptions::default() }
}

pub(crate) fn client() -> Client {
    Client::new(options())
}

/// A client with these credentials.
pub(crate) fn client_with(auths: &[(&str, &str)]) -> (tempfile::TempDir, Client) {
    let (directory, credentials) = credentials(auths);
    (directory, Client::new(ClientOptions { credentials, ..options() }))
}

/// The credentials of one file: registry (or namespace) and `user:password`.
pub(crate) fn credentials(auths: &[(&str, &str)]) -> (tempfile::TempDir, Keychain) {
    let entries: serde_json::Map<String, serde_json::Value> = auths
        .iter()
        .map(|(key, pair)| ((*key).to_owned(), serde_json::json!({ "auth": STANDARD.encode(pair) })))
        .collect();
    let (directory, file) = file(serde_json::json!({ "auths": entries }).to_string().as_bytes());
    (directory, Keychain::of_files([file]))
}

pub(crate) fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// Bytes that differ everywhere, and their descriptor.
pub(crate) fn blob(size: usize) -> (Vec<u8>, Descriptor) {
    let bytes: Vec<u8> = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let descriptor = Descriptor::new("application/octet-stream", Digest::sha256(&bytes), size as u64);
    (bytes, descriptor)
}

/// Reads a whole blob.
pub(crate) async fn read(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, archway_registry::Error> {
    let mut reader = client.blob_reader(reference, descriptor).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
