//! Here-documents: finding their operators in an instruction, and what a `RUN` with some of them runs.

use std::borrow::Cow;
use std::ops::Range;

use crate::ast::{Command, Run, Script};
use crate::shell_words::shell_words;

/// `<<EOF` as it stands in an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    /// The delimiter, unquoted.
    pub(crate) name: String,
    /// Whether any part of the delimiter is quoted. As in BuildKit, an escape is no quote.
    pub(crate) quoted: bool,
    /// `<<-`
    pub(crate) strip_tabs: bool,
    pub(crate) fd: u32,
    /// Its place in the text that was searched.
    pub(crate) range: Range<usize>,
}

/// The operators in the text of an instruction. Text that is no sequence of shell words (an unmatched
/// quote, say) has none: it is the shell's business to complain.
pub(crate) fn operators(text: &str) -> Vec<Operator> {
    let Some(words) = shell_words(text) else { return Vec::new() };
    words.into_iter().filter_map(|range| operator(text.get(range.clone())?, range)).collect()
}

impl Run {
    /// What the shell is given, or the program to execute; `None` in exec form.
    pub fn script(&self) -> Option<Script<'_>> {
        let Command::Shell(line) = &self.command else { return None };
        let Some(first) = self.heredocs.first() else { return Some(Script::Shell(Cow::Borrowed(line))) };
        if self.heredocs.len() == 1 && operators(line).iter().any(|only| only.range == (0..line.len())) {
            return Some(match first.body.starts_with("#!") {
                true => Script::Program(first),
                false => Script::Shell(Cow::Borrowed(first.body.as_str())),
            });
        }
        let documents = self.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.body, heredoc.name));
        Some(Script::Shell(Cow::Owned(line.clone() + &documents.collect::<String>())))
    }
}

/// `[fd]<<[-][blanks]delimiter`
fn operator(word: &str, range: Range<usize>) -> Option<Operator> {
    let (fd, rest) = word.split_once("<<")?;
    let fd = match fd {
        "" => 0,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let delimiter = rest.trim_start();
    if delimiter.contains('<') {
        return None;
    }
    let (name, quoted) = unquote(delimiter);
    (!name.is_empty()).then_some(Operator { name, quoted, strip_tabs, fd, range })
}

/// A delimiter without quotes and escapes, and whether it had quotes. Variables stay as they are.
fn unquote(delimiter: &str) -> (String, bool) {
    let mut name = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = delimiter.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                quoted = true;
            }
            (Some(open), _) if c == open => quote = None,
            (None, '\\') => name.extend(chars.next()),
            (Some('"'), '\\') => {
                name.push(chars.next_if(|next| matches!(next, '"' | '$' | '\\')).unwrap_or(c))
            }
            _ => name.push(c),
        }
    }
    (name, quoted)
}
