//! Files of the source snapshot, sent as far as the daemon does not have them.

use std::collections::BTreeMap;

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::Directory;
use crate::proto::{files::file_sync_server::FileSync, fsutil::Packet};

pub(super) struct Files {
    directories: BTreeMap<String, Directory>,
}

impl Files {
    pub(super) fn new(directories: BTreeMap<String, Directory>) -> Self {
        Self { directories }
    }
}

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        _request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let _ = &self.directories;
        Err(Status::unimplemented("DiffCopy"))
    }

    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent by DiffCopy"))
    }
}
