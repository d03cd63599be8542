//! Parser directives: `# syntax=…`, `# escape=…` and `# check=…` in the first lines.

use crate::ast::{Span, Spanned};
use crate::error::{ParseError, Problem};

/// The directives of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) escape: char,
    pub(crate) syntax: Option<Spanned<String>>,
    pub(crate) check: Option<Spanned<String>>,
}

impl Directives {
    /// Reads the directives. They end with the first line that is none, be it an ordinary comment or
    /// empty. Two readers look at them in BuildKit, and each has its corners: the one for `escape`
    /// takes indented lines, knows nothing of a `#!` line and refuses a directive that is given twice;
    /// the one for `syntax` and `check` does it the other way round, and the first of two counts.
    pub(crate) fn read(text: &str) -> Result<Self, ParseError> {
        let shebang = text.starts_with("#!");
        let escape = if shebang { None } else { escape(text)? };
        let mut directives = Self { escape: escape.unwrap_or('\\'), syntax: None, check: None };
        for (name, value) in from_first_column(text, "#") {
            let slot = match name.value.as_str() {
                "syntax" => &mut directives.syntax,
                "check" => &mut directives.check,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        directives.syntax = directives.syntax.map(first_word);
        Ok(directives)
    }
}

/// The `syntax` directive of a text in whatever language, as a comment of that language: `#` or `//`.
pub(crate) fn syntax(text: &str) -> Option<Spanned<String>> {
    ["#", "//"].into_iter().find_map(|comment| {
        let mut directives = from_first_column(text, comment);
        directives.find(|(name, _)| name.value == "syntax").map(|(_, value)| first_word(value))
    })
}

/// The escape character, if a directive sets it.
fn escape(text: &str) -> Result<Option<char>, ParseError> {
    let mut seen: Vec<String> = Vec::new();
    let mut escape = None;
    for (start, line) in lines(text) {
        let Some((name, value)) = read_line(line.trim_start(), start + indentation(line), "#") else { break };
        if seen.contains(&name.value) {
            return Err(ParseError::new(Problem::DuplicateDirective { name: name.value }, name.span));
        }
        if name.value == "escape" {
            escape = Some(match value.value.as_str() {
                "\\" => '\\',
                "`" => '`',
                _ => return Err(ParseError::new(Problem::InvalidEscape { value: value.value }, value.span)),
            });
        }
        seen.push(name.value);
    }
    Ok(escape)
}

/// The directives that begin in the first column, up to the first line that is none or one of a kind
/// that was there before. A `#!` line may come first.
fn from_first_column<'a>(
    text: &'a str,
    comment: &'a str,
) -> impl Iterator<Item = (Spanned<String>, Spanned<String>)> + 'a {
    let skipped = usize::from(text.starts_with("#!"));
    let mut seen: Vec<String> = Vec::new();
    lines(text).skip(skipped).map_while(move |(start, line)| {
        let directive = read_line(line, start, comment)?;
        if seen.contains(&directive.0.value) {
            return None;
        }
        seen.push(directive.0.value.clone());
        Some(directive)
    })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |next, line| {
        let start = *next;
        *next += line.len();
        Some((start, line.trim_end_matches(['\r', '\n'])))
    })
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `# name = value`, the name in lower case and one that is known; `None` for anything else. A value of
/// blanks is one.
fn read_line(line: &str, line_start: usize, comment: &str) -> Option<(Spanned<String>, Spanned<String>)> {
    let body = line.strip_prefix(comment)?;
    let (name, value) = body.split_once('=')?;
    let name_start = line_start + (line.len() - body.len());
    let value_start = name_start + name.len() + 1;
    let mut name = trimmed(name, name_start);
    name.value.make_ascii_lowercase();
    let known = matches!(name.value.as_str(), "syntax" | "escape" | "check");
    (known && !value.is_empty()).then(|| (name, trimmed(value, value_start)))
}

fn trimmed(text: &str, start: usize) -> Spanned<String> {
    let start = start + indentation(text);
    let value = text.trim().to_owned();
    Spanned { span: Span { start, end: start + value.len() }, value }
}

/// What stands before the first space: the rest of a `syntax` line are arguments for the frontend.
fn first_word(mut value: Spanned<String>) -> Spanned<String> {
    let length = value.value.split(' ').next().unwrap_or_default().len();
    value.value.truncate(length);
    value.span.end = value.span.start + length;
    value
}
