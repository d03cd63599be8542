//! The arguments of an instruction: quoted words, and the exec form.

use crate::ast::Word;
use crate::line::Fragment;

/// The words of `ENV`, `LABEL` and `ARG`: separated by spaces outside quotes, and otherwise as written.
/// An escape character at the very end is dropped.
pub(crate) fn quoted_words<'a>(arguments: &Fragment<'a>, escape: char) -> Vec<Fragment<'a>> {
    let text = arguments.text();
    let mut words = Vec::new();
    let mut start = None;
    let mut end = 0;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| arguments.part(start..end)));
            continue;
        }
        end = at + c.len_utf8();
        if c == escape && quote != Some('\'') {
            match chars.next() {
                Some((at, escaped)) => end = at + escaped.len_utf8(),
                None => {
                    end = at;
                    break;
                }
            }
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '\'' | '"') {
            quote = Some(c);
        }
        start.get_or_insert(at);
    }
    words.extend(start.map(|start| arguments.part(start..end)));
    words
}

/// A JSON array with something else than strings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStrings;

/// The elements of a JSON array of strings. `None` if the text is no JSON array: then it is meant for
/// the shell, as `[ -f x ]` may be.
pub(crate) fn exec_form(arguments: &Fragment<'_>) -> Result<Option<Vec<Word>>, NotStrings> {
    let text = arguments.text();
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(elements) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let places = string_literals(arguments);
    let word = |(element, place): (serde_json::Value, Fragment<'_>)| match element {
        serde_json::Value::String(value) => Ok(Word { value, span: place.span() }),
        _ => Err(NotStrings),
    };
    if places.len() != elements.len() {
        return Err(NotStrings);
    }
    elements.into_iter().zip(places).map(word).collect::<Result<_, _>>().map(Some)
}

/// What stands between the double quotes of valid JSON.
fn string_literals<'a>(json: &Fragment<'a>) -> Vec<Fragment<'a>> {
    let mut literals = Vec::new();
    let mut open = None;
    let mut chars = json.text().char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, open) {
            ('"', None) => open = Some(at + 1),
            ('"', Some(start)) => {
                literals.push(json.part(start..at));
                open = None;
            }
            ('\\', Some(_)) => drop(chars.next()),
            _ => {}
        }
    }
    literals
}
