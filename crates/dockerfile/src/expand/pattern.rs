//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?`, no brackets. Unlike in a path
//! pattern both match any character.

/// Longest pattern in characters; keeps a search at (value x pattern) steps.
pub(super) const MAX_PATTERN_CHARS: usize = 1024;

/// One place of a pattern that takes exactly one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum One {
    Char(char),
    Any,
}

/// A compiled pattern: the runs between its stars. One run means no star.
#[derive(Debug)]
pub(super) struct Pattern {
    runs: Vec<Vec<One>>,
}

/// Why a pattern was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PatternError {
    /// `\` before a character that needs no escape, or at the end.
    Escape,
    /// Beyond [`MAX_PATTERN_CHARS`].
    TooLong,
}

/// How much a star takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

impl Pattern {
    /// `\` escapes `*`, `?`, `\`, and the delimiters `}` and `/`, whatever the escape directive says.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut runs = vec![Vec::new()];
        let mut chars = text.chars();
        let mut length = 0;
        while let Some(c) = chars.next() {
            length += 1;
            if length > MAX_PATTERN_CHARS {
                return Err(PatternError::TooLong);
            }
            let one = match c {
                '*' => {
                    runs.push(Vec::new());
                    continue;
                }
                '?' => One::Any,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => One::Char(escaped),
                    _ => return Err(PatternError::Escape),
                },
                other => One::Char(other),
            };
            if let Some(run) = runs.last_mut() {
                run.push(one);
            }
        }
        Ok(Self { runs })
    }

    /// The value without its part at the start that matches.
    pub(super) fn trim_start(&self, value: &str, extent: Extent) -> String {
        let value: Vec<char> = value.chars().collect();
        let end = self.match_at(&value, 0, extent).unwrap_or(0);
        value.iter().skip(end).collect()
    }

    /// The value without its part at the end that matches.
    pub(super) fn trim_end(&self, value: &str, extent: Extent) -> String {
        let backwards: Vec<char> = value.chars().rev().collect();
        let end = self.reversed().match_at(&backwards, 0, extent).unwrap_or(0);
        backwards.iter().skip(end).rev().collect()
    }

    /// The value with the first match, or every match, replaced; matches are as long as possible.
    /// An empty pattern matches before every character and at the end. `None` beyond `limit` bytes.
    pub(super) fn replace(&self, value: &str, with: &str, all: bool, limit: usize) -> Option<String> {
        let value: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let (mut copied, mut from) = (0, 0);
        while let Some((start, end)) = self.find(&value, from) {
            result.extend(value.get(copied..start).unwrap_or_default());
            // An empty match right behind the previous match is the same place, not another one.
            if end > copied || start == 0 {
                result.push_str(with);
            }
            copied = end;
            from = end.max(from + 1);
            if result.len() > limit {
                return None;
            }
            if !all || from > value.len() {
                break;
            }
        }
        result.extend(value.get(copied..).unwrap_or_default());
        (result.len() <= limit).then_some(result)
    }

    fn reversed(&self) -> Self {
        let reverse = |run: &Vec<One>| run.iter().rev().copied().collect();
        Self { runs: self.runs.iter().rev().map(reverse).collect() }
    }

    /// The leftmost match at or after `from`, as long as possible. Where the first run is first found
    /// decides: if the others do not follow from there, they follow from no later place either.
    fn find(&self, text: &[char], from: usize) -> Option<(usize, usize)> {
        let start = find_first(self.runs.first()?, text, from)?;
        Some((start, self.match_at(text, start, Extent::Longest)?))
    }

    /// The end of the match that starts at `start`. Every run but the last is taken where it first
    /// occurs, which leaves the most room for the others; the last one decides on the extent.
    fn match_at(&self, text: &[char], start: usize, extent: Extent) -> Option<usize> {
        let (first, others) = self.runs.split_first()?;
        let mut end = matches_at(first, text, start).then_some(start + first.len())?;
        let Some((last, middle)) = others.split_last() else { return Some(end) };
        for run in middle {
            end = find_first(run, text, end)? + run.len();
        }
        let found = match extent {
            Extent::Shortest => find_first(last, text, end)?,
            Extent::Longest => find_last(last, text, end)?,
        };
        Some(found + last.len())
    }
}

fn matches_at(run: &[One], text: &[char], at: usize) -> bool {
    let Some(candidate) = at.checked_add(run.len()).and_then(|end| text.get(at..end)) else { return false };
    run.iter().zip(candidate).all(|(one, c)| match one {
        One::Any => true,
        One::Char(expected) => expected == c,
    })
}

fn find_first(run: &[One], text: &[char], from: usize) -> Option<usize> {
    (from..=text.len()).find(|at| matches_at(run, text, *at))
}

fn find_last(run: &[One], text: &[char], from: usize) -> Option<usize> {
    (from..=text.len()).rev().find(|at| matches_at(run, text, *at))
}
