//! The daemons of a pool, as they are now.

use std::sync::Arc;

use archway_buildkit::{ConnectError, Daemon, Node, pool::Ability};
use archway_oci::Platform;
use futures_util::future::join_all;

use super::NamedPool;

/// A pool whose daemons were asked.
pub(crate) struct Fleet {
    pub(crate) name: String,
    pub(crate) members: Vec<Arc<Member>>,
}

/// One daemon.
pub(crate) struct Member {
    pub(crate) node: Node,
    /// As it was when the build was planned.
    pub(crate) first: Result<Daemon, Arc<ConnectError>>,
}

impl Fleet {
    /// Connects to all daemons at the same time. One that cannot be reached is no error: another may do.
    pub(crate) async fn gather(pool: &NamedPool) -> Self {
        let connecting = pool.pool.nodes.iter().map(|node| async {
            let first = Daemon::connect(node).await.map_err(Arc::new);
            Arc::new(Member { node: node.clone(), first })
        });
        Self { name: pool.name.clone(), members: join_all(connecting).await }
    }
}

impl Member {
    /// What the daemon builds for, its own platform first. Nothing if it cannot be reached.
    pub(crate) fn platforms(&self) -> &[Platform] {
        let worker = self.first.as_ref().ok().and_then(|daemon| daemon.workers().first());
        worker.map_or(&[], |worker| &worker.platforms)
    }

    /// How it builds for `platform`.
    pub(crate) fn ability(&self, platform: &Platform) -> Option<Ability> {
        self.node.ability(self.platforms(), platform)
    }

    /// Whether it cannot be reached now, and might build for `platform` if it could.
    pub(crate) fn is_missed(&self, platform: &Platform) -> bool {
        self.first.is_err() && self.node.may_build(platform)
    }
}
