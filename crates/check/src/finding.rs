//! What the rules found.

use archway_dockerfile::{ast::Span, diagnostic::Diagnostic};

use crate::rule::Rule;

/// One place that a rule objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong here, in one sentence without a full stop.
    pub message: String,
    /// The place.
    pub span: Span,
    /// The whole instruction the place is in, or the part that BuildKit names instead.
    pub instruction: Span,
    /// A few words to stand under the place; may be empty.
    pub label: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
    /// The change that would end it, where it can be made without knowing more.
    pub fix: Option<Fix>,
}

/// A change to the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What it does: `write it in lower case`.
    pub title: String,
    /// The edits, in order, none overlapping another.
    pub edits: Vec<Edit>,
}

/// A text in place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What to replace; empty to insert.
    pub span: Span,
    /// The new text.
    pub text: String,
}

impl Fix {
    /// A fix of one edit.
    pub(crate) fn replace(title: impl Into<String>, span: Span, text: impl Into<String>) -> Self {
        Self { title: title.into(), edits: vec![Edit { span, text: text.into() }] }
    }

    /// The text with the edits made.
    pub fn apply(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut position = 0;
        for edit in &self.edits {
            result.push_str(text.get(position..edit.span.start).unwrap_or_default());
            result.push_str(&edit.text);
            position = edit.span.end;
        }
        result.push_str(text.get(position..).unwrap_or_default());
        result
    }
}

impl Finding {
    /// A finding with no more than a message and a place.
    pub(crate) fn new(rule: &'static Rule, message: impl Into<String>, span: Span) -> Self {
        Self {
            rule,
            message: message.into(),
            span,
            instruction: Span::default(),
            label: String::new(),
            hint: None,
            fix: None,
        }
    }

    /// What BuildKit names as the place, if that is not the instruction.
    #[must_use]
    pub(crate) fn instruction(mut self, span: Span) -> Self {
        self.instruction = span;
        self
    }

    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn fix(mut self, fix: Option<Fix>) -> Self {
        self.fix = fix;
        self
    }

    /// The finding as a renderer of errors shows it.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            message: self.message.clone(),
            span: self.span,
            label: self.label.clone(),
            hint: self.hint.clone(),
        }
    }
}
