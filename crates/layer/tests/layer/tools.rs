//! Tools of other projects that read what we write.

use std::process::Command;

/// Whether `tool` can be run; says so and returns false if not, or fails the test where all tools are
/// required (`ARCHWAY_TEST_REQUIRE_ALL=1`).
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        missing(&format!("{tool} is not installed"));
    }
    found
}

/// Says why a test is skipped.
pub(crate) fn missing(reason: &str) {
    assert!(std::env::var("ARCHWAY_TEST_REQUIRE_ALL").as_deref() != Ok("1"), "{reason}");
    println!("skipped: {reason}");
}

/// Runs a command that must succeed, and gives its standard output.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the tool starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
