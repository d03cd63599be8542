//! Running programs of other architectures.

pub(crate) mod magic;
pub(crate) mod namespace;

use std::path::PathBuf;

use archway_oci::Platform;

/// What runs the machine code of another architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Go's name of the architecture it runs.
    pub architecture: String,
    /// The program on this machine.
    pub path: PathBuf,
    /// How the kernel comes to use it.
    pub activation: Activation,
}

/// How the kernel comes to use an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// This machine's binfmt_misc has opened it already (flag `F`).
    Registered,
    /// This machine's binfmt_misc looks for it by path, so it is shown at that path in the root file system.
    RegisteredByPath,
    /// It is registered in a user namespace of the sandbox (Linux 6.7).
    Namespace,
    /// The step's first process is started with it. The processes it starts in turn are not emulated.
    FirstProcess,
}

/// What this machine can run, and how.
#[derive(Debug, Clone)]
pub struct Emulation {
    host: Platform,
}

impl Emulation {
    /// Looks at this machine: its platform, its binfmt_misc, interpreters on `PATH`.
    pub fn detect() -> Self {
        Self { host: Platform::host() }
    }

    /// What a process of `platform` needs; `None` if this machine runs it natively.
    ///
    /// # Errors
    /// When nothing runs it.
    pub fn for_platform(&self, platform: &Platform) -> Result<Option<Interpreter>, EmulationError> {
        if platform.runs_natively_on(&self.host) {
            return Ok(None);
        }
        Err(EmulationError::NotLinux { platform: platform.clone() })
    }
}

/// Why programs of a platform cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmulationError {
    /// Another operating system.
    #[error("programs for {platform} cannot run on Linux")]
    NotLinux {
        /// The platform.
        platform: Platform,
    },
    /// No emulator is known.
    #[error("no emulator is known for {platform}")]
    Unknown {
        /// The platform.
        platform: Platform,
    },
    /// The emulator is not installed.
    #[error(
        "{platform} needs the emulator `{program}`, which is not installed: \
             install `qemu-user-static` (Debian, Ubuntu, Fedora)"
    )]
    NotInstalled {
        /// The platform.
        platform: Platform,
        /// The program that would do.
        program: String,
    },
}
