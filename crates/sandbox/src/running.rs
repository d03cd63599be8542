//! A process that was started.

use crate::{Exit, SandboxError};

/// A process that was started. Dropping it kills the process and all that it started.
#[derive(Debug)]
pub struct Running {
    _private: (),
}

impl Running {
    /// Waits until the process has ended, and with it everything it started.
    ///
    /// # Errors
    /// When the helper process is gone.
    pub async fn wait(&mut self) -> Result<Exit, SandboxError> {
        Err(SandboxError::HelperGone)
    }

    /// Kills the process and everything it started. [`Running::wait`] then says so.
    pub fn kill(&self) {}
}
