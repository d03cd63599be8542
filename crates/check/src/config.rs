//! `# check=skip=…;error=…;experimental=…`: which rules are checked, and what a finding means.

use std::collections::BTreeSet;

use archway_dockerfile::{
    ast::{Span, Spanned},
    diagnostic::Diagnostic,
};
use thiserror::Error;

use crate::rule::Rule;

/// Most options in one text, as in BuildKit.
const MAX_OPTIONS: usize = 3;

/// Which rules are checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Rules that are not.
    pub skip: Selection,
    /// Experimental rules that are.
    pub experimental: Selection,
    /// Whether a finding fails the build.
    pub error: bool,
}

/// Some rules, or all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// `all`
    pub all: bool,
    /// Names, be they those of rules or not.
    pub names: BTreeSet<String>,
}

/// Why the text of a `check` directive was refused, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct ConfigError {
    /// What is wrong.
    pub problem: ConfigProblem,
    /// The option.
    pub span: Span,
}

/// What can be wrong with the text of a `check` directive.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// An option without `=`.
    #[error("the check option '{option}' has no value")]
    MissingValue {
        /// As written.
        option: String,
    },
    /// No such option.
    #[error("unknown check option '{option}'")]
    UnknownOption {
        /// As written.
        option: String,
    },
    /// `error=` with something else than a truth value.
    #[error("the check option error cannot be '{value}'")]
    NotBoolean {
        /// As written.
        value: String,
    },
}

impl ConfigError {
    /// The error as a renderer shows it.
    pub fn diagnostic(&self) -> Diagnostic {
        let label = match self.problem {
            ConfigProblem::MissingValue { .. } => "expected name=value",
            ConfigProblem::UnknownOption { .. } => "not an option",
            ConfigProblem::NotBoolean { .. } => "expected true or false",
        };
        Diagnostic {
            message: self.to_string(),
            span: self.span,
            label: label.to_owned(),
            hint: Some(
                "write skip=RULE,RULE or skip=all, error=true, experimental=all, separated by ;".to_owned(),
            ),
        }
    }

    /// The same, for a text that begins at this byte.
    #[must_use]
    pub fn shifted(mut self, start: usize) -> Self {
        self.span = Span { start: self.span.start + start, end: self.span.end + start };
        self
    }
}

impl Selection {
    fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    fn extend(&mut self, other: &Self) {
        self.all |= other.all;
        self.names.extend(other.names.iter().cloned());
    }

    fn set(&mut self, value: &str) {
        *self = match value.trim() {
            "all" => Self { all: true, names: BTreeSet::new() },
            names => {
                Self { all: false, names: names.split(',').map(|name| name.trim().to_owned()).collect() }
            }
        };
    }
}

impl Config {
    /// Reads the text of a directive or of `BUILDKIT_DOCKERFILE_CHECK`.
    ///
    /// # Errors
    /// An option that is none. Names of rules are not looked at here.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        let mut start = 0;
        for option in text.splitn(MAX_OPTIONS, ';') {
            let span = Span { start, end: start + option.len() };
            start = span.end + 1;
            config.set(option).map_err(|problem| ConfigError { problem, span })?;
        }
        Ok(config)
    }

    fn set(&mut self, option: &str) -> Result<(), ConfigProblem> {
        let Some((name, value)) = option.split_once('=') else {
            return Err(ConfigProblem::MissingValue { option: option.trim().to_owned() });
        };
        match name.trim() {
            "skip" => self.skip.set(value),
            "experimental" => self.experimental.set(value),
            "error" => self.error = boolean(value.trim())?,
            other => return Err(ConfigProblem::UnknownOption { option: other.to_owned() }),
        }
        Ok(())
    }

    /// With what a comment above an instruction adds. What it says of errors means nothing there.
    #[must_use]
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.skip.extend(&other.skip);
        merged.experimental.extend(&other.experimental);
        merged
    }

    /// Whether a rule is checked. `skip` does not concern experimental rules, as in BuildKit.
    pub fn checks(&self, rule: &Rule) -> bool {
        match rule.is_experimental() {
            true => self.experimental.contains(rule.name),
            false => !self.skip.contains(rule.name),
        }
    }

    /// All names of rules that were written.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.skip.names.iter().chain(&self.experimental.names).map(String::as_str)
    }
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(value: &str) -> Result<bool, ConfigProblem> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(ConfigProblem::NotBoolean { value: value.to_owned() }),
    }
}

/// The `check=` of a comment above an instruction, `#` and blanks removed: the first one counts, up to
/// its first space.
pub(crate) fn inline<'a>(comments: &[Spanned<&'a str>]) -> Option<Spanned<&'a str>> {
    comments.iter().find_map(|comment| {
        let (name, value) = comment.value.split_once('=')?;
        if !name.trim_end().eq_ignore_ascii_case("check") {
            return None;
        }
        let start = comment.span.start + comment.value.len() - value.trim_start().len();
        let value = value.trim().split(' ').next().unwrap_or_default();
        (!value.is_empty()).then_some(Spanned { value, span: Span { start, end: start + value.len() } })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn options_select_rules() {
        let config = |text| Config::parse(text).unwrap();
        let stable = rules::find("JSONArgsRecommended").unwrap();
        let experimental = rules::find("InvalidDefinitionDescription").unwrap();
        for (text, checks_stable, checks_experimental, error) in [
            ("", true, false, false),
            ("skip=all", false, false, false),
            ("skip=JSONArgsRecommended, StageNameCasing;error=true", false, false, true),
            (" skip = StageNameCasing ; error = 1", true, false, true),
            ("experimental=all;skip=all", false, true, false),
            (
                "experimental=InvalidDefinitionDescription;skip=InvalidDefinitionDescription",
                true,
                true,
                false,
            ),
            ("skip=jsonargsrecommended", true, false, false),
            ("skip=all;skip=StageNameCasing", true, false, false),
        ] {
            let config = config(text);
            assert_eq!(config.checks(stable), checks_stable, "{text}");
            assert_eq!(config.checks(experimental), checks_experimental, "{text}");
            assert_eq!(config.error, error, "{text}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused_with_its_place() {
        for (text, problem, start, end) in [
            ("skip", "the check option 'skip' has no value", 0, 4),
            ("skip=all;erorr=true", "unknown check option 'erorr'", 9, 19),
            ("error=yes", "the check option error cannot be 'yes'", 0, 9),
            // A fourth option belongs to the third.
            ("skip=a;skip=b;error=true;skip=c", "the check option error cannot be 'true;skip=c'", 14, 31),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.span), (problem, Span { start, end }), "{text}");
        }
    }

    #[test]
    fn a_comment_selects_for_its_instruction() {
        let comment =
            |value: &'static str| Spanned { value, span: Span { start: 10, end: 10 + value.len() } };
        let found = |comments: &[&'static str]| {
            let comments: Vec<_> = comments.iter().map(|text| comment(text)).collect();
            inline(&comments).map(|found| (found.value, found.span.start))
        };
        assert_eq!(found(&["a build", "check=skip=all because"]), Some(("skip=all", 16)));
        assert_eq!(found(&["Check = skip=A;error=true"]), Some(("skip=A;error=true", 18)));
        assert_eq!(found(&["check=skip=A", "check=skip=B"]), Some(("skip=A", 16)));
        assert_eq!(found(&["recheck=skip=A", "check=", "check"]), None);
    }
}
