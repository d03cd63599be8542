//! Images that the daemon sends here, instead of or besides pushing them.

use std::{collections::BTreeMap, io, sync::Arc};

use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::filesync::{BytesMessage, file_send_server};

/// Takes the bytes of one export: a tar file.
pub trait Receiver: Send + Sync + 'static {
    /// Where the bytes go. It is shut down when all are there.
    ///
    /// # Errors
    /// Whatever keeps it from being opened; the build then fails with it.
    fn open(&self) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>>;
}

pub(super) struct Files {
    receivers: BTreeMap<usize, Arc<dyn Receiver>>,
}

impl Files {
    pub(super) fn new(receivers: BTreeMap<usize, Arc<dyn Receiver>>) -> Self {
        Self { receivers }
    }
}

#[tonic::async_trait]
impl file_send_server::FileSend for Files {
    type DiffCopyStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        _: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let _ = &self.receivers;
        Err(Status::unimplemented("DiffCopy"))
    }
}
