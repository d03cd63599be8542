//! The `ONBUILD` triggers of base images: instructions that travel as text in an image config.

use thiserror::Error;

/// Why the text of a trigger is no trigger.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TriggerProblem {
    /// It does not parse.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// None, or several instructions, or one that may not be a trigger.
    #[error("a trigger is one instruction, and not FROM, ONBUILD or MAINTAINER")]
    NotOneInstruction,
}
