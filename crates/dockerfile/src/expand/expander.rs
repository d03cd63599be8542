//! The reader of one word.

use std::collections::BTreeSet;

use super::pattern::{Extent, MAX_PATTERN_CHARS, Pattern, PatternError};
use super::template::Template;
use super::{ExpandError, ExpandProblem as Problem, Expanded, Lookup, MAX_EXPANDED_BYTES, MAX_NESTING};
use crate::ast::{Span, Word};

/// What quotes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They quote, and are removed.
    Resolved,
    /// They are characters like others.
    Ordinary,
}

/// What becomes of the escape character in front of what it escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Removed,
    /// Kept for the reader of a pattern.
    Kept,
}

/// Text under construction, and where unquoted spaces would split it into words.
#[derive(Default)]
pub(super) struct Output {
    pub(super) text: String,
    /// Byte offsets in `text` of the spaces that separate words.
    separators: Vec<usize>,
}

impl Output {
    fn push_splittable(&mut self, text: &str) {
        let base = self.text.len();
        let spaces = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| base + at);
        self.separators.extend(spaces);
        self.text.push_str(text);
    }

    pub(super) fn into_words(self) -> Vec<String> {
        let mut words = Vec::new();
        let mut start = 0;
        for separator in self.separators.into_iter().chain([self.text.len()]) {
            let word = self.text.get(start..separator).unwrap_or_default();
            if !word.is_empty() {
                words.push(word.to_owned());
            }
            let space = self.text.get(separator..).and_then(|rest| rest.chars().next());
            start = separator + space.map_or(0, char::len_utf8);
        }
        words
    }
}

/// Reads one word from start to end.
pub(super) struct Expander<'a> {
    text: &'a str,
    span: Span,
    position: usize,
    escape: char,
    quotes: Quotes,
    variables: &'a dyn Lookup,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
    /// Bytes that variables and substitutions came to so far. Bounds time as well as memory.
    produced: usize,
    depth: usize,
}

impl<'a> Expander<'a> {
    pub(super) fn new(word: &'a Word, escape: char, quotes: Quotes, variables: &'a dyn Lookup) -> Self {
        Self {
            text: &word.value,
            span: word.span,
            position: 0,
            escape,
            quotes,
            variables,
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
            produced: 0,
            depth: 0,
        }
    }

    pub(super) fn expand<T>(mut self, finish: fn(Output) -> T) -> Result<Expanded<T>, ExpandError> {
        let mut output = Output::default();
        while self.peek().is_some() {
            self.part(&mut output, Escapes::Removed)?;
        }
        Ok(Expanded { value: finish(output), used: self.used, unset: self.unset })
    }

    /// One character, quoted text, escape or variable.
    fn part(&mut self, output: &mut Output, escapes: Escapes) -> Result<(), ExpandError> {
        match self.peek() {
            Some('$') => output.push_splittable(&self.dollar()?),
            Some('\'') if self.quotes == Quotes::Resolved => output.text.push_str(self.single_quoted()?),
            Some('"') if self.quotes == Quotes::Resolved => {
                output.text.push_str(&self.double_quoted(escapes)?);
            }
            Some(c) if c == self.escape => {
                self.next();
                if escapes == Escapes::Kept {
                    output.text.push(c);
                }
                output.text.extend(self.next());
            }
            Some(c) => {
                self.next();
                output.push_splittable(c.encode_utf8(&mut [0; 4]));
            }
            None => {}
        }
        Ok(())
    }

    /// The expanded text up to `stop`, which is consumed; the error `unclosed` at `opened` without it.
    fn until(
        &mut self,
        stop: char,
        escapes: Escapes,
        opened: usize,
        unclosed: Problem,
    ) -> Result<String, ExpandError> {
        let mut output = Output::default();
        loop {
            match self.peek() {
                Some(c) if c == stop => {
                    self.next();
                    return Ok(output.text);
                }
                Some(_) => self.part(&mut output, escapes)?,
                None => return Err(self.error(unclosed, opened)),
            }
        }
    }

