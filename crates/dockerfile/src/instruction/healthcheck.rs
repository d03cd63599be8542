//! `HEALTHCHECK`.

use super::Statement;
use crate::ast::{Command, Healthcheck};
use crate::duration::parse_nanoseconds;
use crate::error::{ParseError, Problem};
use crate::line::Fragment;
use crate::word::exec_form;

/// Docker refuses shorter times, but 0 stands for the default.
const SHORTEST_NANOSECONDS: u64 = 1_000_000;

pub(super) fn healthcheck(statement: &Statement<'_>) -> Result<Healthcheck, ParseError> {
    let (word, rest) = statement.arguments.split_first();
    match word.text().to_ascii_uppercase().as_str() {
        "" => Err(statement.missing("CMD or NONE")),
        "NONE" => {
            let excess = if rest.is_empty() { statement.flags.first_span() } else { Some(rest.span()) };
            match excess {
                Some(span) => Err(ParseError::new(Problem::HealthcheckNoneArguments, span)),
                None => Ok(Healthcheck::None),
            }
        }
        "CMD" => Ok(Healthcheck::Cmd {
            command: command(statement, &rest)?,
            interval: nanoseconds(statement, "interval")?,
            timeout: nanoseconds(statement, "timeout")?,
            start_period: nanoseconds(statement, "start-period")?,
            start_interval: nanoseconds(statement, "start-interval")?,
            retries: retries(statement)?,
        }),
        _ => {
            let problem = Problem::UnknownHealthcheck { word: word.text().to_owned() };
            Err(ParseError::new(problem, word.span()))
        }
    }
}

fn command(statement: &Statement<'_>, text: &Fragment<'_>) -> Result<Command, ParseError> {
    let keyword = statement.keyword;
    let exec = exec_form(text).map_err(|_| ParseError::new(Problem::NotStrings { keyword }, text.span()))?;
    match exec {
        None if text.is_empty() => Err(statement.missing("a command behind CMD")),
        Some(words) if words.is_empty() => Err(statement.missing("a program behind CMD")),
        Some(words) => Ok(Command::Exec(words.into_iter().map(|word| word.value).collect())),
        None => Ok(Command::Shell(text.text().to_owned())),
    }
}

/// A duration; `None` where the default applies: without the flag, empty, or 0.
fn nanoseconds(statement: &Statement<'_>, flag: &'static str) -> Result<Option<u64>, ParseError> {
    let Some(word) = statement.flags.value(flag).filter(|word| !word.value.is_empty()) else {
        return Ok(None);
    };
    match parse_nanoseconds(&word.value) {
        Some(0) => Ok(None),
        Some(time) if time >= SHORTEST_NANOSECONDS => Ok(Some(time)),
        _ => {
            let expected = "a duration of 1ms or more, such as 30s or 1m30s";
            let problem = Problem::InvalidFlagValue { flag, value: word.value, expected };
            Err(ParseError::new(problem, word.span))
        }
    }
}

/// A count; `None` where the default applies: without the flag, empty, or 0.
fn retries(statement: &Statement<'_>) -> Result<Option<u64>, ParseError> {
    let flag = "retries";
    let Some(word) = statement.flags.value(flag).filter(|word| !word.value.is_empty()) else {
        return Ok(None);
    };
    match word.value.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(count) if i32::try_from(count).is_ok() => Ok(Some(count.into())),
        _ => {
            let problem = Problem::InvalidFlagValue { flag, value: word.value, expected: "a count" };
            Err(ParseError::new(problem, word.span))
        }
    }
}
