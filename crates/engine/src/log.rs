//! The last lines of a step's output, kept for its error report.

use std::collections::VecDeque;

use archway_report::LOG_TAIL_LINES;

/// A longer line is cut: the tail is for people.
const MAX_LINE: usize = 2000;

/// Collects output and remembers its last [`LOG_TAIL_LINES`] lines.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    lines: VecDeque<String>,
    partial: String,
}

impl LogTail {
    /// Takes the next piece of output.
    pub(crate) fn push(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            let room = MAX_LINE.saturating_sub(self.partial.len());
            let cut = piece.trim_end_matches(['\n', '\r']);
            self.partial.push_str(&cut[..cut.floor_char_boundary(room)]);
            if piece.ends_with('\n') {
                self.end_line();
            }
        }
    }

    /// The last lines, oldest first.
    pub(crate) fn finish(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }

    fn end_line(&mut self) {
        if self.lines.len() == LOG_TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.partial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_whole_however_they_arrive() {
        let mut tail = LogTail::default();
        for piece in ["fir", "st\nsec", "ond\r\n", "\n", "unfinished"] {
            tail.push(piece);
        }
        assert_eq!(tail.finish(), ["first", "second", "", "unfinished"]);
    }

    #[test]
    fn neither_many_lines_nor_long_ones_grow_it() {
        let mut tail = LogTail::default();
        for number in 0..1000 {
            tail.push(&format!("{number}{}\n", "é".repeat(5000)));
        }
        let lines = tail.finish();
        assert_eq!(lines.len(), LOG_TAIL_LINES);
        assert!(lines[0].starts_with("980") && lines.iter().all(|line| line.len() <= MAX_LINE));
    }
}
