//! Why a process could not be run.

use std::{fmt, io, path::PathBuf};

/// Why a process could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The process that starts the others could not be made.
    #[error("cannot start the sandbox helper process")]
    Start(#[source] io::Error),
    /// The helper process is gone; someone killed it.
    #[error("the sandbox helper process ended unexpectedly")]
    HelperGone,
    /// A request could not be handed to the helper.
    #[error("cannot talk to the sandbox helper process")]
    Talk(#[source] io::Error),
    /// The specification cannot be carried out on any machine.
    #[error("{field} {problem}")]
    InvalidSpec {
        /// The field of [`Spec`](crate::Spec), in words.
        field: &'static str,
        /// What is wrong with it.
        problem: SpecProblem,
    },
    /// The program does not exist.
    #[error("executable `{program}` not found in the image")]
    ProgramNotFound {
        /// As asked for.
        program: String,
    },
    /// The program may not be executed.
    #[error("`{program}` is not executable by the step's user")]
    ProgramNotExecutable {
        /// As asked for.
        program: String,
    },
    /// The program is there, but what it needs to start is not.
    #[error("`{program}` exists in the image, but its interpreter or dynamic loader does not")]
    LoaderMissing {
        /// As asked for.
        program: String,
    },
    /// The kernel does not know how to run the program.
    #[error("`{program}` is not a program for this platform")]
    WrongFormat {
        /// As asked for.
        program: String,
    },
    /// A step between the start and the program failed.
    #[error("cannot {step}{}", Detail(.detail))]
    Setup {
        /// What was to be done.
        step: Step,
        /// To what.
        detail: Option<String>,
        /// Why not.
        source: io::Error,
    },
    /// A root file system could not be mounted outside of a run.
    #[error("cannot mount an overlay of {lowers} directories")]
    Overlay {
        /// How many read-only directories it has.
        lowers: usize,
        /// Why not.
        source: io::Error,
    },
    /// The status of a process was lost.
    #[error("cannot wait for a process")]
    Wait(#[source] io::Error),
    /// `runc` could not be used.
    #[error("cannot run the bundle {}", .bundle.display())]
    Runc {
        /// Where its files are.
        bundle: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SandboxError {
    /// Whether the fault is the program's: it is missing, not executable, or for another platform.
    pub fn is_program_missing(&self) -> bool {
        matches!(
            self,
            Self::ProgramNotFound { .. }
                | Self::ProgramNotExecutable { .. }
                | Self::LoaderMissing { .. }
                | Self::WrongFormat { .. }
        )
    }
}

/// What is wrong with a field of a [`Spec`](crate::Spec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecProblem {
    /// It must hold something.
    #[error("is empty")]
    Empty,
    /// C strings end at a NUL.
    #[error("contains a NUL byte")]
    Nul,
    /// It must start with a slash.
    #[error("is not an absolute path")]
    NotAbsolute,
    /// It exceeds what the kernel takes.
    #[error("is longer than {limit}")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// `upper` and `work` belong together.
    #[error("needs both a directory for changes and a work directory")]
    Unpaired,
}

/// A step of setting a process up, in the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Read the request.
    Request,
    /// `clone3`.
    Namespaces,
    /// Enter control groups.
    Cgroups,
    /// Cut off mount propagation.
    Propagation,
    /// The private tmpfs with mount points and generated files.
    Scratch,
    /// Mount the root file system.
    RootFs,
    /// `/proc`.
    Proc,
    /// `/sys`.
    Sys,
    /// `/dev` and what is in it.
    Dev,
    /// `/etc/hosts`, `/etc/resolv.conf` and scripts.
    Files,
    /// A mount of the caller.
    Mount,
    /// Hide paths of `/proc` and `/sys`.
    Mask,
    /// Change the root directory.
    Pivot,
    /// Set the host name.
    Hostname,
    /// The loopback interface.
    Loopback,
    /// The working directory.
    WorkingDirectory,
    /// Standard streams.
    Streams,
    /// A resource limit.
    Limits,
    /// The emulator.
    Emulator,
    /// Drop capabilities.
    Capabilities,
    /// The system call filter.
    Seccomp,
    /// Change user and groups.
    User,
    /// Execute the program.
    Execute,
}

impl Step {
    /// The steps by their number.
    pub(crate) const ALL: [Self; 23] = [
        Self::Request,
        Self::Namespaces,
        Self::Cgroups,
        Self::Propagation,
        Self::Scratch,
        Self::RootFs,
        Self::Proc,
        Self::Sys,
        Self::Dev,
        Self::Files,
        Self::Mount,
        Self::Mask,
        Self::Pivot,
        Self::Hostname,
        Self::Loopback,
        Self::WorkingDirectory,
        Self::Streams,
        Self::Limits,
        Self::Emulator,
        Self::Capabilities,
        Self::Seccomp,
        Self::User,
        Self::Execute,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "read the request to run a process",
            Self::Namespaces => "create namespaces",
            Self::Cgroups => "enter the control groups of the step",
            Self::Propagation => "make mounts private",
            Self::Scratch => "prepare mount points in memory",
            Self::RootFs => "mount the root file system",
            Self::Proc => "mount /proc",
            Self::Sys => "mount /sys",
            Self::Dev => "set up /dev",
            Self::Files => "show the file",
            Self::Mount => "mount",
            Self::Mask => "hide system information in /proc and /sys",
            Self::Pivot => "change the root directory",
            Self::Hostname => "set the host name",
            Self::Loopback => "bring up the loopback interface",
            Self::WorkingDirectory => "change to the working directory",
            Self::Streams => "connect the standard streams",
            Self::Limits => "set the resource limit",
            Self::Emulator => "activate the emulator",
            Self::Capabilities => "drop capabilities",
            Self::Seccomp => "install the system call filter",
            Self::User => "change user and groups",
            Self::Execute => "execute",
        })
    }
}

/// ` \`detail\`` or nothing.
struct Detail<'a>(&'a Option<String>);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |detail| write!(f, " `{detail}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_by_position() {
        for (number, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, number);
        }
    }

    #[test]
    fn errors_name_step_and_object() {
        let source = || io::Error::from_raw_os_error(libc::ENOENT);
        let detail = Some("/cache".to_owned());
        let error = SandboxError::Setup { step: Step::Mount, detail, source: source() };
        assert_eq!(error.to_string(), "cannot mount `/cache`");
        let error = SandboxError::Setup { step: Step::Proc, detail: None, source: source() };
        assert_eq!(error.to_string(), "cannot mount /proc");
        let error =
            SandboxError::InvalidSpec { field: "the working directory", problem: SpecProblem::NotAbsolute };
        assert_eq!(error.to_string(), "the working directory is not an absolute path");
    }
}
