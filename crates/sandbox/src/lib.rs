//! Run one process in an isolated root filesystem.

pub mod emulation;
mod error;
pub mod overlay;
pub mod rootless;
mod running;
pub mod runtime;
mod sandbox;
mod spec;

pub use emulation::{Emulation, EmulationError, Interpreter};
pub use error::{SandboxError, SpecProblem, Step};
pub use running::Running;
pub use runtime::Runtime;
pub use sandbox::Sandbox;
pub use spec::{Exit, HostEntry, Mount, MountSource, Network, Rootfs, ScriptFile, Spec, Stdio, User};
