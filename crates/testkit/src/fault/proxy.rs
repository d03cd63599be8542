//! The server: one request on each connection, one connection to the registry for each request.

use std::{
    io::{self, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

use super::{
    Fault, Held, Rule,
    tokens::{self, Tokens},
    traffic::{Number, Traffic},
};
use crate::web::Request;

/// A request as the proxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET` and the like.
    pub method: String,
    /// With the query.
    pub path: String,
    /// `Authorization`, if it came.
    pub authorization: Option<String>,
    /// What happened to it.
    pub fault: Option<Fault>,
    /// Whether the registry has answered it.
    pub answered: bool,
}

/// A running proxy. It ends when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    upstream: SocketAddr,
    host: String,
    traffic: Traffic,
    tokens: Option<Tokens>,
    ends: AtomicBool,
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream`. Of the rules that match a request, the first that
    /// strikes decides; all of them count it.
    ///
    /// # Errors
    /// If no port is free.
    pub fn start(upstream: SocketAddr, rules: Vec<Rule>) -> io::Result<Self> {
        Self::launch(upstream, rules, None)
    }

    /// The same, and it wants a Bearer token with each request, which it gives to everyone who asks.
    ///
    /// # Errors
    /// If no port is free.
    pub fn start_with_tokens(upstream: SocketAddr, rules: Vec<Rule>) -> io::Result<Self> {
        Self::launch(upstream, rules, Some(Tokens::default()))
    }

    fn launch(upstream: SocketAddr, rules: Vec<Rule>, tokens: Option<Tokens>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            upstream,
            host: format!("localhost:{}", address.port()),
            traffic: Traffic::new(rules),
            tokens,
            ends: AtomicBool::new(false),
        });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for client in listener.incoming() {
                if serving.ends.load(Ordering::SeqCst) {
                    return;
                }
                let connection = Connection::begin(&serving);
                // A client that goes away is no failure of the proxy.
                thread::spawn(move || client.and_then(|client| connection.0.serve(&client)));
            }
        });
        Ok(Self { address, inner })
    }

    /// `localhost:PORT`, the first part of an image reference.
    pub fn host(&self) -> String {
        self.inner.host.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, but those for tokens.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.traffic.seen()
    }

    /// How many requests met a fault so far.
    pub fn struck(&self) -> usize {
        self.seen().iter().filter(|seen| seen.fault.is_some()).count()
    }

    /// Waits until `condition` is true of the requests so far, or for `limit`; whether it came true.
    pub fn wait_for(&self, limit: Duration, condition: impl Fn(&[Seen]) -> bool) -> bool {
        self.inner.traffic.wait_for(limit, condition)
    }

    /// Says what becomes of requests that are held; from now on none is.
    pub fn end_hold(&self, held: Held) {
        self.inner.traffic.end_hold(held);
    }

    /// Waits until the proxy is done with every connection that was made so far, also with those whose
    /// client has died. Held requests are waited for, too.
    ///
    /// # Errors
    /// If it cannot be connected to.
    pub fn settle(&self) -> io::Result<()> {
        // Connections are taken in their order: when this one has ended, all earlier ones are known.
        let mut last = TcpStream::connect(self.address)?;
        last.shutdown(Shutdown::Write)?;
        last.read_to_end(&mut Vec::new())?;
        self.inner.traffic.settle();
        Ok(())
    }

    /// Forgets what was seen, and goes on with other rules. To be called when nothing is under way.
    pub fn restart(&self, rules: Vec<Rule>) {
        self.inner.traffic.restart(rules);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.inner.ends.store(true, Ordering::SeqCst);
        self.inner.traffic.end_hold(Held::Dropped);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

/// One that is open, from when it was taken.
struct Connection(Arc<Inner>);

impl Connection {
    fn begin(inner: &Arc<Inner>) -> Self {
        inner.traffic.opened();
        Self(Arc::clone(inner))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.traffic.closed();
    }
}

impl Inner {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(client);
        let mut request = Request::read_head(&mut from)?;
        if self.tokens.is_some() && request.path.split('?').next() == Some(tokens::PATH) {
            request.read_body(&mut from)?;
            let token = self.tokens.as_ref().map(Tokens::give).unwrap_or_default();
            return answer(client, 200, &[], &token);
        }
        let (number, fault) = self.traffic.note(&request);
        if fault == Some(Fault::ExpireTokens)
            && let Some(tokens) = &self.tokens
        {
            tokens.expire();
        }
        // There is nothing to cut off a request that ends before; whoever waited for it would wait for ever.
        let is_longer = |than: u64| match request.length() {
            Some(length) => length > than,
            None => request.header("transfer-encoding").is_some(),
        };
        if let Some(Fault::CutUpload(after)) = fault
            && is_longer(after)
        {
            from.by_ref().take(after).read_to_end(&mut request.body)?;
            let length = request.length().unwrap_or(after + 1);
            return self.break_off(client, &request, length);
        }
        request.read_body(&mut from)?;
        if let Some(length) = request.length().filter(|length| *length > request.body.len() as u64) {
            // The client has gone away in the middle; the registry sees it do so.
            return self.break_off(client, &request, length);
        }
        if self.tokens.as_ref().is_some_and(|tokens| !tokens.admits(&request)) {
            return answer(client, 401, &[("WWW-Authenticate", &tokens::challenge(&self.host))], "");
        }
        match fault {
            Some(Fault::Answer { status, retry_after: None }) => answer(client, status, &[], ""),
            Some(Fault::Answer { status, retry_after: Some(seconds) }) => {
                answer(client, status, &[("Retry-After", &seconds.to_string())], "")
            }
            Some(Fault::Redirect(to)) => {
                answer(client, 307, &[("Location", &format!("http://{to}{}", request.path))], "")
            }
            Some(Fault::Reset) => reset(client),
            Some(Fault::LoseAnswer) => self.forward(&request, number).and_then(|_| reset(client)),
            Some(Fault::Delay(time)) => {
                thread::sleep(time);
                self.pass(client, &request, number)
            }
            Some(Fault::HoldRequest) => match self.traffic.hold() {
                Held::PassedOn => self.pass(client, &request, number),
                Held::Dropped => reset(client),
            },
            Some(Fault::HoldAnswer) => {
                let bytes = self.forward(&request, number)?;
                match self.traffic.hold() {
                    Held::PassedOn => write(client, &bytes),
                    Held::Dropped => reset(client),
                }
            }
            Some(Fault::CutAnswer(after)) => {
                let bytes = self.forward(&request, number)?;
                let end = body_start(&bytes).saturating_add(after).min(bytes.len());
                // A reset would also discard what the client has not read yet.
                write(client, &bytes[..end])
            }
            Some(Fault::Corrupt) => {
                let mut bytes = self.forward(&request, number)?;
                let start = body_start(&bytes);
                let middle = start + (bytes.len() - start) / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
                write(client, &bytes)
            }
            Some(Fault::Header(name, value)) => {
                write(client, &with_header(&self.forward(&request, number)?, name, &value))
            }
            Some(Fault::ExpireTokens | Fault::CutUpload(_)) | None => self.pass(client, &request, number),
        }
    }

    fn pass(&self, client: &TcpStream, request: &Request, number: Number) -> io::Result<()> {
        write(client, &self.forward(request, number)?)
    }

    /// The registry's answer, as it comes.
    fn forward(&self, request: &Request, number: Number) -> io::Result<Vec<u8>> {
        let mut registry = TcpStream::connect(self.upstream)?;
        registry.write_all(&head(request, request.body.len() as u64))?;
        registry.write_all(&request.body)?;
        let mut bytes = Vec::new();
        registry.read_to_end(&mut bytes)?;
        self.traffic.answered(number);
        Ok(bytes)
    }

    /// Passes on headers that announce `length` bytes, and the part of them that is there. What the client
    /// still sends is not read, so its connection is reset.
    fn break_off(&self, client: &TcpStream, request: &Request, length: u64) -> io::Result<()> {
        let mut registry = TcpStream::connect(self.upstream)?;
        registry.write_all(&head(request, length))?;
        registry.write_all(&request.body)?;
        registry.shutdown(Shutdown::Write)?;
        // The registry is done with it before the client learns anything.
        let _ = registry.read_to_end(&mut Vec::new());
        reset(client)
    }
}

/// The request line and headers for the registry. It sees the proxy's own name as its host, so that
/// the addresses it gives lead here.
fn head(request: &Request, length: u64) -> Vec<u8> {
    const OURS: [&str; 5] = ["connection", "content-length", "transfer-encoding", "expect", "authorization"];
    let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.path);
    for (name, value) in request.headers.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD" | "DELETE") {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn write(mut client: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes)
}

fn answer(client: &TcpStream, status: u16, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    write(client, format!("{text}\r\n{body}").as_bytes())
}

/// Makes the close that follows a reset.
fn reset(client: &TcpStream) -> io::Result<()> {
    Ok(set_socket_linger(client, Some(Duration::ZERO))?)
}

/// An answer whose header `name`, if it has it, has another value.
fn with_header(answer: &[u8], name: &str, value: &str) -> Vec<u8> {
    let (head, body) = answer.split_at(body_start(answer));
    let head = String::from_utf8_lossy(head);
    let lines = head.split_inclusive("\r\n").map(|line| match line.split_once(':') {
        Some((found, _)) if found.eq_ignore_ascii_case(name) => format!("{found}: {value}\r\n"),
        _ => line.to_owned(),
    });
    [lines.collect::<String>().as_bytes(), body].concat()
}

fn body_start(answer: &[u8]) -> usize {
    answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(answer.len(), |at| at + 4)
}
