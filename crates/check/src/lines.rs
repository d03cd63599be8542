//! Lines and columns of many places in one text: as [`SourceText::position`], without counting from the
//! beginning each time.

use archway_dockerfile::{
    ast::{SourceText, Span},
    source_text::Position,
};

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(source: &'a SourceText) -> Self {
        let text = &*source.text;
        let behind_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(behind_breaks).collect() }
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset.min(self.text.len()))
    }

    /// The line and column of a byte offset.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let end = self.text.floor_char_boundary(offset);
        let before = self.text.get(start..end).unwrap_or_default();
        Position { line, column: before.chars().count() + 1 }
    }

    /// The first and last line that a span touches.
    pub(crate) fn of(&self, span: Span) -> (usize, usize) {
        (self.line(span.start), self.line(span.end.saturating_sub(1).max(span.start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        for text in ["", "a", "a\n", "é\n\nb é\nc", "\n\n"] {
            let source = SourceText::new("Dockerfile", text);
            let lines = Lines::new(&source);
            for offset in 0..text.len() + 2 {
                assert_eq!(lines.position(offset), source.position(offset), "{text:?} {offset}");
                for end in offset..text.len() + 1 {
                    let span = Span { start: offset, end };
                    assert_eq!(lines.of(span), source.lines(span), "{text:?} {span:?}");
                }
            }
        }
    }
}
