//! Uploads of blobs that are still being written.
//!
//! The writer appends to a file and says how far it is; the upload follows it through the same file. So
//! there is no queue between them: a slow line never holds up the writer and costs no memory, and after a
//! broken connection any byte can be read again. How the blob is called turns out at the end. If the
//! registry has it by then, the upload is given up.

use std::{fs::File, sync::Arc};

use archway_oci::{Descriptor, Reference};
use tokio::sync::watch;

use crate::{
    Client, Error, Pushed,
    push::check_size,
    upload::{FileUpload, Session},
};

/// Chunks of [`crate::ClientOptions::growing_chunk`] bytes that are sent at once, at most. What is on its way
/// is lost if the registry turns out to have the blob.
const MOST_AT_ONCE: u64 = 4;

/// How far a blob is.
#[derive(Debug, Clone)]
enum Growth {
    /// That many bytes are in the file, and stay as they are.
    Written(u64),
    /// All of them.
    Complete(Arc<Descriptor>),
}

/// The writer's side of a [`GrowingBlob`]. Dropped before [`Growing::complete`], there will be no blob.
#[derive(Debug)]
pub struct Growing(watch::Sender<Growth>);

/// A blob that is still being written to a file. Clones see the same.
#[derive(Debug, Clone)]
pub struct GrowingBlob {
    file: Arc<File>,
    growth: watch::Receiver<Growth>,
}

impl Growing {
    /// A blob of which `written` bytes are in `file`, which others may read from now on.
    pub fn start(file: File, written: u64) -> (Self, GrowingBlob) {
        let (sender, growth) = watch::channel(Growth::Written(written));
        (Self(sender), GrowingBlob { file: Arc::new(file), growth })
    }

    /// So many bytes are in the file now.
    pub fn written(&self, bytes: u64) {
        self.0.send_replace(Growth::Written(bytes));
    }

    /// The blob is complete, and in the file as a whole.
    pub fn complete(self, descriptor: Descriptor) {
        self.0.send_replace(Growth::Complete(Arc::new(descriptor)));
    }
}

impl GrowingBlob {
    /// Bytes that are worth an upload before the end: more than the 5 MiB that some object stores behind
    /// registries want of each part.
    pub const WORTHWHILE: u64 = 8 << 20;

    /// What it is, once it is complete.
    pub fn descriptor(&self) -> Option<Arc<Descriptor>> {
        match &*self.growth.borrow() {
            Growth::Complete(descriptor) => Some(descriptor.clone()),
            Growth::Written(_) => None,
        }
    }
}

impl Client {
    /// Uploads a blob while it is being written, and makes sure at the end that the repository has it.
    /// `None` if the writer gave up. `sent` is told the number of bytes that went out; it may go back
    /// after a broken connection.
    pub async fn push_growing(
        &self,
        reference: &Reference,
        blob: GrowingBlob,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Option<Pushed>, Error> {
        let GrowingBlob { file, growth } = blob;
        let upload = FileUpload { client: self, reference, file: file.into(), sent: Arc::new(sent) };
        let mut early = Early { upload, state: State::Closed };
        match early.follow(growth).await {
            Some(descriptor) => early.complete(&descriptor).await.map(Some),
            None => {
                early.abandon().await;
                Ok(None)
            }
        }
    }
}

/// The part of an upload that comes before the end of the writing.
struct Early<'a> {
    upload: FileUpload<'a>,
    state: State,
}

enum State {
    /// Nothing was sent yet.
    Closed,
    Open(Session),
    /// Something went wrong: the rest waits for the end, where all ways to go on are known.
    Broken(Option<Session>),
}

impl Early<'_> {
    /// Sends what is there until the blob is complete; `None` if it never will be.
    async fn follow(&mut self, mut growth: watch::Receiver<Growth>) -> Option<Arc<Descriptor>> {
        loop {
            let written = match &*growth.borrow_and_update() {
                Growth::Complete(descriptor) => return Some(descriptor.clone()),
                Growth::Written(bytes) => *bytes,
            };
            if !self.send(written).await {
                growth.changed().await.ok()?;
            }
        }
    }

    /// Sends a chunk of the `written` bytes. Returns false if there is nothing to do for now.
    async fn send(&mut self, written: u64) -> bool {
        let session = match &self.state {
            State::Closed => None,
            State::Open(session) => Some(session),
            State::Broken(_) => return false,
        };
        let chunk = self.upload.client.transport.growing_chunk();
        let waiting = written.saturating_sub(session.map_or(0, |session| session.offset));
        if waiting < chunk {
            return false;
        }
        let sent = match session {
            None => self.upload.open().await.map(State::Open).unwrap_or(State::Broken(None)),
            Some(session) => {
                let length = (waiting / chunk).min(MOST_AT_ONCE) * chunk;
                match self.upload.send_chunk(session, length).await {
                    Ok(next) => State::Open(next),
                    Err(_) => return self.recover(written).await,
                }
            }
        };
        self.state = sent;
        true
    }

    /// After a broken connection only the registry knows what has arrived.
    async fn recover(&mut self, written: u64) -> bool {
        let State::Open(session) = std::mem::replace(&mut self.state, State::Broken(None)) else {
            return false;
        };
        self.state = match self.upload.progress(&session, written).await {
            // It goes on.
            Ok(Some(known)) if known.offset > session.offset => State::Open(known),
            Ok(Some(known)) => State::Broken(Some(known)),
            Ok(None) => State::Broken(None),
            Err(_) => State::Broken(Some(session)),
        };
        true
    }

    /// Sends what is missing, if the registry does not have the blob.
    async fn complete(mut self, descriptor: &Descriptor) -> Result<Pushed, Error> {
        let (client, reference) = (self.upload.client, self.upload.reference);
        if !client.must_push(reference, &descriptor.digest).await? {
            self.abandon().await;
            return Ok(Pushed::Existed);
        }
        check_size(reference, descriptor, &self.upload.file)?;
        let known = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) => Some(session),
            State::Broken(Some(session)) => self.upload.progress(&session, descriptor.size).await?,
            State::Closed | State::Broken(None) => None,
        };
        let session = match known {
            Some(session) => session,
            None => self.upload.open().await?,
        };
        self.upload.run(descriptor, session).await?;
        Ok(Pushed::Uploaded)
    }

    /// The registry need not keep what was sent.
    async fn abandon(&mut self) {
        if let State::Open(session) | State::Broken(Some(session)) =
            std::mem::replace(&mut self.state, State::Closed)
        {
            self.upload.client.abandon(self.upload.reference, session.url).await;
        }
    }
}