    fn single_quoted(&mut self) -> Result<&'a str, ExpandError> {
        let opened = self.position;
        self.next();
        let Some((quoted, _)) = self.rest().split_once('\'') else {
            return Err(self.error_at_quote(opened, '\''));
        };
        self.position += quoted.len() + 1;
        Ok(quoted)
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, ExpandError> {
        let opened = self.position;
        self.next();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.next();
            if c == '"' {
                return Ok(text);
            }
            if c != self.escape {
                text.push(c);
                continue;
            }
            if escapes == Escapes::Kept {
                text.push(c);
            }
            match self.peek() {
                None => {}
                Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.escape => {
                    text.extend(self.next());
                }
                Some(_) => text.push(c),
            }
        }
        Err(self.error_at_quote(opened, '"'))
    }

    /// `$`, `$name` or `${…}`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.position;
        self.next();
        if self.peek() == Some('{') {
            if self.depth == MAX_NESTING {
                return Err(self.error(Problem::TooDeep, start));
            }
            self.next();
            self.depth += 1;
            let value = self.braced(start);
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.value_of(name, start)?.unwrap_or_default())
    }

    /// What follows `${`. The word of a modifier is read before the variable, used or not.
    fn braced(&mut self, start: usize) -> Result<String, ExpandError> {
        let name = self.name();
        let Some(modifier) = self.next() else {
            return Err(self.error(Problem::UnclosedBrace, start));
        };
        if name.is_empty() {
            return Err(self.error(Problem::BadSubstitution, start));
        }
        match modifier {
            '}' => Ok(self.value_of(name, start)?.unwrap_or_default()),
            ':' => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => self.conditional(name, operator, true, start),
                Some(other) => Err(self.unsupported(name, &format!(":{other}"), start)),
                None => Err(self.error(Problem::UnclosedBrace, start)),
            },
            '-' | '+' | '?' => self.conditional(name, modifier, false, start),
            '#' | '%' => self.trimmed(name, modifier, start),
            '/' => self.replaced(name, start),
            other => Err(self.unsupported(name, &other.to_string(), start)),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`; with a colon, empty counts as unset.
    fn conditional(
        &mut self,
        name: &str,
        operator: char,
        empty_is_unset: bool,
        start: usize,
    ) -> Result<String, ExpandError> {
        let word = self.until('}', Escapes::Removed, start, Problem::UnclosedBrace)?;
        let value = self.value_of(name, start)?;
        let present = value.as_ref().is_some_and(|value| !(empty_is_unset && value.is_empty()));
        match (operator, present) {
            ('+', true) | ('-', false) => Ok(word),
            ('+', false) => Ok(String::new()),
            (_, true) => Ok(value.unwrap_or_default()),
            (_, false) => {
                let default = if value.is_some() { "must not be empty" } else { "must be set" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(self.error(Problem::Required { name: name.to_owned(), message }, start))
            }
        }
    }

    /// `${name#pattern}`, `${name%pattern}`; doubled, the longest match.
    fn trimmed(&mut self, name: &str, operator: char, start: usize) -> Result<String, ExpandError> {
        let word = self.until('}', Escapes::Kept, start, Problem::UnclosedBrace)?;
        // As in BuildKit, the second operator may also come out of a variable.
        let (extent, pattern) = match word.strip_prefix(operator) {
            Some(rest) => (Extent::Longest, self.pattern(rest, start)?),
            None => (Extent::Shortest, self.pattern(&word, start)?),
        };
        let value = self.value_of(name, start)?.unwrap_or_default();
        Ok(match operator {
            '#' => pattern.trim_start(&value, extent),
            _ => pattern.trim_end(&value, extent),
        })
    }

    /// `${name/pattern/replacement}`; with the first slash doubled, every match.
    fn replaced(&mut self, name: &str, start: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let missing = Problem::MissingReplacement { name: name.to_owned() };
        let word = self.until('/', Escapes::Kept, start, missing)?;
        let replacement = self.until('}', Escapes::Kept, start, Problem::UnclosedBrace)?;
        let pattern = self.pattern(&word, start)?;
        let value = self.value_of(name, start)?.unwrap_or_default();
        let result = match all {
            true => pattern.replace_all(&value, &Template::parse(&replacement), MAX_EXPANDED_BYTES),
            false => pattern.replace_first(&value, &replacement, MAX_EXPANDED_BYTES),
        };
        let Some(result) = result else {
            return Err(self.error(Problem::TooLong, start));
        };
        self.charge(result.len(), start)?;
        Ok(result)
    }

    fn pattern(&self, word: &str, start: usize) -> Result<Pattern, ExpandError> {
        Pattern::parse(word).map_err(|error| {
            let problem = match error {
                PatternError::Escape => Problem::InvalidPattern { pattern: word.to_owned() },
                PatternError::TooLong => Problem::PatternTooLong { limit: MAX_PATTERN_CHARS },
            };
            self.error(problem, start)
        })
    }

    fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let length = name_length(rest);
        self.position += length;
        rest.get(..length).unwrap_or_default()
    }

    fn value_of(&mut self, name: &str, start: usize) -> Result<Option<String>, ExpandError> {
        let variables = self.variables;
        let Some(value) = variables.get(name) else {
            self.unset.insert(name.to_owned());
            return Ok(None);
        };
        self.used.insert(name.to_owned());
        self.charge(value.len(), start)?;
        Ok(Some(value.into_owned()))
    }

    fn charge(&mut self, bytes: usize, start: usize) -> Result<(), ExpandError> {
        self.produced = self.produced.saturating_add(bytes);
        if self.produced > MAX_EXPANDED_BYTES {
            return Err(self.error(Problem::TooLong, start));
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn unsupported(&self, name: &str, modifier: &str, start: usize) -> ExpandError {
        let problem = Problem::UnsupportedModifier { name: name.to_owned(), modifier: modifier.to_owned() };
        self.error(problem, start)
    }

    /// An error about the text from `start` to the current position.
    fn error(&self, problem: Problem, start: usize) -> ExpandError {
        ExpandError { problem, span: self.place(start, self.position) }
    }

    fn error_at_quote(&self, opened: usize, quote: char) -> ExpandError {
        ExpandError { problem: Problem::UnclosedQuote { quote }, span: self.place(opened, opened + 1) }
    }

    /// A part of the word as a place in the Dockerfile. Only a word that stands there in one piece
    /// and as written has the same distances inside; otherwise the place is the whole word.
    fn place(&self, start: usize, end: usize) -> Span {
        if self.span.end.saturating_sub(self.span.start) != self.text.len() {
            return self.span;
        }
        Span { start: self.span.start + start, end: self.span.start + end }
    }
}

/// The length of the name at the start of a text: letters, digits and `_`; or only digits; or one of
/// the shell's special parameters, which are never set here. 0 if there is none.
pub(crate) fn name_length(text: &str) -> usize {
    let end_where = |ends: fn(char) -> bool| text.find(ends).unwrap_or(text.len());
    match text.chars().next() {
        Some(c) if c.is_ascii_digit() => end_where(|c| !c.is_ascii_digit()),
        Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
        _ => end_where(|c| !c.is_alphanumeric() && c != '_'),
    }
}
