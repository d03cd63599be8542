//! Running the `archway` binary as a user would, apart from this user's own files.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use tempfile::TempDir;

/// Names the binary to test when it is not the one next to the test.
pub const BINARY: &str = "ARCHWAY_BIN";

/// An `archway` with a home, a store and a Docker configuration of its own, all removed on drop.
#[derive(Debug)]
pub struct Cli {
    binary: PathBuf,
    directory: TempDir,
}

/// What a run of the binary left.
#[derive(Debug, Clone)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Cli {
    /// Runs `binary`; tests of the `cli` package pass `env!("CARGO_BIN_EXE_archway")`.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub fn new(binary: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("archway-test-").tempdir()?;
        for name in ["home", "docker", "work", "run"] {
            fs::create_dir(directory.path().join(name))?;
        }
        Ok(Self { binary: binary.into(), directory })
    }

    /// `$ARCHWAY_BIN`, else the `archway` that cargo built into the same target directory as this
    /// test. `None` when there is none: it is built by `cargo build -p archway-cli`.
    pub fn find() -> Option<PathBuf> {
        let named = env::var_os(BINARY).map(PathBuf::from);
        let test = env::current_exe().ok()?;
        let beside = test.ancestors().skip(1).take(2).map(|directory| directory.join("archway"));
        named.into_iter().chain(beside).find(|file| file.is_file())
    }

    /// `$HOME` of the runs.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// `$DOCKER_CONFIG` of the runs: the directory of `config.json`.
    pub fn docker_config(&self) -> PathBuf {
        self.directory.path().join("docker")
    }

    /// `$ARCHWAY_ROOT` of the runs: the store.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// The working directory of the runs, empty at first.
    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Writes a file below [`Cli::work`], with its directories.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let file = self.work().join(path);
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        fs::write(&file, content)?;
        Ok(file)
    }

    /// The binary with its environment set, for what [`Cli::run`] does not cover: signals, pipes.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| is_inherited(name)))
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.docker_config())
            .env("XDG_RUNTIME_DIR", self.directory.path().join("run"))
            .env("ARCHWAY_ROOT", self.root())
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.work());
        command
    }

    /// Runs the binary to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Run> {
        let output = self.command().args(arguments).output()?;
        Ok(Run {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Only what a program needs to find others, and what instruments it.
fn is_inherited(name: &OsStr) -> bool {
    ["PATH", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"].iter().any(|kept| name == *kept)
}

impl Run {
    /// The run itself where it succeeded.
    ///
    /// # Panics
    /// With the output, where it did not.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }

    /// The run itself where it ended with `code`.
    ///
    /// # Panics
    /// With the output, where it did not.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_apart_from_the_user() {
        let cli = Cli::new("/usr/bin/env").unwrap();
        let run = cli.run::<&str>([]).unwrap().succeeded();
        let value = |name: &str| run.stdout.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        assert_eq!(value("HOME"), cli.home().to_str());
        assert_eq!(value("ARCHWAY_ROOT"), cli.root().to_str());
        assert_eq!(value("DOCKER_CONFIG"), cli.docker_config().to_str());
        assert!(value("PATH").is_some());
        assert_eq!(value("CARGO_MANIFEST_DIR"), None, "cargo sets it for this test");
    }

    #[test]
    fn reports_exit_codes_and_output() {
        let cli = Cli::new("/bin/sh").unwrap();
        cli.write("deep/file", "content").unwrap();
        let run = cli.run(["-c", "cat deep/file; echo bad >&2; exit 3"]).unwrap().exited(3);
        assert_eq!((&*run.stdout, &*run.stderr), ("content", "bad\n"));
    }

    #[test]
    #[should_panic(expected = "exit status: 1")]
    fn a_failure_is_not_success() {
        Cli::new("/bin/false").unwrap().run::<&str>([]).unwrap().succeeded();
    }
}
