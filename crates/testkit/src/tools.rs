//! Which external tools a test needs.
//!
//! A test that needs a tool starts with
//!
//! ```
//! # use archway_testkit::tools;
//! if !tools::require("skopeo") {
//!     return;
//! }
//! ```
//!
//! On a machine without the tool the test prints `skipped: skopeo is not installed` and passes; with
//! `ARCHWAY_TEST_REQUIRE_ALL=1` it fails instead, so that a complete environment stays complete.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::{Access, access};

/// Set to `1` where every test must run: in CI.
pub const REQUIRE_ALL: &str = "ARCHWAY_TEST_REQUIRE_ALL";

/// Names a file that gets a line for each skipped test; cargo hides what passing tests print.
pub const SKIPPED: &str = "ARCHWAY_TEST_SKIPPED";

/// Where tools such as `runc` live that a normal user's `PATH` leaves out.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The executable named `tool` in `PATH` or in a system directory.
pub fn find(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(tool))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// Whether `tool` is there. Says why the test is skipped where it is not.
///
/// # Panics
/// Where the tool is missing and `ARCHWAY_TEST_REQUIRE_ALL` is `1`.
pub fn require(tool: &str) -> bool {
    find(tool).is_some() || skip(&format!("{tool} is not installed"))
}

/// Like [`require`] for several tools.
///
/// # Panics
/// As [`require`] does.
pub fn require_each(tools: &[&str]) -> bool {
    tools.iter().all(|tool| require(tool))
}

/// Whether this is root. Skips the test where it is not.
///
/// # Panics
/// As [`require`] does.
pub fn require_root() -> bool {
    rustix::process::geteuid().is_root() || skip("only root can do this")
}

/// Skips a test for any other missing part of the environment; always `false`, for
/// `if !ready && !tools::skip("…") { return; }` and the tail of a condition.
///
/// # Panics
/// Where `ARCHWAY_TEST_REQUIRE_ALL` is `1`.
pub fn skip(reason: &str) -> bool {
    assert!(!required(), "{reason}, and {REQUIRE_ALL}=1 forbids to skip");
    eprintln!("skipped: {reason}");
    if let Some(file) = env::var_os(SKIPPED) {
        record(Path::new(&file), reason).expect("ARCHWAY_TEST_SKIPPED names a file that can be written");
    }
    false
}

/// The test harness names each test's thread after the test.
fn record(file: &Path, reason: &str) -> io::Result<()> {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {reason}\n");
    fs::File::options().append(true).create(true).open(file)?.write_all(line.as_bytes())
}

fn required() -> bool {
    env::var(REQUIRE_ALL).is_ok_and(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_every_machine_has() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert!(require_each(&["sh", "cat"]));
    }

    #[test]
    fn a_skipped_test_is_recorded_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("skipped");
        record(&file, "one is not installed").unwrap();
        record(&file, "two is not installed").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].ends_with("a_skipped_test_is_recorded_with_its_reason: one is not installed"),
            "{text}"
        );
    }

    #[test]
    fn does_not_find_what_none_has() {
        assert_eq!(find("archway-no-such-tool"), None);
        assert_eq!(find("/etc/passwd"), None, "a file that is not executable is no tool");
    }
}
