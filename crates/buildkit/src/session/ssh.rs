//! SSH agents of this machine, for steps that mount one.

use std::{collections::BTreeMap, path::PathBuf};

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::ssh::{BytesMessage, CheckAgentRequest, CheckAgentResponse, ssh_server};

pub(super) struct Agents {
    sockets: BTreeMap<String, PathBuf>,
}

impl Agents {
    pub(super) fn new(sockets: BTreeMap<String, PathBuf>) -> Self {
        Self { sockets }
    }
}

#[tonic::async_trait]
impl ssh_server::Ssh for Agents {
    async fn check_agent(
        &self,
        _: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        let _ = &self.sockets;
        Err(Status::unimplemented("CheckAgent"))
    }

    type ForwardAgentStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn forward_agent(
        &self,
        _: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        Err(Status::unimplemented("ForwardAgent"))
    }
}
