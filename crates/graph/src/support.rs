//! What the language has and this version does not. Looked for before anything is downloaded, and
//! refused: an option is never ignored.

use archway_dockerfile::ast::{Instruction, Kind, Span};

use crate::error::{LowerError, LowerProblem};

/// Refuses what cannot be built. Triggers that this build only stores are not looked at.
pub(crate) fn check(instruction: &Instruction) -> Result<(), LowerError> {
    let Kind::Run(run) = &instruction.kind else { return Ok(()) };
    match run.devices.first() {
        Some(word) => Err(LowerError { problem: LowerProblem::NoDevices, span: word.span }),
        None => Ok(()),
    }
}

pub(crate) fn not_yet(what: impl Into<String>, span: Span) -> LowerError {
    LowerError { problem: LowerProblem::NotYetSupported { what: what.into() }, span }
}
