//! The flags between an instruction's name and its arguments.

use crate::ast::{Span, Word};
use crate::error::{ParseError, Problem};
use crate::keyword::{FlagKind, FlagValue, Keyword};
use crate::line::Fragment;
use crate::suggestion::nearest;

/// A flag as written, quotes and escapes resolved once.
#[derive(Debug, Clone)]
struct RawFlag {
    /// Without dashes.
    name: String,
    value: Option<Word>,
    span: Span,
}

/// The checked flags of one instruction.
#[derive(Debug)]
pub(crate) struct Flags {
    given: Vec<(&'static str, RawFlag)>,
}

impl Flags {
    /// Takes the flags off the arguments of an instruction: words that begin with `--`, up to the first
    /// other word or `--` alone. Returns the rest.
    pub(crate) fn read<'a>(
        keyword: Keyword,
        arguments: &Fragment<'a>,
        escape: char,
    ) -> Result<(Self, Fragment<'a>), ParseError> {
        let mut flags = Self { given: Vec::new() };
        let mut rest = arguments.trim();
        while rest.text().starts_with("--") {
            let (text, length) = first_word(rest.text(), escape);
            let word = rest.part(0..length);
            rest = rest.skip(length).trim();
            if text == "--" {
                break;
            }
            flags.add(keyword, raw_flag(&text, &word))?;
        }
        Ok((flags, rest))
    }

    fn add(&mut self, keyword: Keyword, flag: RawFlag) -> Result<(), ParseError> {
        let error = |problem| ParseError::new(problem, flag.span);
        let Some(FlagKind { name, value }) = keyword.flags().iter().find(|kind| kind.name == flag.name)
        else {
            let nearest = nearest(&flag.name, keyword.flags().iter().map(|kind| kind.name));
            return Err(error(Problem::UnknownFlag { keyword, flag: flag.name.clone(), nearest }));
        };
        if *value != FlagValue::Many && self.given.iter().any(|(given, _)| given == name) {
            return Err(error(Problem::DuplicateFlag { flag: name }));
        }
        let text = flag.value.as_ref().map(|value| value.value.as_str());
        match (value, text) {
            (FlagValue::Switch, Some("")) | (FlagValue::One | FlagValue::Many, None) => {
                return Err(error(Problem::MissingFlagValue { flag: name }));
            }
            (FlagValue::Switch, Some(text)) if switch_value(text).is_none() => {
                let problem = Problem::InvalidFlagValue {
                    flag: name,
                    value: text.to_owned(),
                    expected: "true or false",
                };
                return Err(error(problem));
            }
            _ => {}
        }
        self.given.push((name, flag));
        Ok(())
    }

    /// The place of the first flag, if there is one.
    pub(crate) fn first_span(&self) -> Option<Span> {
        self.given.first().map(|(_, flag)| flag.span)
    }

    /// The value of a flag that is given at most once.
    pub(crate) fn value(&self, name: &str) -> Option<Word> {
        self.values(name).into_iter().next()
    }

    /// The values of a flag, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<Word> {
        let named = self.given.iter().filter(|(given, _)| *given == name);
        named.filter_map(|(_, flag)| flag.value.clone()).collect()
    }

    /// A switch; `None` if it is not given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        let (_, flag) = self.given.iter().find(|(given, _)| *given == name)?;
        flag.value.as_ref().map_or(Some(true), |value| switch_value(&value.value))
    }
}

fn switch_value(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn raw_flag(text: &str, word: &Fragment<'_>) -> RawFlag {
    let flag = text.strip_prefix("--").unwrap_or(text);
    let Some((name, value)) = flag.split_once('=') else {
        return RawFlag { name: flag.to_owned(), value: None, span: word.span() };
    };
    let value_start = word.text().find('=').map_or(0, |equals| equals + 1);
    let value = Word { value: value.to_owned(), span: word.skip(value_start).span() };
    RawFlag { name: name.to_owned(), value: Some(value), span: word.span() }
}

/// The first word without its quotes and escapes, and how long it is as written. Here an escape counts
/// within single quotes too.
fn first_word(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            _ if c == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => word.push(c),
        }
    }
    (word, text.len())
}
