//! WORKDIR: a directory that has to exist.

use archway_graph::MkdirOp;

use crate::{
    StepError,
    copy::{
        apply,
        placement::{self, Item, Placement},
    },
    key,
    step::{Delta, Step, StepFailure},
};

/// Permission bits of a directory that WORKDIR or COPY makes.
pub(crate) const NEW_DIRECTORY_MODE: u32 = 0o755;

impl Step<'_> {
    pub(crate) async fn mkdir(&self, op: &MkdirOp) -> Result<Delta, StepFailure> {
        let base = &self.input(op.base).rootfs;
        let key = key::mkdir(base.identity, &op.path, &op.user);
        if let Some(delta) = self.cached(key)? {
            return Ok(delta);
        }
        let store = &self.build.engine.store;
        let owner = self.file_owner(base, &op.user).await?;
        let view = base.view(store).await?;
        self.begin();
        let empty = Item { name: "", directories: Some(Vec::new()), files: Vec::new() };
        let mut placement = placement::place(&view, &op.path, &[empty]).map_err(StepError::from)?;
        if placement.created.is_empty() {
            // The directory is there: nothing changes.
            placement = Placement::default();
        }

        // The same for every base that has the same parents, like a COPY of nothing.
        let delta_key = key::copy_delta(&placement, Some((owner.uid, owner.gid)), None, key::contents(&[]));
        if let Some(delta) = self.cached(delta_key)? {
            self.remember(key, &delta)?;
            return Ok(delta);
        }
        let pending = store.snapshots().begin()?;
        apply::directories(pending.delta(), &placement, owner)?;
        let delta = Delta::made(delta_key);
        store.snapshots().commit(pending, &delta.key)?;
        self.remember(delta_key, &delta)?;
        self.remember(key, &delta)?;
        Ok(delta)
    }
}
