//! Running programs of other architectures.
//!
//! The kernel starts an emulator by itself for programs whose ELF header it was told about
//! (binfmt_misc). Three ways, best first: this machine has been told; we tell it in a user namespace of
//! our own ([`Activation::Namespace`]); the emulator is started by hand, which works for one process.

mod elf;
mod handler;
pub(crate) mod magic;
pub(crate) mod namespace;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use archway_oci::Platform;

use handler::Handler;

/// Where this machine's registrations are shown.
const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// Searched after `PATH`, which may be meagre in a service.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

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

/// In words that follow "emulated by qemu, ".
impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "registered on this machine",
            Self::RegisteredByPath => "registered on this machine by its path",
            Self::Namespace => "registered for this build only",
            Self::FirstProcess => "for the first process of each step only",
        })
    }
}

/// What this machine can run, and how.
#[derive(Debug, Clone)]
pub struct Emulation {
    host: Platform,
    handlers: Vec<Handler>,
    directories: Vec<PathBuf>,
    /// Whether [`Activation::Namespace`] works; tried when first needed.
    namespaces: OnceLock<bool>,
}

impl Emulation {
    /// Looks at this machine: its platform, its binfmt_misc, and where programs are.
    pub fn detect() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(PathBuf::from)).collect();
        Self {
            host: Platform::host_processor(),
            handlers: handler::read_all(Path::new(BINFMT_MISC)),
            directories,
            namespaces: OnceLock::new(),
        }
    }

    /// What a process of `platform` needs; `None` if this machine runs it natively.
    ///
    /// # Errors
    /// When nothing runs it.
    pub fn for_platform(&self, platform: &Platform) -> Result<Option<Interpreter>, EmulationError> {
        if platform.runs_natively_on(&self.host) {
            return Ok(None);
        }
        if platform.os != "linux" {
            return Err(EmulationError::NotLinux { platform: Box::new(platform.clone()) });
        }
        let unknown = || EmulationError::Unknown { platform: Box::new(platform.clone()) };
        let machine = magic::of(&platform.architecture).ok_or_else(unknown)?;
        let interpreter =
            |path, activation| Interpreter { architecture: platform.architecture.clone(), path, activation };

        if let Some(handler) = self.handlers.iter().find(|handler| handler.takes(machine)) {
            let activation =
                if handler.is_open { Activation::Registered } else { Activation::RegisteredByPath };
            return Ok(Some(interpreter(handler.interpreter.clone(), activation)));
        }
        let Some(path) = self.find(machine) else {
            let program = format!("qemu-{}-static", machine.qemu);
            return Err(EmulationError::NotInstalled { platform: Box::new(platform.clone()), program });
        };
        let possible = *self.namespaces.get_or_init(namespace::is_possible);
        let activation = if possible { Activation::Namespace } else { Activation::FirstProcess };
        Ok(Some(interpreter(path, activation)))
    }

    /// The emulator's program. One that needs libraries is of no use: they are not in the root file
    /// system.
    fn find(&self, machine: &magic::Machine) -> Option<PathBuf> {
        let names = [format!("qemu-{}-static", machine.qemu), format!("qemu-{}", machine.qemu)];
        let candidates = names.iter().flat_map(|name| self.directories.iter().map(move |dir| dir.join(name)));
        candidates.into_iter().find(|path| elf::is_static(path))
    }
}

/// Why programs of a platform cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmulationError {
    /// Another operating system.
    #[error("programs for {platform} cannot run on Linux")]
    NotLinux {
        /// The platform.
        platform: Box<Platform>,
    },
    /// No emulator is known.
    #[error("no emulator is known for {platform}")]
    Unknown {
        /// The platform.
        platform: Box<Platform>,
    },
    /// The emulator is not installed.
    #[error(
        "{platform} needs the emulator `{program}`, which is not installed: \
         install the package `qemu-user-static` (Debian, Ubuntu, Fedora)"
    )]
    NotInstalled {
        /// The platform.
        platform: Box<Platform>,
        /// The program that would do.
        program: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-arm64\nflags: FLAGS\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn emulation(handlers: &[&str], directories: &[&str], namespaces: bool) -> Emulation {
        Emulation {
            host: Platform::new("linux", "amd64", None),
            handlers: handlers.iter().filter_map(|text| Handler::parse(text)).collect(),
            directories: directories.iter().map(PathBuf::from).collect(),
            namespaces: OnceLock::from(namespaces),
        }
    }

    fn activation(emulation: &Emulation, platform: &str) -> Result<Option<Activation>, EmulationError> {
        let interpreter = emulation.for_platform(&platform.parse().unwrap())?;
        Ok(interpreter.map(|interpreter| interpreter.activation))
    }

    #[test]
    fn what_the_machine_has_registered_comes_first() {
        let open = ARM64.replace("FLAGS", "OCF");
        let by_path = ARM64.replace("FLAGS", "P");
        let disabled = open.replace("enabled", "disabled");
        let table = [
            (&[open.as_str()][..], Ok(Some(Activation::Registered))),
            (&[by_path.as_str()], Ok(Some(Activation::RegisteredByPath))),
        ];
        for (handlers, expected) in table {
            assert_eq!(activation(&emulation(handlers, &[], true), "linux/arm64"), expected);
        }
        let missing = activation(&emulation(&[&disabled], &[], true), "linux/arm64").unwrap_err();
        assert!(missing.to_string().contains("install the package `qemu-user-static`"), "{missing}");
    }

    #[test]
    fn what_is_native_needs_nothing() {
        let emulation = emulation(&[], &[], false);
        assert_eq!(activation(&emulation, "linux/amd64"), Ok(None));
        assert_eq!(activation(&emulation, "linux/386"), Ok(None));
    }

    #[test]
    fn what_cannot_be_emulated_is_said() {
        let emulation = emulation(&[], &["/usr/bin"], true);
        let error = |platform| activation(&emulation, platform).unwrap_err();
        assert!(matches!(error("windows/amd64"), EmulationError::NotLinux { .. }));
        assert!(matches!(error("linux/wasm"), EmulationError::Unknown { .. }));
    }
}
