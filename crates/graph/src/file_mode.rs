//! `--chmod`: an octal number, or changes in the language of chmod(1).
//!
//! The language is BSD's (`setmode(3)`), which BuildKit uses, in its details too: `X` looks at the mode
//! the file had, `s` and `t` mean nothing for others alone, and nothing depends on a umask.

use std::fmt;

use serde::{Serialize, Serializer};

/// Permissions, setuid, setgid and sticky bits: all that a mode has.
const ALL: u32 = 0o7777;
/// What `a` stands for.
const STANDARD: u32 = 0o6777;
const STICKY: u32 = 0o1000;
const SET_ID: u32 = 0o6000;
const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
const EXECUTE: u32 = 0o111;
const USER: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;

/// What `--chmod` makes of the mode of a copied file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileMode {
    /// These bits, whatever was there.
    Exactly(u32),
    /// Changes, as written.
    Changes(Changes),
}

/// Changes in the language of chmod(1), in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Changes {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Set(u32),
    Clear(u32),
    /// If it is a directory, or somebody could execute the file before all changes.
    SetIfExecutable(u32),
    /// Takes the bits of one class for others.
    Copy {
        from: Class,
        /// Permission bits of the classes that get them.
        to: u32,
        operator: Operator,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operator {
    Add,
    Remove,
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    User,
    Group,
    Others,
}

/// The text is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAMode;

impl FileMode {
    /// Reads an octal number up to 7777, or changes.
    pub(crate) fn parse(text: &str) -> Result<Self, NotAMode> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= ALL);
            return mode.map(Self::Exactly).ok_or(NotAMode);
        }
        Ok(Self::Changes(Changes { text: text.to_owned(), steps: Parser::new(text).steps()? }))
    }

    /// The mode of something that had `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Exactly(mode) => *mode,
            Self::Changes(changes) => {
                let executable = is_directory || mode & EXECUTE != 0;
                changes.steps.iter().fold(mode & ALL, |mode, step| step.apply(mode, executable))
            }
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(mode) => write!(f, "{mode:o}"),
            Self::Changes(changes) => f.write_str(&changes.text),
        }
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Step {
    fn apply(self, mode: u32, executable: bool) -> u32 {
        match self {
            Self::Set(bits) => mode | bits,
            Self::Clear(bits) => mode & !bits,
            Self::SetIfExecutable(bits) => {
                if executable {
                    mode | bits
                } else {
                    mode
                }
            }
            Self::Copy { from, to, operator } => {
                let bits = mode >> from.shift() & OTHERS;
                let everywhere = bits << 6 | bits << 3 | bits;
                match operator {
                    Operator::Add => mode | everywhere & to,
                    Operator::Remove => mode & !(everywhere & to),
                    Operator::Replace => mode & !to | everywhere & to,
                }
            }
        }
    }
}

impl Class {
    fn shift(self) -> u32 {
        match self {
            Self::User => 6,
            Self::Group => 3,
            Self::Others => 0,
        }
    }
}

