//! `--mount=` of `RUN`: comma-separated options, as CSV. Values are words: most may hold variables, so
//! what they mean is decided once these are known.

use std::fmt;

use crate::ast::{Span, Spanned, Word};
use crate::error::{ParseError, Problem};
use crate::suggestion::nearest;

/// One `--mount=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is given, in order; each key once.
    pub options: Vec<MountOption>,
    /// The whole value of the flag.
    pub span: Span,
}

/// `key=value`, or a key alone where that means yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// Which option.
    pub key: Spanned<MountKey>,
    /// Its value; `None` for a key alone.
    pub value: Option<Word>,
}

impl MountOption {
    /// The place of the value, or of the key if that is all there is.
    pub fn value_span(&self) -> Span {
        self.value.as_ref().map_or(self.key.span, |value| value.span)
    }
}

impl Mount {
    /// The option with this key.
    pub fn option(&self, key: MountKey) -> Option<&MountOption> {
        self.options.iter().find(|option| option.key.value == key)
    }

    /// The value as written, without its variables expanded.
    pub fn value(&self, key: MountKey) -> Option<&Word> {
        self.option(key)?.value.as_ref()
    }
}

/// An option of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountKey {
    /// `type`: bind, cache, tmpfs, secret or ssh.
    Type,
    /// `from`: stage, image or named context. The only value in which there are no variables.
    From,
    /// `source`, `src`
    Source,
    /// `target`, `dst`, `destination`
    Target,
    /// `readonly`, `ro`
    ReadOnly,
    /// `readwrite`, `rw`
    ReadWrite,
    /// `id`
    Id,
    /// `sharing`
    Sharing,
    /// `required`
    Required,
    /// `size`
    Size,
    /// `mode`
    Mode,
    /// `uid`
    Uid,
    /// `gid`
    Gid,
    /// `env`
    Env,
}

impl MountKey {
    /// Every spelling.
    const SPELLINGS: [(&'static str, Self); 19] = [
        ("type", Self::Type),
        ("from", Self::From),
        ("source", Self::Source),
        ("src", Self::Source),
        ("target", Self::Target),
        ("dst", Self::Target),
        ("destination", Self::Target),
        ("readonly", Self::ReadOnly),
        ("ro", Self::ReadOnly),
        ("readwrite", Self::ReadWrite),
        ("rw", Self::ReadWrite),
        ("id", Self::Id),
        ("sharing", Self::Sharing),
        ("required", Self::Required),
        ("size", Self::Size),
        ("mode", Self::Mode),
        ("uid", Self::Uid),
        ("gid", Self::Gid),
        ("env", Self::Env),
    ];

    /// The key of a spelling, which may be of any case.
    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::SPELLINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, key)| *key)
    }

    /// Its first spelling.
    pub fn name(self) -> &'static str {
        Self::SPELLINGS.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }

    /// Whether the key alone says something.
    fn is_switch(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite | Self::Required)
    }

    /// Whether two keys say something about the same thing, so that only one of them can be given.
    fn excludes(self, other: Self) -> bool {
        let is_access = |key| matches!(key, Self::ReadOnly | Self::ReadWrite);
        self == other || is_access(self) && is_access(other)
    }
}

impl fmt::Display for MountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes the value of a flag apart.
pub(crate) fn parse(word: &Word) -> Result<Mount, ParseError> {
    let mut mount = Mount { options: Vec::new(), span: word.span };
    for field in fields(word)? {
        let option = option(&field)?;
        let key = option.key.value;
        if let Some(given) = mount.options.iter().find(|given| given.key.value.excludes(key)) {
            let problem = Problem::DuplicateMountOption { key, given: given.key.value };
            return Err(ParseError::new(problem, option.key.span));
        }
        mount.options.push(option);
    }
    Ok(mount)
}

