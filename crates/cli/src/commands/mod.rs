//! One module for each command.

pub(crate) mod build;
pub(crate) mod builder;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod copy;
pub(crate) mod images;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod kube;
pub(crate) mod login;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod sbom;
pub(crate) mod scan;
pub(crate) mod source;
pub(crate) mod verify;

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use archway_oci::Descriptor;
use archway_orchestrator::{Context, Error};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{ProgressMode, RegistryArgs},
    error::{CliError, Exit},
    progress::Progress,
    session::Session,
};

/// Runs an operation on images that exist already, and shows its progress meanwhile.
pub(crate) fn with_progress<T>(
    mode: ProgressMode,
    registries: &RegistryArgs,
    operation: impl AsyncFnOnce(&Context) -> Result<T, Error>,
) -> Result<T, CliError> {
    let session = Session::start(registries)?;
    let progress = Progress::start(mode);
    let context = session.context(progress.events());
    let outcome = until_interrupted(&session, operation(&context));
    progress.finish();
    outcome
}

/// Runs an operation to its end. Ctrl-C or a polite kill drops it where it is.
pub(crate) fn until_interrupted<T>(
    session: &Session,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, CliError> {
    session.runtime.block_on(async {
        let interrupt = interrupt();
        tokio::select! {
            done = operation => Ok(done?),
            () = interrupt.cancelled() => Err(CliError::Reported(Exit::Interrupted)),
        }
    })
}

/// Cancelled by Ctrl-C or a polite kill. The second one ends the program at once.
pub(crate) fn interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(Exit::Interrupted as i32);
            }
            cancel.cancel();
        }
    });
    token
}

/// A line for something that exists now.
pub(crate) fn arrow(target: &str) -> String {
    let green = anstyle::AnsiColor::Green.on_default();
    format!("{green}→{green:#} {target}")
}

/// Says before the work, and not after a tag has moved, that a file could not be written.
pub(crate) fn check_file(flag: &'static str, path: &Path) -> Result<(), CliError> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if path.is_dir() || !directory.is_dir() {
        let message = format!("`{}` is not a file in an existing directory", path.display());
        return Err(CliError::usage(flag, message));
    }
    Ok(())
}

/// Writes a file that the user asked for.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|source| CliError::File {
        action: "write",
        path: path.display().to_string(),
        source,
    })
}

/// Writes what was published, with the keys of buildx.
pub(crate) fn write_metadata(path: &Path, descriptor: &Descriptor, names: &str) -> Result<(), CliError> {
    let metadata = serde_json::json!({
        "containerimage.digest": descriptor.digest,
        "containerimage.descriptor": descriptor,
        "image.name": names,
    });
    let text = serde_json::to_string_pretty(&metadata).expect("plain data");
    write_file(path, &(text + "\n"))
}

/// Asks, where somebody can answer.
fn agreed(question: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    anstream::eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    let failed = |source| CliError::File { action: "read", path: "standard input".to_owned(), source };
    read.map_err(failed)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
