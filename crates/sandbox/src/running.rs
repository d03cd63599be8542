//! A process that was started.

use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{Exit, SandboxError, fault::Fault, reply::Reply, runc};

/// A process that was started. Dropping it kills the process and all that it started.
#[derive(Debug)]
pub struct Running {
    process: Process,
    exit: Option<Exit>,
}

#[derive(Debug)]
enum Process {
    /// Of our helper.
    Native(Replies),
    /// Of `runc`.
    Runc(Box<runc::Container>),
}

impl Running {
    pub(crate) fn native(replies: Replies) -> Self {
        Self { process: Process::Native(replies), exit: None }
    }

    pub(crate) fn runc(container: runc::Container) -> Self {
        Self { process: Process::Runc(Box::new(container)), exit: None }
    }

    /// Waits until the process has ended, and with it everything it started. May be cancelled and
    /// called again.
    ///
    /// # Errors
    /// When the helper process is gone.
    pub async fn wait(&mut self) -> Result<Exit, SandboxError> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let exit = match &mut self.process {
            Process::Native(replies) => match replies.next().await? {
                Reply::Ended(exit) => exit,
                Reply::Started | Reply::Failed(_) => return Err(SandboxError::HelperGone),
            },
            Process::Runc(container) => container.wait().await?,
        };
        self.exit = Some(exit);
        Ok(exit)
    }

    /// Kills the process and everything it started. [`Running::wait`] then says so.
    pub fn kill(&mut self) {
        match &mut self.process {
            Process::Native(replies) => replies.shut_down(),
            Process::Runc(container) => container.kill(),
        }
    }
}

/// Our end of a process' socket. Closing it, or shutting it down, kills the process.
#[derive(Debug)]
pub(crate) struct Replies {
    socket: AsyncFd<OwnedFd>,
}

impl Replies {
    /// Takes a socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, SandboxError> {
        // SAFETY: an `OwnedFd` names the same open file until it is dropped, which `AsyncFd` does last.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| SandboxError::Talk(error.into()))?;
        Ok(Self { socket })
    }

    /// Waits until the program executes.
    pub(crate) async fn started(&self) -> Result<Result<(), Fault>, SandboxError> {
        match self.next().await? {
            Reply::Started => Ok(Ok(())),
            Reply::Failed(fault) => Ok(Err(fault)),
            Reply::Ended(_) => Err(SandboxError::HelperGone),
        }
    }

    async fn next(&self) -> Result<Reply, SandboxError> {
        let receive = |socket: &OwnedFd| {
            let mut bytes = [0; Reply::MAX_SIZE];
            let (count, _) = recv(socket, &mut bytes, RecvFlags::empty())?;
            Ok(bytes[..count].to_vec())
        };
        let bytes = self.socket.async_io(Interest::READABLE, receive).await.map_err(SandboxError::Wait)?;
        Reply::from_bytes(&bytes).ok_or(SandboxError::HelperGone)
    }

    fn shut_down(&self) {
        // Fails if the helper is gone, and the process with it.
        let _ = shutdown(self.socket.get_ref(), Shutdown::Write);
    }
}