fn option(field: &Word) -> Result<MountOption, ParseError> {
    let (name, value) = match field.value.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (field.value.as_str(), None),
    };
    let key_span = part(field, 0, name.len());
    let Some(key) = MountKey::parse(name) else {
        let spellings = MountKey::SPELLINGS.iter().map(|(spelling, _)| *spelling);
        let problem = Problem::UnknownMountOption { key: name.to_owned(), nearest: nearest(name, spellings) };
        return Err(ParseError::new(problem, key_span));
    };
    if value.is_none() && !key.is_switch() {
        return Err(ParseError::new(Problem::MissingMountValue { key }, key_span));
    }
    let value = value
        .map(|value| Word { value: value.to_owned(), span: part(field, name.len() + 1, field.value.len()) });
    Ok(MountOption { key: Spanned { value: key, span: key_span }, value })
}

/// The place of a part of a word. If the word has lost quotes or escapes on the way, nobody knows where
/// its parts were, and it is the whole word's.
fn part(word: &Word, start: usize, end: usize) -> Span {
    let Span { start: first, end: last } = word.span;
    if last - first == word.value.len() { Span { start: first + start, end: first + end } } else { word.span }
}

/// The fields between commas. A field in double quotes may hold commas, and `""` for a quote.
fn fields(word: &Word) -> Result<Vec<Word>, ParseError> {
    let text = word.value.as_str();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let (value, end) = match text[at..].strip_prefix('"') {
            Some(quoted) => {
                let (value, length) = unquote(quoted)
                    .ok_or_else(|| ParseError::new(Problem::MalformedMount, part(word, at, text.len())))?;
                (value, at + 1 + length)
            }
            None => {
                let end = text[at..].find(',').map_or(text.len(), |comma| at + comma);
                (text[at..end].to_owned(), end)
            }
        };
        let misplaced = !text[at..].starts_with('"') && value.contains('"');
        if misplaced || !matches!(text[end..].chars().next(), None | Some(',')) {
            return Err(ParseError::new(Problem::MalformedMount, part(word, at, text.len())));
        }
        fields.push(Word { value, span: part(word, at, end) });
        if end == text.len() {
            return Ok(fields);
        }
        at = end + 1;
    }
}

/// The text up to the closing quote, and how long it is as written, the quote included.
fn unquote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            value.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            value.push('"');
        } else {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Word { value: text.to_owned(), span: Span { start: 100, end: 100 + text.len() } }
    }

    fn options(text: &str) -> Vec<(MountKey, Option<String>)> {
        let mount = parse(&word(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
        let option = |option: MountOption| (option.key.value, option.value.map(|value| value.value));
        mount.options.into_iter().map(option).collect()
    }

    #[test]
    fn every_spelling_is_an_option() {
        for (name, key) in MountKey::SPELLINGS {
            assert_eq!(options(&format!("{}=1", name.to_uppercase())), [(key, Some("1".to_owned()))]);
        }
    }

    #[test]
    fn options_are_csv() {
        use MountKey as K;
        let text = |text: &str| Some(text.to_owned());
        let table = [
            ("type=cache,target=/c", vec![(K::Type, text("cache")), (K::Target, text("/c"))]),
            ("type=bind,ro", vec![(K::Type, text("bind")), (K::ReadOnly, None)]),
            ("id=a=b,dst=", vec![(K::Id, text("a=b")), (K::Target, text(""))]),
            (r#""target=/a,b","id=""x""""#, vec![(K::Target, text("/a,b")), (K::Id, text("\"x\""))]),
            ("from=${X:-a}", vec![(K::From, text("${X:-a}"))]),
        ];
        for (text, expected) in table {
            assert_eq!(options(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_and_values_have_places() {
        let mount = parse(&word("type=cache,target=/c,ro")).unwrap();
        let spans: Vec<(Span, Span)> =
            mount.options.iter().map(|option| (option.key.span, option.value_span())).collect();
        let span = |start, end| Span { start, end };
        assert_eq!(spans[1], (span(111, 117), span(118, 120)));
        assert_eq!(spans[2], (span(121, 123), span(121, 123)));
        // A word that was written with quotes.
        let quoted = Word { value: "type=cache,ro".to_owned(), span: span(100, 115) };
        assert_eq!(parse(&quoted).unwrap().options[1].key.span, span(100, 115));
    }
}
