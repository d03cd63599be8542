//! The replacement of `${v//p/r}`. BuildKit gives it to Go's regular expressions, to which `$` means
//! something: `$$` is a dollar sign, `$0` and `${0}` are what matched, any other name is nothing.

use std::iter::Peekable;
use std::str::Chars;

/// A replacement, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Match,
}

impl Template {
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '$' || chars.next_if_eq(&'$').is_some() {
                literal.push(c);
                continue;
            }
            match name(&mut chars).as_deref() {
                None => literal.push('$'),
                Some("0") => parts.extend([Part::Text(std::mem::take(&mut literal)), Part::Match]),
                Some(_) => {}
            }
        }
        parts.push(Part::Text(literal));
        Self { parts }
    }

    /// Appends the replacement of one match.
    pub(super) fn write(&self, matched: &[char], to: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => to.push_str(text),
                Part::Match => to.extend(matched),
            }
        }
    }
}

/// The name behind a dollar sign, with or without braces; nothing is taken if there is none.
fn name(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut rest = chars.clone();
    let braced = rest.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if name.is_empty() || (braced && rest.next() != Some('}')) {
        return None;
    }
    *chars = rest;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn dollars_are_read_as_go_reads_them() {
        let table = [
            ("plain", "plain"),
            ("a$$b", "a$b"),
            ("<$0>", "<xy>"),
            ("<${0}>", "<xy>"),
            ("$0x", ""),
            ("${0}x", "xyx"),
            ("$1.", "."),
            ("$name-", "-"),
            ("$00", ""),
            ("a$", "a$"),
            ("a$-", "a$-"),
            ("${0", "${0"),
            ("${}", "${}"),
        ];
        for (text, expected) in table {
            let mut written = String::new();
            Template::parse(text).write(&['x', 'y'], &mut written);
            assert_eq!(written, expected, "{text}");
        }
    }
}
