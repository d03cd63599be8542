//! A connection inside a stream of messages.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::{CancellationToken, PollSender, WaitForCancellationFutureOwned};
use tonic::{Streaming, transport::server::Connected};

use crate::proto::control::BytesMessage;

/// Messages on their way to the daemon.
const QUEUED: usize = 16;
/// Largest message that is sent, bytes.
const LARGEST: usize = 64 << 10;

/// Both ends of what goes to the daemon: where the transport writes, and what the request is made of.
pub(super) fn outgoing() -> (PollSender<BytesMessage>, impl Stream<Item = BytesMessage> + Send + 'static) {
    let (sender, mut receiver) = mpsc::channel(QUEUED);
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (PollSender::new(sender), stream)
}

/// The connection.
pub(super) struct Transport {
    incoming: Streaming<BytesMessage>,
    /// What of the last message was not read yet.
    rest: Bytes,
    outgoing: PollSender<BytesMessage>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Transport {
    /// The connection ends when `ended` is cancelled, as if the daemon had hung up.
    pub(super) fn new(
        incoming: Streaming<BytesMessage>,
        outgoing: PollSender<BytesMessage>,
        ended: CancellationToken,
    ) -> Self {
        Self { incoming, rest: Bytes::new(), outgoing, ended: Box::pin(ended.cancelled_owned()) }
    }
}

impl Connected for Transport {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while self.rest.is_empty() {
            match ready!(self.incoming.poll_next_unpin(cx)) {
                Some(Ok(message)) => self.rest = message.data.into(),
                Some(Err(status)) => return Poll::Ready(Err(io::Error::other(status))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(cx)).map_err(closed)?;
        let length = bytes.len().min(LARGEST);
        self.outgoing.send_item(BytesMessage { data: bytes[..length].to_vec() }).map_err(closed)?;
        Poll::Ready(Ok(length))
    }

    /// The head of an HTTP/2 frame and what it carries are two buffers, and go in one message.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(cx)).map_err(closed)?;
        let mut data =
            Vec::with_capacity(buffers.iter().map(|buffer| buffer.len()).sum::<usize>().min(LARGEST));
        for buffer in buffers {
            let length = buffer.len().min(LARGEST - data.len());
            data.extend_from_slice(&buffer[..length]);
        }
        let length = data.len();
        self.outgoing.send_item(BytesMessage { data }).map_err(closed)?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}
