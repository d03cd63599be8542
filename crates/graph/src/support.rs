//! What the language has and this version does not. Looked for before anything is downloaded, and
//! refused: an option is never ignored.

use archway_dockerfile::ast::{Instruction, Kind, Run, Span};

use crate::error::{LowerError, LowerProblem};

/// Refuses what cannot be built yet. Triggers that this build only stores are not looked at.
pub(crate) fn check(instruction: &Instruction) -> Result<(), LowerError> {
    let unsupported = match &instruction.kind {
        Kind::Run(run) => unsupported_in_run(run),
        _ => None,
    };
    match unsupported {
        Some((what, span)) => Err(not_yet(what, span)),
        None => Ok(()),
    }
}

pub(crate) fn not_yet(what: impl Into<String>, span: Span) -> LowerError {
    LowerError { problem: LowerProblem::NotYetSupported { what: what.into() }, span }
}

fn unsupported_in_run(run: &Run) -> Option<(String, Span)> {
    let flags = [
        ("RUN --mount", run.mounts.first().map(|mount| mount.span)),
        ("RUN --security", run.security.as_ref().map(|word| word.span)),
        ("RUN --device", run.devices.first().map(|word| word.span)),
    ];
    flags.into_iter().find_map(|(what, span)| Some((what.to_owned(), span?)))
}