struct Parser<'a> {
    rest: &'a [u8],
    steps: Vec<Step>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes(), steps: Vec::new() }
    }

    /// `who operator permissions [operator permissions]…`, separated by commas.
    fn steps(mut self) -> Result<Vec<Step>, NotAMode> {
        loop {
            let who = self.who();
            loop {
                let operator = match self.next() {
                    Some(b'+') => Operator::Add,
                    Some(b'-') => Operator::Remove,
                    Some(b'=') => Operator::Replace,
                    _ => return Err(NotAMode),
                };
                self.permissions(who, operator);
                if matches!(self.rest.first(), None | Some(b',')) {
                    break;
                }
            }
            match self.next() {
                None => return Ok(self.steps),
                Some(_comma) => {}
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The bits that may be changed; 0 if nobody is named.
    fn who(&mut self) -> u32 {
        let mut who = 0;
        while let Some(first) = self.rest.first() {
            who |= match first {
                b'a' => STANDARD,
                b'u' => 0o4000 | USER,
                b'g' => 0o2000 | GROUP,
                b'o' => OTHERS,
                _ => break,
            };
            self.rest = &self.rest[1..];
        }
        who
    }

    /// The letters after an operator.
    fn permissions(&mut self, mut who: u32, operator: Operator) {
        let only_others = who != 0 && who & !OTHERS == 0;
        let (mut bits, mut if_executable) = (0, 0);
        // `=` clears once, before the first thing that is set.
        let mut pending_clear = operator == Operator::Replace;
        while let Some(letter) = self.rest.first() {
            let class = match letter {
                b'u' => Some(Class::User),
                b'g' => Some(Class::Group),
                b'o' => Some(Class::Others),
                _ => None,
            };
            if let Some(from) = class {
                if bits != 0 {
                    self.set(who, operator, bits);
                    bits = 0;
                }
                pending_clear = false;
                self.set_if_executable(who, std::mem::take(&mut if_executable));
                let everyone = USER | GROUP | OTHERS;
                let to = if who == 0 { everyone } else { who & everyone };
                self.steps.push(Step::Copy { from, to, operator });
            } else {
                match letter {
                    b'r' => bits |= READ,
                    b'w' => bits |= WRITE,
                    b'x' => bits |= EXECUTE,
                    b'X' if operator == Operator::Remove => bits |= EXECUTE,
                    b'X' => if_executable = EXECUTE,
                    b's' if only_others => {}
                    b's' => bits |= SET_ID,
                    b't' if only_others => {}
                    b't' => {
                        who |= STICKY;
                        bits |= STICKY;
                    }
                    _ => break,
                }
            }
            self.rest = &self.rest[1..];
        }
        if bits != 0 || pending_clear {
            self.set(who, operator, bits);
        }
        self.set_if_executable(who, if_executable);
    }

    fn set(&mut self, who: u32, operator: Operator, bits: u32) {
        let changed = if who == 0 { bits } else { who & bits };
        match operator {
            Operator::Add => self.steps.push(Step::Set(changed)),
            Operator::Remove => self.steps.push(Step::Clear(changed)),
            Operator::Replace => {
                self.steps.push(Step::Clear(if who == 0 { STANDARD } else { who }));
                self.steps.push(Step::Set(changed));
            }
        }
    }

    fn set_if_executable(&mut self, who: u32, bits: u32) {
        if bits != 0 {
            self.steps.push(Step::SetIfExecutable(if who == 0 { bits } else { who & bits }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, mode: u32, is_directory: bool) -> u32 {
        FileMode::parse(text).unwrap_or_else(|_| panic!("{text} is a mode")).apply(mode, is_directory)
    }

    #[test]
    fn numbers_replace_the_whole_mode() {
        let table = [("755", 0o755), ("0644", 0o644), ("4755", 0o4755), ("7777", 0o7777), ("0", 0)];
        for (text, expected) in table {
            assert_eq!(applied(text, 0o1234, false), expected, "{text}");
        }
    }

    #[test]
    fn changes_are_applied_in_order() {
        let table = [
            ("u+x", 0o644, 0o744),
            ("+x", 0o644, 0o755),
            ("a=r", 0o4755, 0o444),
            ("go-w", 0o666, 0o644),
            ("u=rwx,go=rx", 0o600, 0o755),
            ("u=rwX,go=rX", 0o600, 0o644),
            ("u=rwX,go=rX", 0o700, 0o755),
            ("go=", 0o777, 0o700),
            ("=", 0o7777, 0o1000),
            ("g=u", 0o740, 0o770),
            ("go=u-w", 0o740, 0o755),
            ("o+g", 0o750, 0o755),
            ("o-u", 0o707, 0o700),
            ("u=gx", 0o674, 0o174),
            ("u+s", 0o755, 0o4755),
            ("ug+s", 0o755, 0o6755),
            ("g-s", 0o6755, 0o4755),
            ("o+s", 0o755, 0o755),
            ("+t", 0o777, 0o1777),
            ("a-t", 0o1777, 0o777),
            ("u+x-w,o+w", 0o644, 0o546),
            ("-X", 0o755, 0o644),
            ("u-x,a+X", 0o755, 0o755),
        ];
        for (text, mode, expected) in table {
            let actual = applied(text, mode, false);
            assert_eq!(actual, expected, "{text} on {mode:o} gives {actual:o}");
        }
    }

    #[test]
    fn an_upper_case_x_always_counts_for_directories() {
        assert_eq!(applied("a+X", 0o644, true), 0o755);
        assert_eq!(applied("a+X", 0o644, false), 0o644);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "888", "77777", "1_0", "x", "u", "u+x,", "u~x", "u+y", "-1", "u+x g-w", "rwx", "+8"]
        {
            assert!(FileMode::parse(text).is_err(), "{text}");
        }
    }
}
