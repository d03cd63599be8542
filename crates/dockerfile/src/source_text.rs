//! The text of a Dockerfile: from byte offsets to lines and columns.

use thiserror::Error;

use crate::ast::{SourceText, Span};
use crate::diagnostic::Diagnostic;

/// A place as people count: from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters (Unicode scalar values), from 1.
    pub column: usize,
}

/// A file with bytes that are no UTF-8 where they matter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the file is not UTF-8")]
pub struct NotUtf8 {
    /// The text, with U+FFFD for what could not be read.
    pub text: SourceText,
    /// The first such place in it.
    pub span: Span,
}

impl NotUtf8 {
    /// The error as a renderer shows it.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            message: self.to_string(),
            span: self.span,
            label: "no character".to_owned(),
            hint: Some("save the file in UTF-8; only comments may be in another encoding".to_owned()),
        }
    }
}

impl SourceText {
    /// The text of a file. Comments are not always in UTF-8, and mean nothing, so they may hold
    /// anything.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, NotUtf8> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(Self::new(name, text));
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let mut text = String::new();
        let mut broken = None;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_comment = line.trim_ascii_start().starts_with(b"#");
            for chunk in line.utf8_chunks() {
                text.push_str(chunk.valid());
                if !chunk.invalid().is_empty() {
                    let start = text.len();
                    text.push(char::REPLACEMENT_CHARACTER);
                    broken = broken.or((!is_comment).then_some(Span { start, end: text.len() }));
                }
            }
        }
        let text = Self { name: name.into(), text: text.into() };
        match broken {
            None => Ok(text),
            Some(span) => Err(NotUtf8 { text, span }),
        }
    }

    /// A text under the name to show for it. A leading byte order mark is dropped; all spans count
    /// from the byte after it.
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { name: name.into(), text: text.into() }
    }

    /// The line and column of a byte offset. An offset beyond the end, or inside a character, counts
    /// as the nearest place before it.
    pub fn position(&self, offset: usize) -> Position {
        let before = self.text.get(..self.floor(offset)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Position { line: before.matches('\n').count() + 1, column }
    }

    /// The first and last line (from 1) that a span touches.
    pub fn lines(&self, span: Span) -> (usize, usize) {
        let last = span.end.saturating_sub(1).max(span.start);
        (self.position(span.start).line, self.position(last).line)
    }

    /// The span from the first word of one line to the end of another one, both from 1; `None` if they are not there.
    pub fn span_of_lines(&self, first: u32, last: u32) -> Option<Span> {
        let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last.max(first)).ok()?);
        let mut offset = 0;
        let mut start = None;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            if index + 1 == first {
                start = Some(offset + (line.len() - line.trim_start().len()));
            }
            if index + 1 == last {
                let span = Span { start: start?, end: offset + line.trim_end().len() };
                return (span.start < span.end).then_some(span);
            }
            offset += line.len();
        }
        None
    }

    /// A line by its number from 1, without its line ending.
    pub fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?)
    }

    /// The text of a span; empty if the span is not one of this text.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comments_may_be_in_another_encoding() {
        let table: [(&[u8], &str, Option<&str>); 5] = [
            ("FROM é".as_bytes(), "FROM é", None),
            (b"\xef\xbb\xbf# \xe9\n  #\xff\xfe\nFROM a", "# \u{fffd}\n  #\u{fffd}\u{fffd}\nFROM a", None),
            (b"FROM a\nRUN b\xe9c\xff", "FROM a\nRUN b\u{fffd}c\u{fffd}", Some("b\u{fffd}")),
            (b"\xef\xbb\xbfFROM b\xe9", "FROM b\u{fffd}", Some("b\u{fffd}")),
            (b"#\xe9\nFROM b\xe9", "#\u{fffd}\nFROM b\u{fffd}", Some("b\u{fffd}")),
        ];
        for (bytes, expected, broken) in table {
            let (text, found) = match SourceText::from_bytes("Dockerfile", bytes) {
                Ok(text) => (text, None),
                Err(error) => (error.text, Some(error.span)),
            };
            assert_eq!(&*text.text, expected, "{bytes:?}");
            let marked = found.map(|span| text.slice(Span { start: span.start - 1, ..span }).to_owned());
            assert_eq!(marked.as_deref(), broken, "{bytes:?}");
        }
    }
}
