//! A web server on a free loopback port that answers as a test says.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Longest body that is read.
const MAX_BODY: u64 = 64 << 20;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` and the like.
    pub method: String,
    /// With the query.
    pub path: String,
    /// As they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `200` and the like.
    pub status: u16,
    /// Without `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The connection breaks after this many bytes of the body.
    pub breaks_after: Option<usize>,
}

impl Response {
    /// A status and a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), breaks_after: None }
    }

    /// The same with a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server. It ends when dropped.
pub struct WebServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ends: Arc<AtomicBool>,
}

impl WebServer {
    /// Starts a server that answers with what `answer` says, one thread for each connection.
    ///
    /// # Errors
    /// If no port is free.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (requests, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, end, answer) = (Arc::clone(&requests), Arc::clone(&ends), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // A client that goes away is no failure of the server.
                thread::spawn(move || stream.and_then(|stream| serve(&stream, &seen, &*answer)));
            }
        });
        Ok(Self { address, requests, ends })
    }

    /// `http://127.0.0.1:PORT` and a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: &TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Response + Send + Sync),
) -> io::Result<()> {
    let request = read(&mut BufReader::new(stream))?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let response = answer(&request);
    let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", response.status);
    if response.status != 304 {
        head.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
    }
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = &response.body[..response.breaks_after.unwrap_or(response.body.len())];
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        stream.write_all(body)?;
    }
    stream.flush()
}

fn read(from: &mut impl BufRead) -> io::Result<Request> {
    let mut request = Request::read_head(from)?;
    request.read_body(from)?;
    Ok(request)
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(64 << 10).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

impl Request {
    /// The request line and the headers.
    pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Self> {
        let first = line(from)?;
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut request = Self { method, path, headers: Vec::new(), body: Vec::new() };
        loop {
            let header = line(from)?;
            let Some((name, value)) = header.split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(request)
    }

    /// The body that its headers announce.
    pub(crate) fn read_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        if self.header("transfer-encoding").is_some() {
            loop {
                let size = u64::from_str_radix(&line(from)?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                from.take(size).read_to_end(&mut self.body)?;
                line(from)?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = self.length() {
            from.take(MAX_BODY.min(length)).read_to_end(&mut self.body)?;
        }
        Ok(())
    }

    /// `Content-Length`
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }
}
