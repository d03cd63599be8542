//! `ENV`, `LABEL` and `ARG`.

use super::Statement;
use crate::ast::{ArgDeclaration, Word};
use crate::error::{ParseError, Problem};
use crate::line::Fragment;
use crate::word::quoted_words;

/// `key=value …`, or the old form `key value`, in which the value is the rest of the line.
pub(super) fn pairs(statement: &Statement<'_>) -> Result<Vec<(Word, Word)>, ParseError> {
    let words = quoted_words(&statement.arguments, statement.escape);
    let Some(first) = words.first() else { return Err(statement.missing("name=value")) };
    if !first.text().contains('=') {
        let (key, value) = statement.arguments.split_first();
        if value.is_empty() {
            return Err(statement.missing("a value behind the name"));
        }
        return Ok(vec![(key.word(), value.word())]);
    }
    words.iter().map(|word| pair(statement, word)).collect()
}

fn pair(statement: &Statement<'_>, word: &Fragment<'_>) -> Result<(Word, Word), ParseError> {
    let Some((key, value)) = split_at_equals(word) else {
        let problem = Problem::MissingEquals { word: word.text().to_owned() };
        return Err(ParseError::new(problem, word.span()));
    };
    Ok((named(statement, word, &key)?, value.word()))
}

/// `name[=default] …`
pub(super) fn arguments(statement: &Statement<'_>) -> Result<Vec<ArgDeclaration>, ParseError> {
    let words = quoted_words(&statement.arguments, statement.escape);
    if words.is_empty() {
        return Err(statement.missing("a name"));
    }
    let declaration = |word: &Fragment<'_>| match split_at_equals(word) {
        Some((name, default)) => {
            Ok(ArgDeclaration { name: named(statement, word, &name)?, default: Some(default.word()) })
        }
        None => Ok(ArgDeclaration { name: word.word(), default: None }),
    };
    words.iter().map(declaration).collect()
}

fn named(statement: &Statement<'_>, word: &Fragment<'_>, name: &Fragment<'_>) -> Result<Word, ParseError> {
    if name.is_empty() {
        return Err(ParseError::new(Problem::EmptyName { keyword: statement.keyword }, word.span()));
    }
    Ok(name.word())
}

fn split_at_equals<'a>(word: &Fragment<'a>) -> Option<(Fragment<'a>, Fragment<'a>)> {
    let equals = word.text().find('=')?;
    Some((word.part(0..equals), word.skip(equals + 1)))
}
