//! Running the `archway` binary as a user would, apart from this user's own files.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use tempfile::TempDir;

use crate::{process, tools};

/// Names the user that rootless tests run as when the tests themselves run as root.
pub const USER: &str = "ARCHWAY_TEST_USER";
const DEFAULT_USER: &str = "archway-test";

/// Names the binary to test when it is not the one next to the test.
pub const BINARY: &str = "ARCHWAY_BIN";

/// An `archway` with a home, a store and a Docker configuration of its own, all removed on drop.
#[derive(Debug)]
pub struct Cli {
    binary: PathBuf,
    directory: TempDir,
    /// Whom it runs as, where that is not whoever runs the test.
    user: Option<String>,
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
        Ok(Self { binary: binary.into(), directory, user: None })
    }

    /// Runs `binary` as a normal user: as the one who runs the test, or, where that is root, as the
    /// user that `ARCHWAY_TEST_USER` names (`archway-test` if unset), which must have ranges in
    /// `/etc/subuid` and `/etc/subgid`. `None` where there is no such user: the test is to be skipped.
    ///
    /// # Errors
    /// When its directories cannot be made or given to the user.
    pub fn rootless(binary: impl Into<PathBuf>) -> io::Result<Option<Self>> {
        let mut cli = Self::new(binary)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(Some(cli));
        }
        let user = env::var(USER).unwrap_or_else(|_| DEFAULT_USER.to_owned());
        let Some((uid, gid)) = account(&fs::read_to_string("/etc/passwd")?, &user) else {
            tools::skip(&format!("there is no user {user} for rootless tests"));
            return Ok(None);
        };
        cli.binary = cli.reachable(&cli.binary)?;
        for directory in [
            cli.directory.path().to_owned(),
            cli.home(),
            cli.docker_config(),
            cli.work(),
            cli.run_directory(),
        ] {
            std::os::unix::fs::chown(directory, Some(uid), Some(gid))?;
        }
        cli.user = Some(user);
        Ok(Some(cli))
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

    fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
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
        let mut command = match &self.user {
            None => Command::new(&self.binary),
            Some(user) => as_user(user, &self.binary),
        };
        self.isolate(&mut command);
        command
    }

    fn isolate(&self, command: &mut Command) {
        command
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| is_inherited(name)))
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.docker_config())
            .env("XDG_RUNTIME_DIR", self.run_directory())
            .env("ARCHWAY_ROOT", self.root())
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.work());
    }

    /// Another program, which sees the store as its owner does: where that is not root, as root of a namespace
    /// that has all ids of the store's files. It has the environment of [`Cli::command`].
    ///
    /// # Errors
    /// When the program cannot be copied to where the user can reach it.
    pub fn as_owner(&self, program: &Path) -> io::Result<Command> {
        let mut command = match &self.user {
            None if rustix::process::geteuid().is_root() => Command::new(program),
            None => in_namespace(Command::new("unshare"), program),
            Some(user) => in_namespace(as_user(user, Path::new("unshare")), &self.reachable(program)?),
        };
        self.isolate(&mut command);
        Ok(command)
    }

    /// A copy of a program: the user may not be allowed to reach the target directory.
    fn reachable(&self, program: &Path) -> io::Result<PathBuf> {
        let copy = self.directory.path().join(program.file_name().unwrap_or_default());
        if !copy.exists() {
            copy_program(program, &copy)?;
        }
        Ok(copy)
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

impl Drop for Cli {
    /// A normal user's store holds files of the ids that the user's namespace maps. Whoever made them
    /// must remove them; what remains is the temporary directory's to remove.
    fn drop(&mut self) {
        if !rustix::process::geteuid().is_root() && self.root().exists() {
            let mut remove = Command::new("unshare");
            remove.args(["--map-root-user", "--map-auto", "rm", "-rf"]).arg(self.root());
            let _ = remove.stderr(Stdio::null()).status();
        }
    }
}

fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups", "--"])
        .arg(program);
    command
}

fn in_namespace(mut unshare: Command, program: &Path) -> Command {
    unshare.args(["--map-root-user", "--map-auto", "--"]).arg(program);
    unshare
}

/// Copies a program. Another process does: a test that starts a process at this moment would pass on our
/// descriptor of the copy, and Linux starts no program that is open for writing (`ETXTBSY`).
fn copy_program(from: &Path, to: &Path) -> io::Result<()> {
    process::output(Command::new("cp").arg("--").args([from, to])).map(drop).map_err(io::Error::other)
}

/// The user and group id of `name` in the text of `/etc/passwd` (passwd(5)).
fn account(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> =
        passwd.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
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
    fn runs_as_a_normal_user() {
        let Some(cli) = Cli::rootless("/usr/bin/id").unwrap() else { return };
        let run = cli.run(["-u"]).unwrap().succeeded();
        assert_ne!(run.stdout.trim(), "0");
    }

    #[test]
    fn the_owner_of_a_store_has_all_ids_of_its_files() {
        let user = Cli::rootless("/bin/true").unwrap();
        for cli in [Some(Cli::new("/bin/true").unwrap()), user].into_iter().flatten() {
            let text =
                "id -u && touch \"$HOME/file\" && chown 33 \"$HOME/file\" && stat -c %u \"$HOME/file\"";
            let output = cli.as_owner(Path::new("/bin/sh")).unwrap().args(["-c", text]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n33\n", "{output:?}");
        }
    }

    #[test]
    fn finds_accounts() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\narchway-test:x:1001:1002::/home/archway-test:/bin/sh\nbroken\n";
        assert_eq!(account(passwd, "archway-test"), Some((1001, 1002)));
        assert_eq!(account(passwd, "broken"), None);
        assert_eq!(account(passwd, "archway"), None);
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
