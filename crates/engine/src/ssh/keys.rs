//! An agent of our own for key files: ssh-agent(1) and ssh-add(1) know every kind of key, and ask for
//! passphrases as the user knows it.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Says who the agent is, adds the keys, and then lives as long as its standard input: if this program is
/// killed, so is the agent, which ends some seconds after the command it was started with.
const SCRIPT: &str = r#"echo "$SSH_AGENT_PID" && ssh-add -q -- "$@" >&2 && echo ready && exec cat"#;

/// An agent that holds some keys. Ends when dropped.
pub struct KeyAgent {
    directory: TempDir,
    command: Child,
    agent: Option<Pid>,
}

/// Why there is no agent for some keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyAgentError {
    /// `ssh-agent` could not be started.
    #[error("cannot start ssh-agent, which key files need")]
    Start(#[source] io::Error),
    /// A key could not be added.
    #[error("ssh-add does not take the key: {0}")]
    Refused(String),
}

impl KeyAgent {
    /// Starts an agent and gives it the keys in these files.
    pub fn start(keys: &[PathBuf]) -> Result<Self, KeyAgentError> {
        let directory = tempfile::Builder::new().prefix("archway-ssh-").tempdir();
        let directory = directory.map_err(KeyAgentError::Start)?;
        let command = Command::new("ssh-agent")
            .arg("-a")
            .arg(directory.path().join("agent"))
            .args(["sh", "-c", SCRIPT, "sh"])
            .args(keys)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(KeyAgentError::Start)?;
        let mut agent = Self { directory, command, agent: None };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.path().join("agent")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn wait_until_ready(&mut self) -> Result<(), KeyAgentError> {
        let stdout = self.command.stdout.take().ok_or_else(closed)?;
        let mut lines = BufReader::new(stdout).lines();
        let mut next = || lines.next().transpose().map_err(KeyAgentError::Start);
        self.agent = next()?.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        if next()?.as_deref() == Some("ready") {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(mut stderr) = self.command.stderr.take() {
            stderr.read_to_string(&mut said).map_err(KeyAgentError::Start)?;
        }
        Err(KeyAgentError::Refused(without_frame(&said)))
    }
}

/// What OpenSSH says, without the lines that draw a frame around it.
fn without_frame(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@'));
    lines.collect::<Vec<_>>().join(" ")
}

fn closed() -> KeyAgentError {
    KeyAgentError::Start(io::ErrorKind::BrokenPipe.into())
}

impl fmt::Debug for KeyAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAgent").field("directory", &self.path()).finish_non_exhaustive()
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        if let Some(agent) = self.agent {
            // It may have ended by itself.
            let _ = kill_process(agent, Signal::TERM);
        }
        // `cat` ends.
        drop(self.command.stdin.take());
        let _ = self.command.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use archway_testkit::tools;

    use super::*;

    fn key(directory: &Path, passphrase: &str) -> PathBuf {
        let path = directory.join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(&path);
        assert!(command.status().unwrap().success());
        path
    }

    #[test]
    fn an_agent_has_the_keys_and_ends_with_its_handle() {
        if !tools::require_each(&["ssh-agent", "ssh-add", "ssh-keygen"]) {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let agent = KeyAgent::start(&[key(directory.path(), "")]).unwrap();
        let socket = agent.socket();
        let keys = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket).output().unwrap();
        assert!(String::from_utf8_lossy(&keys.stdout).contains("(ED25519)"), "{keys:?}");
        let pid = agent.agent.unwrap();
        drop(agent);
        assert!(!socket.exists());
        while std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
            .is_ok_and(|name| name.trim() == "ssh-agent")
        {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        if !tools::require_each(&["ssh-agent", "ssh-add"]) {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "no key").unwrap();
        for mode in [0o600, 0o644] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = KeyAgent::start(std::slice::from_ref(&file)).unwrap_err();
            let KeyAgentError::Refused(text) = &error else { panic!("{error}") };
            assert!(text.contains("file") && !text.contains('@'), "{error}");
        }
    }
}
