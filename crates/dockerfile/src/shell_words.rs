//! The words of a shell command as written, which is enough to see its here-documents.

use std::ops::Range;

use crate::expand::{MAX_NESTING, name_length};

/// The words as byte ranges. `None` if a quote or brace is not closed or a `${…}` is one that
/// BuildKit's lexer refuses: then it looks for no here-documents, and neither must we. The escape
/// character is `\` here whatever the directive says. Blanks behind `<<` do not end a word.
pub(crate) fn shell_words(text: &str) -> Option<Vec<Range<usize>>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    while let Some(c) = scanner.peek() {
        if c.is_whitespace() {
            words.extend(start.take().map(|start| start..scanner.at));
            scanner.advance(c);
            continue;
        }
        start.get_or_insert(scanner.at);
        if scanner.take("<<") {
            while let Some(blank @ (' ' | '\t' | '\r')) = scanner.peek() {
                scanner.advance(blank);
            }
        } else {
            scanner.unit(c)?;
        }
    }
    words.extend(start.map(|start| start..text.len()));
    Some(words)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self, c: char) {
        self.at += c.len_utf8();
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.advance(c);
        Some(c)
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// A quoted text, a `${…}`, an escape, or the character `c`, which comes next.
    fn unit(&mut self, c: char) -> Option<()> {
        self.advance(c);
        match c {
            '\'' => self.at += self.rest().find('\'')? + 1,
            '"' => self.double_quoted()?,
            '\\' => drop(self.next()),
            '$' if self.take("{") => self.braces()?,
            _ => {}
        }
        Some(())
    }

    fn double_quoted(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                '"' => return Some(()),
                '\\' => drop(self.next()),
                '$' if self.take("{") => self.braces()?,
                _ => {}
            }
        }
    }

    /// What follows `${`.
    fn braces(&mut self) -> Option<()> {
        if self.depth == MAX_NESTING {
            return None;
        }
        self.depth += 1;
        self.at += name_length(self.rest());
        match self.next()? {
            '}' => {}
            ':' if !matches!(self.next()?, '-' | '+' | '?') => return None,
            ':' | '-' | '+' | '?' | '#' | '%' => self.until('}')?,
            '/' => {
                self.take("/");
                self.until('/')?;
                self.until('}')?;
            }
            _ => return None,
        }
        self.depth -= 1;
        Some(())
    }

    fn until(&mut self, stop: char) -> Option<()> {
        loop {
            let c = self.peek()?;
            if c == stop {
                self.advance(c);
                return Some(());
            }
            self.unit(c)?;
        }
    }
}
