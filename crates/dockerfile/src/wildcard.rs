//! Wildcard patterns over slash-separated paths, matched by walking all possible states at once: the
//! time is (pattern x path), whatever the pattern.

/// Most tokens of one pattern.
pub(crate) const MAX_TOKENS: usize = 1023;

const WORDS: usize = (MAX_TOKENS + 1) / 64;

/// One step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Char(char),
    /// `?`: any character but a slash.
    One,
    /// `[…]`.
    Class(Class),
    /// `*`: any number of characters but slashes.
    Star,
    /// Any number of characters.
    Anything,
    /// Nothing, or anything that ends in a slash.
    Directories,
}

/// A character class. As in Go, a negated class takes a slash too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    pub(crate) fn new(negated: bool, ranges: &[(char, char)]) -> Self {
        Self { negated, ranges: ranges.to_vec() }
    }

    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// Why a pattern is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// `[` without `]`, an empty class or range, or an escape at the end.
    Syntax,
    /// More than [`MAX_TOKENS`].
    TooLong,
}

/// Reads the body of a class, behind its `[`, up to and including the `]`. `escaped` says what a character
/// behind a backslash means.
pub(crate) fn read_class(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    escaped: fn(char) -> Result<char, Malformed>,
) -> Result<Class, Malformed> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Class { negated, ranges });
        }
        let low = read_class_char(chars, escaped)?;
        let high = match chars.next_if_eq(&'-') {
            Some(_) => read_class_char(chars, escaped)?,
            None => low,
        };
        ranges.push((low, high));
    }
}

fn read_class_char(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    escaped: fn(char) -> Result<char, Malformed>,
) -> Result<char, Malformed> {
    match chars.next() {
        None | Some('-' | ']') => Err(Malformed::Syntax),
        Some('\\') => escaped(chars.next().ok_or(Malformed::Syntax)?),
        Some(c) => Ok(c),
    }
}

/// A sequence of tokens, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matcher {
    tokens: Box<[Token]>,
}

impl Matcher {
    pub(crate) fn new(tokens: Vec<Token>) -> Result<Self, Malformed> {
        if tokens.len() > MAX_TOKENS {
            return Err(Malformed::TooLong);
        }
        Ok(Self { tokens: tokens.into_boxed_slice() })
    }

    /// Whether the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.after(path.chars()).contains(self.tokens.len())
    }

    /// Whether some path below this directory could match.
    pub(crate) fn could_match_below(&self, directory: &str) -> bool {
        let states = self.after(directory.chars().chain(['/']));
        // The end of the pattern alone means only the directory with its slash, which is no path below it.
        states.iter(self.words()).any(|state| state < self.tokens.len())
    }

    fn words(&self) -> usize {
        self.tokens.len() / 64 + 1
    }

    fn after(&self, path: impl Iterator<Item = char>) -> States {
        let mut states = States::default();
        self.arrive(&mut states, 0);
        for c in path {
            let before = std::mem::take(&mut states);
            for state in before.iter(self.words()) {
                self.step(state, c, &mut states);
            }
            if states.is_empty() {
                break;
            }
        }
        states
    }

    fn step(&self, state: usize, c: char, next: &mut States) {
        let taken = match self.tokens.get(state) {
            None => false,
            Some(Token::Char(expected)) => *expected == c,
            Some(Token::One) => c != '/',
            Some(Token::Class(class)) => class.contains(c),
            Some(Token::Star) => {
                if c != '/' {
                    self.arrive(next, state);
                }
                false
            }
            Some(Token::Anything) => {
                self.arrive(next, state);
                false
            }
            Some(Token::Directories) => {
                next.insert(state);
                c == '/'
            }
        };
        if taken {
            self.arrive(next, state + 1);
        }
    }

    /// Enters a state, and those after it that can be reached without a character.
    fn arrive(&self, states: &mut States, mut state: usize) {
        states.insert(state);
        while matches!(self.tokens.get(state), Some(Token::Star | Token::Anything | Token::Directories)) {
            state += 1;
            states.insert(state);
        }
    }
}

/// Positions in a pattern, as bits.
#[derive(Debug, Clone, Copy)]
struct States {
    bits: [u64; WORDS],
}

impl Default for States {
    fn default() -> Self {
        Self { bits: [0; WORDS] }
    }
}

impl States {
    fn insert(&mut self, state: usize) {
        if let Some(word) = self.bits.get_mut(state / 64) {
            *word |= 1 << (state % 64);
        }
    }

    fn contains(&self, state: usize) -> bool {
        self.bits.get(state / 64).is_some_and(|word| word & (1 << (state % 64)) != 0)
    }

    fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    fn iter(&self, words: usize) -> impl Iterator<Item = usize> + '_ {
        self.bits.iter().take(words).enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}
