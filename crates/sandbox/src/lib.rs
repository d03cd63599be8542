//! Run one process in an isolated root file system.
//!
//! [`Sandbox::start`] forks a helper process early; [`Sandbox::run`] has it start processes described
//! by a [`Spec`]. [`rootless`] lets an ordinary user do so, [`emulation`] runs programs of other
//! architectures, [`cgroup`] limits what they use, [`overlay`] gives the caller the same view of layers that a process has. The README
//! shows how the parts work together.

mod cell;
pub mod cgroup;
mod child;
mod devices;
pub mod emulation;
mod error;
mod fault;
mod helper;
mod kernel_files;
mod mounts;
pub mod overlay;
mod plan;
mod privileges;
mod reply;
pub mod rootless;
mod runc;
mod running;
pub mod runtime;
mod sandbox;
mod scratch;
mod seccomp;
mod spec;
mod sys;
mod wire;

pub use cgroup::{Cgroup, CgroupError, Cgroups, CpuTime, Resources, Swap};
pub use emulation::{Activation, Emulation, EmulationError, Interpreter};
pub use error::{SandboxError, SpecProblem, Step};
pub use runc::Runc;
pub use running::Running;
pub use runtime::Runtime;
pub use sandbox::Sandbox;
pub use spec::{
    Exit, HostEntry, Limit, Mount, MountSource, Network, Private, Resource, Rootfs, ScriptFile, Security,
    Spec, Stdio, User,
};
