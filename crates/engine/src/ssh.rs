//! Sockets of ssh agents for RUN steps (draft-ietf-sshm-ssh-agent).
//!
//! A step gets a socket of its own, and what it says there is passed on. It may ask which keys there are
//! and have things signed; it may not add, remove or lock keys, as in BuildKit.

use std::{
    io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

mod keys;

use archway_graph::Access;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::{AbortHandle, JoinSet},
};

pub use keys::{KeyAgent, KeyAgentError};

/// Which keys there are.
const REQUEST_IDENTITIES: u8 = 11;
/// Sign something.
const SIGN_REQUEST: u8 = 13;
/// The answer to what is not allowed.
const FAILURE: u8 = 5;
/// Longest message, as in OpenSSH.
const MAX_MESSAGE: u32 = 256 << 10;

/// An ssh agent that steps may use.
#[derive(Debug, Clone)]
pub struct SshAgent {
    /// The socket it listens on.
    pub socket: PathBuf,
    /// Whether everything is passed on, whatever it is.
    pub raw: bool,
    /// The agent itself, where it is ours.
    pub own: Option<Arc<KeyAgent>>,
}

/// A socket through which an agent may be used as a step may use it; gone when dropped.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
    _directory: TempDir,
    serving: AbortHandle,
}

impl AgentSocket {
    /// Listens for a step. Needs a tokio runtime.
    pub(crate) fn listen(agent: &SshAgent, access: &Access) -> io::Result<Self> {
        // Its name must fit into an address, which a path in the store need not.
        let directory = tempfile::Builder::new().prefix("archway-ssh-").tempdir()?;
        let path = directory.path().join("agent");
        let listener = UnixListener::bind(&path)?;
        chown(&path, Some(access.uid), Some(access.gid))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(access.mode & 0o777))?;
        let serving = tokio::spawn(serve(listener, Arc::new(agent.clone()))).abort_handle();
        Ok(Self { path, _directory: directory, serving })
    }

    /// Listens for a builder elsewhere, which this process speaks for. Needs a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn for_this_process(agent: &SshAgent) -> io::Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Self::listen(agent, &Access { uid, gid, mode: 0o600 })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: UnixListener, agent: Arc<SshAgent>) {
    // Ends with this task.
    let mut connections = JoinSet::new();
    while let Ok((step, _)) = listener.accept().await {
        let agent = agent.clone();
        connections.spawn(async move {
            // To the step it is an agent that hangs up, whatever the reason.
            let _ = pass_on(step, &agent).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass_on(mut step: UnixStream, agent: &SshAgent) -> io::Result<()> {
    let mut real = UnixStream::connect(&agent.socket).await?;
    if agent.raw {
        return tokio::io::copy_bidirectional(&mut step, &mut real).await.map(drop);
    }
    while let Some(request) = read_message(&mut step).await? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                write_message(&mut real, &request).await?;
                read_message(&mut real).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
            _ => vec![FAILURE],
        };
        write_message(&mut step, &answer).await?;
    }
    Ok(())
}

/// The next message without its length; `None` at the end.
async fn read_message(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    if length == 0 || length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write_message(to: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access = Access { uid: 0, gid: 0, mode: 0o600 };

    /// An agent that answers everything with the request and a `!`.
    fn echo(directory: &Path) -> PathBuf {
        let path = directory.join("real");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(Some(mut message)) = read_message(&mut stream).await {
                        message.push(b'!');
                        write_message(&mut stream, &message).await.unwrap();
                    }
                });
            }
        });
        path
    }

    fn access() -> Access {
        let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
        let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata("/proc/self").unwrap());
        Access { uid: own, gid: group, ..ACCESS }
    }

    async fn ask(socket: &AgentSocket, requests: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut stream = UnixStream::connect(socket.path()).await.unwrap();
        let mut answers = Vec::new();
        for request in requests {
            write_message(&mut stream, request).await.unwrap();
            answers.push(read_message(&mut stream).await.unwrap().unwrap());
        }
        answers
    }

    #[tokio::test]
    async fn keys_can_be_used_and_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let agent = SshAgent { socket: echo(directory.path()), raw: false, own: None };
        let socket = AgentSocket::listen(&agent, &access()).unwrap();
        let requests: [&[u8]; 5] = [&[11], &[17, 1], &[19], &[13, 7], &[27]];
        let expected = [vec![11, b'!'], vec![5], vec![5], vec![13, 7, b'!'], vec![5]];
        assert_eq!(ask(&socket, &requests).await, expected);
        let mode = std::fs::metadata(socket.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_raw_socket_passes_everything_on() {
        let directory = tempfile::tempdir().unwrap();
        let agent = SshAgent { socket: echo(directory.path()), raw: true, own: None };
        let socket = AgentSocket::listen(&agent, &access()).unwrap();
        assert_eq!(ask(&socket, &[&[17, 1]]).await, [vec![17, 1, b'!']]);
    }

    #[tokio::test]
    async fn a_message_of_any_length_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let agent = SshAgent { socket: echo(directory.path()), raw: false, own: None };
        let socket = AgentSocket::listen(&agent, &access()).unwrap();
        let mut stream = UnixStream::connect(socket.path()).await.unwrap();
        stream.write_u32(u32::MAX).await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
