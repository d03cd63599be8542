//! One pattern of an ignore list.

use std::iter::Peekable;
use std::str::Chars;

use crate::wildcard::{Class, Malformed, Matcher, Token, read_class};

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// It began with `!`.
    pub(super) exception: bool,
    form: Form,
}

/// The usual forms are compared without a matcher: most patterns of most lists are one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// `docs/README.md`
    Exact(String),
    /// `**/node_modules`: this path in any directory.
    Anywhere(String),
    /// Everything else.
    Wildcard(Matcher),
}

impl Pattern {
    /// Compiles a clean pattern without its `!`.
    pub(super) fn parse(text: &str, exception: bool) -> Result<Self, Malformed> {
        Ok(Self { exception, form: Form::new(tokens(text)?)? })
    }

    /// Whether the path itself matches, whatever the directories above it.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.form {
            Form::Exact(exact) => path == exact,
            Form::Anywhere(suffix) => {
                let before = path.strip_suffix(suffix.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
            }
            Form::Wildcard(matcher) => matcher.matches(path),
        }
    }

    /// Whether a path below the directory could match.
    pub(super) fn could_match_below(&self, directory: &str) -> bool {
        match &self.form {
            Form::Exact(exact) => exact.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')),
            Form::Anywhere(_) => true,
            Form::Wildcard(matcher) => matcher.could_match_below(directory),
        }
    }
}

impl Form {
    fn new(tokens: Vec<Token>) -> Result<Self, Malformed> {
        if let Some(text) = literal(&tokens) {
            return Ok(Self::Exact(text));
        }
        if let Some((Token::Directories, rest)) = tokens.split_first()
            && let Some(text) = literal(rest)
        {
            return Ok(Self::Anywhere(text));
        }
        Matcher::new(tokens).map(Self::Wildcard)
    }
}

fn literal(tokens: &[Token]) -> Option<String> {
    let as_char = |token: &Token| match token {
        Token::Char(c) => Some(*c),
        _ => None,
    };
    tokens.iter().map(as_char).collect()
}

fn tokens(pattern: &str) -> Result<Vec<Token>, Malformed> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => double_star(&mut chars, tokens.is_empty()),
            '*' => Token::Star,
            '?' => Token::One,
            '[' => Token::Class(read_class(&mut chars, escaped_char)?),
            '\\' => escaped(chars.next().ok_or(Malformed::Syntax)?)?,
            other => Token::Char(other),
        });
    }
    Ok(tokens)
}

/// What a character behind a backslash means. Docker's matcher makes regular expressions of patterns, and
/// leaves escapes as they are: those of letters are not the letters. What would be more than one character,
/// or none, is refused, as nobody can mean it in a path.
fn escaped(c: char) -> Result<Token, Malformed> {
    const DIGITS: [(char, char); 1] = [('0', '9')];
    const WORD: [(char, char); 4] = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    const BLANK: [(char, char); 3] = [('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
    let ranges: &[(char, char)] = match c.to_ascii_lowercase() {
        'd' => &DIGITS,
        'w' => &WORD,
        's' => &BLANK,
        _ => return escaped_char(c).map(Token::Char),
    };
    Ok(Token::Class(Class::new(c.is_ascii_uppercase(), ranges)))
}

fn escaped_char(c: char) -> Result<char, Malformed> {
    match c {
        'a' => Ok('\x07'),
        'f' => Ok('\x0c'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\x0b'),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
        _ => Err(Malformed::Syntax),
    }
}

/// What `**` stands for, with the slash behind it. At the end, anything. Before plain text at the
/// start (`**.log`), any path that ends in the text. Elsewhere (`**/x*`, `a/**/b`, but also `**x*`),
/// any number of whole directories.
fn double_star(chars: &mut Peekable<Chars<'_>>, at_start: bool) -> Token {
    let slash = chars.next_if_eq(&'/').is_some();
    let mut rest = chars.clone().peekable();
    if rest.peek().is_none() {
        return Token::Anything;
    }
    let plain = rest.all(|c| !matches!(c, '*' | '?' | '[' | ']' | '\\'));
    if at_start && !slash && plain { Token::Anything } else { Token::Directories }
}

/// The shortest path with the same meaning, as Go's `path.Clean`: no `.`, no `..` that can be resolved,
/// no empty components.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => drop(parts.pop()),
                _ if rooted => {}
                _ => parts.push(".."),
            },
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
