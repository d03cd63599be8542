//! Git repositories, and a server for them: `git http-backend` behind a [`WebServer`].

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    process::{self, ProcessError},
    web::{Request, Response, WebServer},
};

/// Repositories below one URL.
pub struct GitServer {
    directory: TempDir,
    server: WebServer,
}

/// A bare repository and files to commit to it.
pub struct Repository {
    bare: PathBuf,
    files: PathBuf,
}

impl GitServer {
    /// Starts a server that gives everybody everything.
    ///
    /// # Errors
    /// If there is no place or no port.
    pub fn start() -> io::Result<Self> {
        Self::with_authorization(None)
    }

    /// Starts a server that wants this value of `Authorization`.
    ///
    /// # Errors
    /// If there is no place or no port.
    pub fn with_authorization(wanted: Option<String>) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().to_owned();
        let server = WebServer::start(move |request| {
            if wanted.is_some() && request.header("authorization") != wanted.as_deref() {
                return Response::new(401, "").header("WWW-Authenticate", "Basic realm=test");
            }
            backend(&root, request).unwrap_or_else(|error| Response::new(500, error.to_string()))
        })?;
        Ok(Self { directory, server })
    }

    /// Makes an empty repository.
    ///
    /// # Errors
    /// If git fails.
    pub fn repository(&self, name: &str) -> Result<Repository, ProcessError> {
        let bare = self.directory.path().join(format!("{name}.git"));
        let files = self.directory.path().join(format!("{name}.files"));
        for directory in [&bare, &files] {
            fs::create_dir_all(directory)
                .map_err(|source| ProcessError::Start { program: "mkdir".into(), source })?;
        }
        let repository = Repository { bare, files };
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main"])?;
        Ok(repository)
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        self.server.url(&format!("/{name}.git"))
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }
}

impl Repository {
    /// The bare repository.
    pub fn path(&self) -> &Path {
        &self.bare
    }

    /// Where the files to commit are.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// Writes a file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.files.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a directory"))
            .expect("a directory can be made");
        fs::write(path, content).expect("a file can be written");
    }

    /// Commits all files, and returns the commit.
    ///
    /// # Errors
    /// If git fails.
    pub fn commit(&self, message: &str) -> Result<String, ProcessError> {
        self.git(&["add", "--all", "."])?;
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message])?;
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the repository, among the files; returns what it says.
    ///
    /// # Errors
    /// If it fails.
    pub fn git(&self, arguments: &[&str]) -> Result<String, ProcessError> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(&self.files);
        command.env("GIT_DIR", &self.bare);
        if !arguments.contains(&"--bare") {
            command.env("GIT_WORK_TREE", &self.files);
        }
        for (name, value) in [
            ("HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_AUTHOR_DATE", "2001-02-03T04:05:06Z"),
            ("GIT_COMMITTER_NAME", "A"),
            ("GIT_COMMITTER_EMAIL", "a@example.com"),
            ("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z"),
        ] {
            command.env(name, value);
        }
        let output = process::output(&mut command)?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }
}

/// Answers as `git http-backend` (CGI) does.
fn backend(root: &Path, request: &Request) -> io::Result<Response> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut command = Command::new("git");
    // Those who serve and those who own may differ.
    command.args(["-c", "safe.directory=*", "http-backend"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("HOME", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("REQUEST_METHOD", &request.method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    for (variable, header) in [
        ("CONTENT_TYPE", "content-type"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        command.env(variable, request.header(header).unwrap_or_default());
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&request.body)?;
    }
    let output = child.wait_with_output()?.stdout;
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let mut response = Response::new(200, &output[end + 4..]);
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                response.status = status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500);
            }
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    Ok(response)
}
