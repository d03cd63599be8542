//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?`, no brackets. Unlike in a path
//! pattern both match a slash; as in BuildKit, and not in a shell, neither matches a line break.

use super::template::Template;

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

    /// The value with the first match, which is as long as possible, replaced. `None` beyond `limit`
    /// bytes.
    pub(super) fn replace_first(&self, value: &str, with: &str, limit: usize) -> Option<String> {
        let value: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut copied = 0;
        if let Some((start, end)) = self.find(&value, 0) {
            result.extend(value.get(..start).unwrap_or_default());
            result.push_str(with);
            copied = end;
        }
        result.extend(value.get(copied..).unwrap_or_default());
        (result.len() <= limit).then_some(result)
    }

    /// The value with every match replaced; matches are as long as possible. An empty pattern matches
    /// before every character and at the end. `None` beyond `limit` bytes.
    pub(super) fn replace_all(&self, value: &str, with: &Template, limit: usize) -> Option<String> {
        let value: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let (mut copied, mut from) = (0, 0);
        while let Some((start, end)) = self.find(&value, from) {
            result.extend(value.get(copied..start).unwrap_or_default());
            // An empty match right behind the previous match is the same place, not another one.
            if end > copied || start == 0 {
                with.write(value.get(start..end).unwrap_or_default(), &mut result);
            }
            copied = end;
            from = end.max(from + 1);
            if result.len() > limit {
                return None;
            }
            if from > value.len() {
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

    /// The leftmost match at or after `from`, as long as possible.
    fn find(&self, text: &[char], mut from: usize) -> Option<(usize, usize)> {
        let first = self.runs.first()?;
        loop {
            let start = find_first(first, text, from, text.len())?;
            if let Some(end) = self.match_at(text, start, Extent::Longest) {
                return Some((start, end));
            }
            // What does not follow from here follows from no other place before the line's end.
            from = (line_end(text, start + first.len()) + 1).saturating_sub(first.len()).max(start + 1);
        }
    }

    /// The end of the match that starts at `start`. Every run but the last is taken where it first
    /// occurs, which leaves the most room for the others; the last one decides on the extent.
    fn match_at(&self, text: &[char], start: usize, extent: Extent) -> Option<usize> {
        let (first, others) = self.runs.split_first()?;
        let mut end = matches_at(first, text, start).then_some(start + first.len())?;
        let Some((last, middle)) = others.split_last() else { return Some(end) };
        for run in middle {
            end = find_first(run, text, end, line_end(text, end))? + run.len();
        }
        let furthest = line_end(text, end);
        let found = match extent {
            Extent::Shortest => find_first(last, text, end, furthest)?,
            Extent::Longest => find_last(last, text, end, furthest)?,
        };
        Some(found + last.len())
    }
}

/// Where a star that begins at `from` has to stop: at the next line break, or at the end.
fn line_end(text: &[char], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn matches_at(run: &[One], text: &[char], at: usize) -> bool {
    let Some(candidate) = at.checked_add(run.len()).and_then(|end| text.get(at..end)) else { return false };
    run.iter().zip(candidate).all(|(one, c)| match one {
        One::Any => *c != '\n',
        One::Char(expected) => expected == c,
    })
}

/// The first start from `from` to `furthest`, both included.
fn find_first(run: &[One], text: &[char], from: usize, furthest: usize) -> Option<usize> {
    (from..=furthest).find(|at| matches_at(run, text, *at))
}

fn find_last(run: &[One], text: &[char], from: usize, furthest: usize) -> Option<usize> {
    (from..=furthest).rev().find(|at| matches_at(run, text, *at))
}
