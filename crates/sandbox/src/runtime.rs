//! The one thing a sandbox does, as a trait, so that another implementation can check ours.

use crate::{Running, SandboxError, Spec, Stdio};

/// Runs processes in root file systems.
pub trait Runtime {
    /// Starts a process. Returns when the program is executing.
    ///
    /// # Errors
    /// When it could not be started.
    fn run(&self, spec: &Spec, stdio: Stdio) -> impl Future<Output = Result<Running, SandboxError>> + Send;
}
