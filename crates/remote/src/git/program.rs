//! Running the git program, cut off from this machine's configuration and from its user.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

use super::error::{Complaint, GitError};
use crate::{Credentials, http_url, redact, redacted};

/// Most bytes of an answer that are taken.
const MAX_ANSWER: u64 = 64 << 20;
/// Most bytes of complaints that are kept.
const MAX_COMPLAINT: usize = 4096;

/// The protocols that a repository, or a submodule of it, may be fetched by.
const PROTOCOLS: &str = "http:https:git:ssh";

/// What of this process' environment git gets to see.
const INHERITED: [&str; 12] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// The name under which the remote is known in every command. Its URL is in the environment: it may
/// hold a password, and command lines are for all to see.
pub(crate) const REMOTE: &str = "archway";

/// Git for one remote.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    program: PathBuf,
    remote: String,
    settings: Vec<(String, String)>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    /// Texts that must not be seen.
    hidden: Vec<String>,
    has_credentials: bool,
}

/// A command that failed.
pub(crate) struct Failed {
    pub(crate) complaint: Complaint,
    pub(crate) message: String,
}

impl Git {
    /// Git for `remote`. New host keys are noted in `known_hosts`.
    pub(crate) fn new(program: &Path, remote: &str, credentials: &Credentials, known_hosts: &Path) -> Self {
        let mut git = Self {
            program: program.to_owned(),
            remote: remote.to_owned(),
            settings: Vec::new(),
            environment: Vec::new(),
            directory: None,
            hidden: redact::userinfo(remote).map(str::to_owned).into_iter().collect(),
            has_credentials: credentials.ssh_agent.is_some() || redact::userinfo(remote).is_some(),
        };
        for (name, value) in [
            // Nothing of a repository is executed.
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("init.defaultBranch", "master"),
            ("advice.detachedHead", "false"),
            // In a user namespace, files may belong to another of our own users.
            ("safe.directory", "*"),
            // A connection that gives nothing for two minutes is broken.
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "120"),
        ] {
            git.set(name, value);
        }
        git.set(&format!("remote.{REMOTE}.url"), remote);
        if let Some(header) = credentials.for_git(remote) {
            git.set(
                &format!("http.{}.extraHeader", token_scope(remote)),
                &format!("Authorization: {header}"),
            );
            git.hidden.push(header);
            git.has_credentials = true;
        }
        git.environ("GIT_SSH_COMMAND", ssh_command(known_hosts, std::env::var_os("HOME").as_deref()));
        for (name, value) in [
            ("LC_ALL", "C"),
            ("HOME", "/dev/null"),
            ("XDG_CONFIG_HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ] {
            git.environ(name, value);
        }
        if let Some(agent) = &credentials.ssh_agent {
            git.environ("SSH_AUTH_SOCK", agent);
        }
        git.allowing(PROTOCOLS)
    }

    /// The same with a setting of its own.
    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The same for a repository.
    pub(crate) fn repository(mut self, directory: &Path) -> Self {
        self.environ("GIT_DIR", directory);
        self
    }

    /// The same for files, which git starts among.
    pub(crate) fn files(mut self, directory: &Path) -> Self {
        self.environ("GIT_WORK_TREE", directory);
        self.directory = Some(directory.to_owned());
        self
    }

    /// The same with other protocols.
    pub(crate) fn allowing(mut self, protocols: &str) -> Self {
        self.environ("GIT_ALLOW_PROTOCOL", protocols);
        self
    }

    /// The remote, fit to be shown.
    pub(crate) fn remote(&self) -> String {
        redacted(&self.remote)
    }

    /// Runs a command; `action` is what it is for, `fetch` for instance.
    pub(crate) async fn run(&self, action: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        self.attempt(arguments).await?.map_err(|failed| self.error(action, failed))
    }

