//! The arguments of an instruction: quoted words, and the exec form.

use std::borrow::Cow;

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
    let json = without_lone_surrogates(text);
    let Ok(elements) = serde_json::from_str::<Vec<serde_json::Value>>(&json) else { return Ok(None) };
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

/// JSON in which an escape of half a surrogate pair, which Go reads as U+FFFD and other readers refuse,
/// is one of U+FFFD. Nothing changes its place.
fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut replaced = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + found;
        let pair =
            unicode_escape(json, start).map(|unit| (unit, unicode_escape(json, start + UNICODE_ESCAPE)));
        at = match pair {
            Some((0xd800..=0xdbff, Some(0xdc00..=0xdfff))) => start + 2 * UNICODE_ESCAPE,
            Some((0xd800..=0xdfff, _)) => {
                replaced.push_str(json.get(copied..start).unwrap_or_default());
                replaced.push_str("\\ufffd");
                copied = start + UNICODE_ESCAPE;
                copied
            }
            // The backslash and what it escapes, which may be a backslash.
            _ => {
                start
                    + 1
                    + json.get(start + 1..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
            }
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    replaced.push_str(json.get(copied..).unwrap_or_default());
    Cow::Owned(replaced)
}

/// Length of `\u0041`.
const UNICODE_ESCAPE: usize = 6;

/// The UTF-16 unit that an escape at this place stands for.
fn unicode_escape(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + UNICODE_ESCAPE)?.strip_prefix("\\u")?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
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
