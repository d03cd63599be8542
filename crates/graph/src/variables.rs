//! The variables of a stage, and expansion with them.

use std::borrow::Cow;

use archway_dockerfile::{
    ast::{Heredoc, Word},
    expand::{self, Expanded, Lookup},
};

use crate::error::LowerError;

/// Names with values, each name once, in the order in which the names first got a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// As a process gets them: `NAME=value`.
    pub(crate) fn assignments(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// The variables of an image config; an entry without `=` is an empty variable.
    pub(crate) fn from_assignments(assignments: &[String]) -> Self {
        let mut variables = Self::default();
        variables.assign(assignments);
        variables
    }

    /// Sets all of them.
    pub(crate) fn assign(&mut self, assignments: &[String]) {
        for assignment in assignments {
            let (name, value) = assignment.split_once('=').unwrap_or((assignment, ""));
            self.set(name, value);
        }
    }
}

impl Lookup for Variables {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.value(name).map(Cow::Borrowed)
    }
}

/// Expands words as they stand in one Dockerfile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expander<'a> {
    pub(crate) escape: char,
    pub(crate) variables: &'a Variables,
}

impl Expander<'_> {
    pub(crate) fn word(&self, word: &Word) -> Result<String, LowerError> {
        Ok(self.traced(word)?.value)
    }

    /// With the variables the word depends on.
    pub(crate) fn traced(&self, word: &Word) -> Result<Expanded<String>, LowerError> {
        Ok(expand::expand_word(word, self.escape, self.variables)?)
    }

    pub(crate) fn optional(&self, word: Option<&Word>) -> Result<Option<String>, LowerError> {
        word.map(|word| self.word(word)).transpose()
    }

    pub(crate) fn words(&self, word: &Word) -> Result<Vec<String>, LowerError> {
        Ok(expand::expand_words(word, self.escape, self.variables)?.value)
    }

    pub(crate) fn heredoc(&self, heredoc: &Heredoc) -> Result<String, LowerError> {
        Ok(expand::expand_heredoc(heredoc, self.variables)?.value)
    }
}