    /// Runs a command whose failure may mean something.
    pub(crate) async fn attempt(&self, arguments: &[&str]) -> Result<Result<String, Failed>, GitError> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (index, (name, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its helpers are stopped with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NoProgram { remote: self.remote() },
            _ => GitError::Io { path: self.program.clone(), source: error },
        })?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (answer, complaint) = tokio::join!(read(stdout, true), read(stderr, false));
        let status = child.wait().await.map_err(GitError::io(&self.program))?;
        group.ended();
        let complaint = String::from_utf8_lossy(&complaint.unwrap_or_default()).into_owned();
        let failed =
            |message: &str| Failed { complaint: Complaint::of(message), message: self.hide(message) };
        match answer {
            Ok(answer) if status.success() => {
                Ok(String::from_utf8(answer).map_err(|_| failed("the answer is not UTF-8")))
            }
            Err(error) => Ok(Err(failed(&error.to_string()))),
            Ok(_) => Ok(Err(failed(&complaint))),
        }
    }

    pub(crate) fn error(&self, action: &'static str, failed: Failed) -> GitError {
        let (remote, message) = (self.remote(), failed.message);
        if failed.complaint != Complaint::Denied {
            return GitError::Failed { action, remote, message };
        }
        let is_http = http_url::is_http(&self.remote);
        let host = is_http.then(|| http_url::host_and_port(&self.remote).unwrap_or_default().to_owned());
        GitError::Denied { remote, message, host, tried: self.has_credentials }
    }

    /// What git said, on one line and without secrets.
    fn hide(&self, message: &str) -> String {
        let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
        // What went wrong comes last, and is preceded by what does not matter.
        let wrong: Vec<&str> =
            lines.clone().filter(|line| line.contains("fatal:") || line.contains("error:")).collect();
        let lines: Vec<&str> = if wrong.is_empty() { lines.collect() } else { wrong };
        let mut text = lines.join("; ");
        for hidden in &self.hidden {
            text = text.replace(hidden, "xxxxx");
        }
        text.trim_start_matches("fatal: ").to_owned()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    fn environ(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
    }
}

/// How git connects by SSH: without the user's configuration and without questions. Hosts are known by the
/// user's file, and new ones from then on by `known_hosts`.
fn ssh_command(known_hosts: &Path, home: Option<&OsStr>) -> OsString {
    // In a user namespace, `~` would be root's.
    let own = home.map(|home| Path::new(home).join(".ssh/known_hosts"));
    let files: Vec<String> = std::iter::once(known_hosts)
        .chain(own.as_deref())
        .map(|file| format!("\"{}\"", file.display()))
        .collect();
    let option = format!("UserKnownHostsFile={}", files.join(" ")).replace('\'', "'\\''");
    let base = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new";
    format!("{base} -o '{option}'").into()
}

/// Where a token is sent: to the repository, and at GitHub to all of them, so that submodules work.
fn token_scope(remote: &str) -> &str {
    let github = ["https://github.com/", "https://www.github.com/"];
    github.into_iter().find(|prefix| remote.starts_with(prefix)).unwrap_or(remote)
}

/// Reads to the end. Of an answer too much is an error; of complaints the last are kept.
async fn read(from: Option<impl AsyncRead + Unpin>, is_answer: bool) -> io::Result<Vec<u8>> {
    let Some(mut from) = from else { return Ok(Vec::new()) };
    if is_answer {
        let mut bytes = Vec::new();
        let count = (&mut from).take(MAX_ANSWER).read_to_end(&mut bytes).await?;
        return if count as u64 == MAX_ANSWER { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) };
    }
    let (mut bytes, mut chunk) = (Vec::new(), [0; MAX_COMPLAINT]);
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk[..count]);
        let surplus = bytes.len().saturating_sub(MAX_COMPLAINT);
        bytes.drain(..surplus);
    }
}

/// The processes of a command, which end with it.
struct Group(Option<Pid>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_the_users_file_and_by_ours() {
        let command = ssh_command(Path::new("/store/it's/known"), Some("/home/me".as_ref()));
        let expected = r#"-o 'UserKnownHostsFile="/store/it'\''s/known" "/home/me/.ssh/known_hosts"'"#;
        assert!(command.to_string_lossy().ends_with(expected), "{command:?}");
    }

    #[test]
    fn a_token_is_for_its_repository_and_at_github_for_all() {
        assert_eq!(token_scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(token_scope("https://example.com/a/b.git"), "https://example.com/a/b.git");
        assert_eq!(
            token_scope("https://github.com.evil.example/a.git"),
            "https://github.com.evil.example/a.git"
        );
    }
}
