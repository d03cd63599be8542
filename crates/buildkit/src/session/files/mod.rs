//! Files of the source snapshot, sent as far as the daemon does not have them.
//!
//! | module | holds |
//! |---|---|
//! | [`wanted`] | which files a daemon asks for |
//! | [`follow`] | links on the way to them, and what those lead to |
//! | [`choose`] | which entries are sent, and in which order |
//! | [`tree`] | what is said of each, and its content |
//! | [`send`] | the protocol |

mod choose;
mod follow;
mod send;
mod tree;
mod wanted;

#[cfg(test)]
mod model;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use self::{tree::Tree, wanted::Wanted};
use super::{Directory, problem::Problems};
use crate::proto::{files::file_sync_server::FileSync, fsutil::Packet};

/// What was sent of source snapshots, so far. A daemon that knows a source asks for what changed, and for the
/// `.dockerignore`. Files in memory do not count.
#[derive(Debug, Default)]
pub struct Sent {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Sent {
    /// Files whose content was sent.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Bytes of their content, also of files that are being sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

pub(super) struct Files {
    directories: BTreeMap<String, Directory>,
    sent: Arc<Sent>,
    problems: Problems,
}

impl Files {
    pub(super) fn new(directories: BTreeMap<String, Directory>, sent: Arc<Sent>, problems: Problems) -> Self {
        Self { directories, sent, problems }
    }
}

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let wanted = Wanted::of(request.metadata())?;
        let name = &wanted.directory;
        let directory = self.directories.get(name).cloned();
        let directory =
            directory.ok_or_else(|| Status::not_found(format!("the directory `{name}` was not lent")))?;
        let sent = match &directory {
            Directory::Snapshot(_) => self.sent.clone(),
            Directory::Texts(_) => Arc::default(),
        };
        // It looks at every entry, and there may be many.
        let choosing = tokio::task::spawn_blocking(move || Tree::of(&directory, &wanted));
        let tree = choosing.await.map_err(|panic| Status::internal(panic.to_string()))?;
        let tree = tree.map_err(|error| self.problems.refuse(error))?;
        let answers = send::send(tree, request.into_inner(), sent, self.problems.clone());
        Ok(Response::new(answers))
    }

    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent by DiffCopy"))
    }
}

#[cfg(test)]
mod tests {
    use archway_source::{Entry, Kind, StatKey};

    /// A tree as a snapshot has it: `file`, `directory/`, `link>target`.
    pub(super) fn entries(tree: &[&str]) -> Vec<Entry> {
        let entry = |text: &str| {
            let (path, kind) = match text.split_once('>') {
                Some((path, target)) => (path, Kind::Symlink { target: target.to_owned() }),
                None if text.is_empty() || text.ends_with('/') => {
                    (text.trim_end_matches('/'), Kind::Directory)
                }
                None => (text, Kind::File),
            };
            let stat = StatKey { dev: 0, ino: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
            Entry { path: path.to_owned(), kind, mode: 0o644, owner: (0, 0), stat, linked: false }
        };
        let mut entries: Vec<Entry> = std::iter::once("").chain(tree.iter().copied()).map(entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    }
}
