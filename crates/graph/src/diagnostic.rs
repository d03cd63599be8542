//! Errors as a renderer shows them.

use archway_dockerfile::diagnostic::Diagnostic;

use crate::error::LowerError;

impl LowerError {
    /// The error with its place, a few words to stand under it, and what to do.
    pub fn diagnostic(&self) -> Diagnostic {
        if let Self::BadExpansion(error) = self {
            return error.diagnostic();
        }
        Diagnostic { message: self.to_string(), span: self.span(), label: String::new(), hint: None }
    }
}
