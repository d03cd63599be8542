//! What others made and `scripts/peers` has from Go's module proxy: the programs crane, buildx and helm,
//! and the description that Kubernetes gives of its API.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{buildkit::DIRECTORY, tools};

/// A program that `scripts/peers` built, of the newest release there is; else the one in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    newest(program, program).or_else(|| tools::find(program))
}

/// The OpenAPI description (version 2) of the newest Kubernetes that `scripts/peers` fetched.
pub fn kubernetes_openapi() -> Option<PathBuf> {
    newest("kubernetes", "swagger.json")
}

/// `file` of the newest release of `peer`.
fn newest(peer: &str, file: &str) -> Option<PathBuf> {
    let prefix = format!("{peer}-");
    let releases = fs::read_dir(directory()?).into_iter().flatten().flatten();
    let made = releases
        .filter(|release| release.file_name().to_string_lossy().starts_with(&prefix))
        .map(|release| release.path().join(file))
        .filter(|file| file.is_file());
    made.max()
}

/// The directory that `scripts/peers` builds into.
pub(crate) fn directory() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").filter(|name| !name.is_empty()).map(PathBuf::from);
    env::var_os(DIRECTORY)
        .map(PathBuf::from)
        .or_else(|| cache.or_else(home).map(|cache| cache.join("archway/peers")))
}

/// A peer with a home directory of its own.
pub struct Peer {
    program: PathBuf,
    home: TempDir,
}

impl Peer {
    /// `None` where it is missing: the test is to be skipped.
    ///
    /// # Panics
    /// Where it is missing and every test must run ([`tools::skip`]); if there is no place for its home.
    pub fn required(program: &str) -> Option<Self> {
        match find(program) {
            Some(program) => {
                Some(Self { program, home: tempfile::tempdir().expect("a directory for the program") })
            }
            None => {
                tools::skip(&format!("scripts/peers has not built {program}"));
                None
            }
        }
    }

    /// A command of it. Neither the user's configuration nor credentials take part.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let home = self.home.path();
        command.env("HOME", home).env("DOCKER_CONFIG", home).env("BUILDX_CONFIG", home);
        command
    }
}
