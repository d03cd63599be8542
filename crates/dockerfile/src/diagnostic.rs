//! What is wrong, where, and what to do: the one shape in which errors of this crate reach a renderer.

use crate::ast::Span;

/// An error as a reader of the Dockerfile needs it. How it looks on a terminal is the renderer's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The error in one sentence, without a full stop.
    pub message: String,
    /// The place, in bytes of the text that was read.
    pub span: Span,
    /// A few words to stand under the marked place.
    pub label: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}
