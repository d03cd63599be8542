//! SSH agents of this machine, for steps that mount one.
//!
//! Each connection that a step makes to its socket is one call of `ForwardAgent`; its bytes are passed on as they are.

use std::{collections::BTreeMap, io, path::PathBuf};

use futures_util::stream::BoxStream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{SessionError, problem::Problems};
use crate::proto::ssh::{BytesMessage, CheckAgentRequest, CheckAgentResponse, ssh_server};

/// Header that says which agent a connection is for.
const ID: &str = "buildkit.ssh.id";
/// The agent of a step that names none.
const DEFAULT_ID: &str = "default";
/// Bytes that are read from an agent at once; those of BuildKit's own client.
const PIECE: usize = 32 << 10;
/// Messages from an agent on their way to the daemon.
const QUEUED: usize = 4;

pub(super) struct Agents {
    sockets: BTreeMap<String, PathBuf>,
    problems: Problems,
}

impl Agents {
    pub(super) fn new(sockets: BTreeMap<String, PathBuf>, problems: Problems) -> Self {
        Self { sockets, problems }
    }

    fn socket(&self, id: &str) -> Result<(String, PathBuf), Status> {
        let id = if id.is_empty() { DEFAULT_ID } else { id }.to_owned();
        match self.sockets.get(&id) {
            Some(socket) => Ok((id, socket.clone())),
            None => Err(self.problems.refuse(SessionError::NoAgent { id })),
        }
    }
}

fn id(headers: &MetadataMap) -> &str {
    headers.get(ID).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tonic::async_trait]
impl ssh_server::Ssh for Agents {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let (id, socket) = self.socket(id(request.metadata()))?;
        let agent = UnixStream::connect(&socket).await;
        let agent = agent.map_err(|source| self.problems.refuse(SessionError::Agent { id, source }))?;
        let (from_agent, to_agent) = agent.into_split();
        tokio::spawn(requests(request.into_inner(), to_agent));
        let (sender, mut receiver) = mpsc::channel(QUEUED);
        tokio::spawn(answers(from_agent, sender));
        Ok(Response::new(Box::pin(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)))))
    }
}

/// Passes on what a step says. When it says no more, neither does this side to the agent, which then ends; so it
/// does when the stream breaks.
async fn requests(mut from: Streaming<BytesMessage>, mut to: OwnedWriteHalf) {
    while let Ok(Some(message)) = from.message().await {
        if to.write_all(&message.data).await.is_err() {
            return;
        }
    }
    // An agent that is gone already needs not be told.
    let _ = to.shutdown().await;
}

/// Passes on what the agent says, until it ends or the step is gone.
async fn answers(mut from: OwnedReadHalf, to: mpsc::Sender<Result<BytesMessage, Status>>) {
    loop {
        let mut data = Vec::with_capacity(PIECE);
        let read = tokio::select! {
            read = from.read_buf(&mut data) => read,
            () = to.closed() => return,
        };
        let message = match read {
            Ok(0) => return,
            Ok(_) => Ok(BytesMessage { data }),
            Err(error) => Err(broken(&error)),
        };
        let is_last = message.is_err();
        if to.send(message).await.is_err() || is_last {
            return;
        }
    }
}

fn broken(error: &io::Error) -> Status {
    Status::aborted(format!("the connection to the ssh agent broke: {error}"))
}
