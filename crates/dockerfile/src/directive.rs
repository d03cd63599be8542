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
    /// empty. A `#!` line may come first; as in BuildKit, `escape` then means nothing.
    pub(crate) fn read(text: &str) -> Result<Self, ParseError> {
        let mut directives = Self { escape: '\\', syntax: None, check: None };
        let mut escape: Option<Spanned<String>> = None;
        let shebang = text.starts_with("#!");
        let mut start = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let line_start = start;
            start += line.len();
            if index == 0 && shebang {
                continue;
            }
            let Some((name, value)) = read_line(line, line_start) else { break };
            let slot = match name.value.as_str() {
                "escape" => &mut escape,
                "syntax" => &mut directives.syntax,
                "check" => &mut directives.check,
                _ => break,
            };
            if slot.is_some() {
                return Err(ParseError::new(Problem::DuplicateDirective { name: name.value }, name.span));
            }
            *slot = Some(value);
        }
        if let Some(syntax) = &mut directives.syntax {
            let reference = syntax.value.split(' ').next().unwrap_or_default().len();
            syntax.value.truncate(reference);
            syntax.span.end = syntax.span.start + reference;
        }
        if let Some(escape) = escape.filter(|_| !shebang) {
            directives.escape = match escape.value.as_str() {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    return Err(ParseError::new(Problem::InvalidEscape { value: escape.value }, escape.span));
                }
            };
        }
        Ok(directives)
    }
}

/// `# name = value`, the name in lower case; `None` for anything else.
fn read_line(line: &str, line_start: usize) -> Option<(Spanned<String>, Spanned<String>)> {
    let comment = line.trim_start().strip_prefix('#')?;
    let (name, value) = comment.split_once('=')?;
    let name_start = line_start + (line.len() - comment.len());
    let value_start = name_start + name.len() + 1;
    let mut name = trimmed(name, name_start);
    let value = trimmed(value, value_start);
    let is_name = name.value.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.value.chars().all(|c| c.is_ascii_alphanumeric());
    name.value.make_ascii_lowercase();
    (is_name && !value.value.is_empty()).then_some((name, value))
}

fn trimmed(text: &str, start: usize) -> Spanned<String> {
    let start = start + (text.len() - text.trim_start().len());
    let value = text.trim().to_owned();
    Spanned { span: Span { start, end: start + value.len() }, value }
}
