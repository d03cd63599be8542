//! Images that the daemon sends here, instead of or besides pushing them.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use futures_util::stream::{self, Empty};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{SessionError, problem::Problems};
use crate::proto::filesync::{BytesMessage, file_send_server};

/// Takes the bytes of one export: a tar file.
pub trait Receiver: Send + Sync + 'static {
    /// Where the bytes go. It is shut down when all are there, and dropped without if something is missing.
    ///
    /// # Errors
    /// Whatever keeps it from being opened; the build then fails with it.
    fn open(&self) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>>;
}

pub(super) struct Files {
    /// Those that nothing was sent to yet.
    receivers: Mutex<BTreeMap<usize, Arc<dyn Receiver>>>,
    problems: Problems,
}

impl Files {
    pub(super) fn new(receivers: BTreeMap<usize, Arc<dyn Receiver>>, problems: Problems) -> Self {
        Self { receivers: Mutex::new(receivers), problems }
    }
}

#[tonic::async_trait]
impl file_send_server::FileSend for Files {
    type DiffCopyStream = Empty<Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let export = export(request.metadata())?;
        let receiver = self.receivers.lock().expect("no holder panics").remove(&export);
        let receiver = receiver.ok_or_else(|| {
            // Not `AlreadyExists`, which daemons take for "it is there, go on".
            Status::failed_precondition(format!(
                "nobody waits for the image of export {export}, or it was sent already"
            ))
        })?;
        let failed = |source| self.problems.refuse(SessionError::Receive { source });
        let mut writer = receiver.open().map_err(failed)?;
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            writer.write_all(&message.data).await.map_err(failed)?;
        }
        writer.shutdown().await.map_err(failed)?;
        Ok(Response::new(stream::empty()))
    }
}

/// The position of the export that is sent; daemons that know of one export only do not say it.
fn export(metadata: &MetadataMap) -> Result<usize, Status> {
    let Some(value) = metadata.get("buildkit-attachable-exporter-id") else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Status::invalid_argument(format!("{value:?} is not the number of an export")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_export_is_the_first_unless_it_is_said() {
        let mut metadata = MetadataMap::new();
        assert_eq!(export(&metadata).unwrap(), 0);
        metadata.insert("buildkit-attachable-exporter-id", "2".parse().unwrap());
        assert_eq!(export(&metadata).unwrap(), 2);
        metadata.insert("buildkit-attachable-exporter-id", "-1".parse().unwrap());
        assert!(export(&metadata).is_err());
    }
}
