//! Where an instruction stands: what the syntax tree leaves out and rules about style look at.

use archway_dockerfile::ast::{SourceText, Span, Spanned};

/// An instruction as written.
#[derive(Debug, Clone)]
pub(crate) struct Site<'a> {
    /// The whole instruction.
    pub(crate) span: Span,
    /// Its first word.
    pub(crate) keyword: Spanned<&'a str>,
    /// The comments above it, `#` and blanks removed, top first.
    pub(crate) comments: Vec<Spanned<&'a str>>,
}

impl<'a> Site<'a> {
    /// The instruction at `span`. `header` is where the directives end.
    pub(crate) fn new(source: &'a SourceText, span: Span, header: usize) -> Self {
        let text = source.slice(span);
        let keyword = text.split(char::is_whitespace).next().unwrap_or_default();
        Self {
            span,
            keyword: Spanned {
                value: keyword,
                span: Span { start: span.start, end: span.start + keyword.len() },
            },
            comments: comments_above(&source.text, span.start, header),
        }
    }

    /// The description in the comments above: `# NAME what it is for`.
    pub(crate) fn description(&self, name: &str) -> Option<&'a str> {
        self.comments.iter().find_map(|comment| comment.value.strip_prefix(name)?.strip_prefix(' '))
    }
}

/// As in BuildKit: empty lines between do not matter, an empty comment separates.
fn comments_above(text: &str, start: usize, header: usize) -> Vec<Spanned<&str>> {
    let mut comments = Vec::new();
    let above = text.get(header..start).unwrap_or_default();
    let mut position = start;
    // The last piece is the indentation of the instruction itself.
    for line in above.split_inclusive('\n').rev() {
        position -= line.len();
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        let Some(comment) = content.strip_prefix('#').map(str::trim).filter(|comment| !comment.is_empty())
        else {
            break;
        };
        let indentation = line.find(comment).unwrap_or_default();
        let start = position + indentation;
        comments.push(Spanned { value: comment, span: Span { start, end: start + comment.len() } });
    }
    comments.reverse();
    comments
}

/// Where the directives in the first lines end.
pub(crate) fn header_end(text: &str) -> usize {
    let is_directive = |line: &str| {
        let Some(comment) = line.trim_start().strip_prefix('#') else { return false };
        let Some((name, value)) = comment.split_once('=') else { return comment.starts_with('!') };
        let name = name.trim().to_ascii_lowercase();
        matches!(name.as_str(), "syntax" | "escape" | "check") && !value.trim().is_empty()
    };
    text.split_inclusive('\n').take_while(|line| is_directive(line)).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments(text: &'static str) -> Vec<&'static str> {
        let start = text.find("ARG").unwrap();
        let found = comments_above(text, start, header_end(text));
        assert!(found.iter().all(|comment| &text[comment.span.start..comment.span.end] == comment.value));
        found.iter().map(|comment| comment.value).collect()
    }

    #[test]
    fn comments_belong_to_the_instruction_below() {
        for (text, expected) in [
            ("ARG a", &[][..]),
            ("# one\n#two\n  ARG a", &["one", "two"]),
            ("# one\n\n\t# two\r\nARG a", &["one", "two"]),
            ("# one\n#\n# two\nARG a", &["two"]),
            ("FROM x\n# two\nARG a", &["two"]),
            ("# check=skip=all\n# one\nARG a", &["one"]),
            ("# syntax=a\n# escape=`\nARG a", &[]),
            ("#!/usr/bin/env x\n# one\nARG a", &["one"]),
            ("# one\n# check=skip=all\nARG a", &["one", "check=skip=all"]),
            ("RUN <<#\nx\n#\nARG a", &[]),
        ] {
            assert_eq!(comments(text), expected, "{text}");
        }
    }

    #[test]
    fn a_description_names_what_it_describes() {
        let source = SourceText::new("Dockerfile", "# VERSION of the tool\n# VERSIONS no\nARG VERSION\n");
        let start = source.text.find("ARG").unwrap();
        let site = Site::new(&source, Span { start, end: start + 11 }, 0);
        assert_eq!((site.keyword.value, site.description("VERSION")), ("ARG", Some("of the tool")));
        assert_eq!(site.description("OTHER"), None);
    }
}
