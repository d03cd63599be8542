//! Ends a process when ours is gone, however it went.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Waits for the end of its stdin, which comes when the last holder of the pipe - we - has died.
const SCRIPT: &str = r#"cat; kill -9 "$1"; rm -rf "$2""#;

/// A shell that kills a process and removes its directory when this process dies.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Guards process `id` and `directory`.
    pub(crate) fn start(id: u32, directory: &Path) -> io::Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog", &id.to_string()])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the whole group; the watchdog must survive it.
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed while its stdin is still open, so the script does not go on. Its `cat` ends by
        // itself when `shell` closes the pipe.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
