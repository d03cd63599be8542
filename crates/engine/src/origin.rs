//! What an image was made from, by digest: names of repositories and downloads may mean something else
//! tomorrow.

use std::{collections::BTreeMap, io};

use archway_graph::{ContextName, CopySource, NodeId, Op};
use archway_oci::{Digest, Sha256Writer};
use archway_remote::{Algorithm, Checksum, HttpSource, git::Revision};

use crate::{
    Results, StepError,
    copy::{context::directory_hash, pick, pick::Pick},
};

/// What a name turned out to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned {
    /// The ref of a repository.
    Commit(Revision),
    /// The file behind a URL.
    File(Checksum),
}

/// The directory hash of a part of a context.
pub(crate) struct DirectoryHash {
    context: ContextName,
    picks: Vec<Pick>,
    hash: Option<Digest>,
}

impl Results {
    /// What every repository and download of the platform's build was. A file whose checksum was not
    /// asked for is read to know it.
    ///
    /// # Errors
    /// When such a file cannot be read.
    pub async fn pinned(&self) -> Result<BTreeMap<NodeId, Pinned>, StepError> {
        let mut pinned = BTreeMap::new();
        let graph = &self.build.job.graph;
        for node in graph.nodes.iter().filter(|node| node.serves.contains(&self.output)) {
            let found = match &node.op {
                Op::Git(_) => {
                    let revisions = self.build.revisions.lock().expect("no holder panics");
                    revisions.get(&node.id).cloned().map(Pinned::Commit)
                }
                Op::Http(HttpSource { checksum: Some(checksum), .. }) => Some(Pinned::File(checksum.clone())),
                Op::Http(source) => Some(Pinned::File(self.checksum(node.id, source).await?)),
                _ => None,
            };
            pinned.extend(found.map(|found| (node.id, found)));
        }
        Ok(pinned)
    }

    /// The directory hash of the files that the platform's build took from each directory of this machine, or
    /// fetched context.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it was.
    pub async fn copied(&self) -> Result<BTreeMap<ContextName, Digest>, StepError> {
        let mut picked: BTreeMap<ContextName, Vec<Pick>> = BTreeMap::new();
        let graph = &self.build.job.graph;
        for node in graph.nodes.iter().filter(|node| node.serves.contains(&self.output)) {
            let Op::Copy(op) = &node.op else { continue };
            for source in &op.sources {
                if let CopySource::Context { context, paths } = source {
                    picked.entry(context.clone()).or_default().extend(pick::picks(op, paths));
                }
            }
        }
        let mut copied = BTreeMap::new();
        for (context, picks) in picked {
            copied.extend(self.directory_hash(&context, picks).await?.map(|digest| (context, digest)));
        }
        Ok(copied)
    }

    /// Of what is picked from a context. Platforms that take the same, as they do as a rule, share it: the files
    /// are read once.
    async fn directory_hash(
        &self,
        context: &ContextName,
        picks: Vec<Pick>,
    ) -> Result<Option<Digest>, StepError> {
        let Some(snapshot) = self.build.job.contexts.get(context).cloned() else { return Ok(None) };
        let mut hashes = self.build.directory_hashes.lock().await;
        let known = hashes.iter().find(|known| known.context == *context && known.picks == picks);
        if let Some(known) = known {
            return Ok(known.hash.clone());
        }
        let taken = picks.clone();
        let hashed = tokio::task::spawn_blocking(move || directory_hash(&snapshot, taken)).await;
        let hash = hashed.map_err(|panic| StepError::Panicked(panic.to_string()))??;
        hashes.push(DirectoryHash { context: context.clone(), picks, hash: hash.clone() });
        Ok(hash)
    }

    /// The SHA-256 of a download.
    async fn checksum(&self, node: NodeId, source: &HttpSource) -> Result<Checksum, StepError> {
        let end = self.ends[node.0 as usize].clone().await;
        let result = end.map_err(|failure| StepError::Shared(failure.error))?;
        let view = result.rootfs.view(&self.build.engine.store).await?;
        let name = source.name.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let mut file = view.open_file(&name)?.ok_or(io::ErrorKind::NotFound)?;
            let mut hash = Sha256Writer::new(io::sink());
            io::copy(&mut file, &mut hash)?;
            let (digest, ..) = hash.finish();
            Ok::<_, io::Error>(Checksum { algorithm: Algorithm::Sha256, hex: digest.hex().to_owned() })
        });
        let hashed = hashed.await.map_err(|panic| StepError::Panicked(panic.to_string()))?;
        hashed.map_err(StepError::io(&source.name))
    }
}
