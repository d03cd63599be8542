//! `runc` as a runtime.

use crate::{Exit, SandboxError};

/// A container of `runc`.
#[derive(Debug)]
pub(crate) struct Container {}

impl Container {
    pub(crate) async fn wait(&mut self) -> Result<Exit, SandboxError> {
        Err(SandboxError::HelperGone)
    }

    pub(crate) fn kill(&mut self) {}
}
