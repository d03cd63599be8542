//! Logical lines: what remains of a Dockerfile's lines once comments are dropped and continuations
//! joined, with the way back to the places in the file.

use std::ops::Range;

use crate::ast::{Span, Word};
use crate::error::{ParseError, Problem};

/// One instruction's text on one line.
#[derive(Debug, Default)]
pub(crate) struct LogicalLine {
    text: String,
    /// Where each joined piece begins: in `text`, and in the file.
    pieces: Vec<(usize, usize)>,
}

impl LogicalLine {
    fn push(&mut self, text: &str, place: usize) {
        self.pieces.push((self.text.len(), place));
        self.text.push_str(text);
    }

    /// The whole line without surrounding spaces.
    pub(crate) fn fragment(&self) -> Fragment<'_> {
        Fragment { line: self, range: 0..self.text.len() }.trim()
    }

    fn place(&self, offset: usize) -> usize {
        let piece = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        self.pieces.get(piece).map_or(0, |(start, place)| place + (offset - start))
    }
}

/// A part of a logical line.
#[derive(Debug, Clone)]
pub(crate) struct Fragment<'a> {
    line: &'a LogicalLine,
    range: Range<usize>,
}

impl<'a> Fragment<'a> {
    pub(crate) fn text(&self) -> &'a str {
        self.line.text.get(self.range.clone()).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Its place in the file, with any comment between its pieces.
    pub(crate) fn span(&self) -> Span {
        let start = self.line.place(self.range.start);
        let end = match self.range.is_empty() {
            true => start,
            false => self.line.place(self.range.end - 1) + 1,
        };
        Span { start, end }
    }

    /// As a word of the syntax tree.
    pub(crate) fn word(&self) -> Word {
        Word { value: self.text().to_owned(), span: self.span() }
    }

    /// A part of it by byte offsets, which must lie between characters.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let end = self.range.end;
        let clamp = |offset: usize| self.range.start.saturating_add(offset).min(end);
        Self { line: self.line, range: clamp(range.start)..clamp(range.end).max(clamp(range.start)) }
    }

    /// From a byte offset to the end.
    pub(crate) fn skip(&self, offset: usize) -> Self {
        self.part(offset..self.range.len())
    }

    /// With everything that follows it on its line, blanks at the end too.
    pub(crate) fn to_line_end(&self) -> Self {
        Self { line: self.line, range: self.range.start..self.line.text.len() }
    }

    pub(crate) fn trim(&self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.part(start..start.max(text.trim_end().len()))
    }

    /// The text up to the first blank, and what follows the blanks.
    pub(crate) fn split_first(&self) -> (Self, Self) {
        let text = self.text();
        let end = text.find(is_blank).unwrap_or(text.len());
        let rest = text.get(end..).unwrap_or_default();
        let next = end + (rest.len() - rest.trim_start_matches(is_blank).len());
        (self.part(0..end), self.skip(next))
    }

    /// The parts between blanks. Quotes mean nothing here.
    pub(crate) fn split_blanks(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut rest = self.part(0..self.range.len());
        loop {
            let (first, others) = rest.split_first();
            if !first.is_empty() {
                parts.push(first);
            }
            if others.is_empty() {
                return parts;
            }
            rest = others;
        }
    }
}

/// The characters that separate arguments.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Cuts a text into logical lines.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    position: usize,
    escape: char,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str, escape: char) -> Self {
        Self { text, position: 0, escape }
    }

    /// The next line that is neither empty nor a comment, with its continuations. Comments and empty
    /// lines inside do not end it; a comment does not count its own continuation.
    pub(crate) fn next_line(&mut self) -> Result<Option<LogicalLine>, ParseError> {
        let mut line = LogicalLine::default();
        while let Some((start, physical)) = self.next_physical() {
            let content = physical.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            // Only the first piece loses its indentation.
            let kept = if line.pieces.is_empty() { content } else { physical };
            let place = start + (physical.len() - kept.len());
            match self.without_continuation(kept) {
                Some(continued) => line.push(continued, place),
                None => {
                    line.push(kept, place);
                    break;
                }
            }
        }
        if line.pieces.is_empty() {
            return Ok(None);
        }
        if line.fragment().is_empty() {
            let start = line.place(0);
            return Err(ParseError::new(Problem::DanglingContinuation, Span { start, end: start + 1 }));
        }
        Ok(Some(line))
    }

    /// The lines up to one that is the delimiter alone: their place as written, and where the
    /// delimiter ends. `None` if the text ends before.
    pub(crate) fn heredoc_body(&mut self, delimiter: &str, strip_tabs: bool) -> Option<(Span, usize)> {
        let start = self.position;
        while let Some((end, physical)) = self.next_physical() {
            let candidate = if strip_tabs { physical.trim_start_matches('\t') } else { physical };
            if candidate == delimiter {
                return Some((Span { start, end }, end + physical.len()));
            }
        }
        None
    }

    /// The next line of the file without its ending, and where it starts.
    fn next_physical(&mut self) -> Option<(usize, &'a str)> {
        let start = self.position;
        let line = self.text.get(start..)?.split_inclusive('\n').next()?;
        self.position += line.len();
        Some((start, line.trim_end_matches(['\r', '\n'])))
    }

    /// The line without the escape character at its end, if that is there and not itself escaped.
    fn without_continuation<'t>(&self, line: &'t str) -> Option<&'t str> {
        let rest = line.trim_end_matches([' ', '\t']).strip_suffix(self.escape)?;
        (!rest.ends_with(self.escape)).then_some(rest)
    }
}
