//! Running one external program to its end.

use std::{
    fmt, io,
    process::{Command, ExitStatus},
};

/// A program could not be started, or it failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{command}` failed ({status})\n{stderr}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to stderr.
        stderr: String,
    },
}

/// Runs `command` to its end and returns its stdout.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub fn output(command: &mut Command) -> Result<Vec<u8>, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| ProcessError::Start { program, source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(ProcessError::Failed {
        command: CommandLine(command).to_string(),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A command as one would type it, without quoting.
struct CommandLine<'a>(&'a Command);

impl fmt::Display for CommandLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.get_program().to_string_lossy())?;
        self.0.get_args().try_for_each(|argument| write!(f, " {}", argument.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_stdout() {
        assert_eq!(output(Command::new("echo").arg("one")).unwrap(), b"one\n");
    }

    #[test]
    fn says_what_failed_and_why() {
        let error = output(Command::new("sh").args(["-c", "echo bad >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("exit status: 3") && text.contains("bad"), "{text}");
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = output(&mut Command::new("archway-no-such-tool")).unwrap_err();
        assert!(matches!(error, ProcessError::Start { program, .. } if program == "archway-no-such-tool"));
    }
}
