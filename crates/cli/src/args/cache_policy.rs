//! `ARCHWAY_CACHE_POLICY`: what builds remove from the build cache without being asked.

use archway_graph::size;
use archway_store::garbage::automatic::{Policy, Space};

use super::value;
use crate::error::CliError;

const VARIABLE: &str = "ARCHWAY_CACHE_POLICY";

/// The policy that the environment says; `None`: never remove anything.
pub(crate) fn from_environment() -> Result<Option<Policy>, CliError> {
    let text = std::env::var_os(VARIABLE).unwrap_or_default();
    parse(&text.to_string_lossy())
}

fn parse(text: &str) -> Result<Option<Policy>, CliError> {
    let mut policy = Policy::default();
    if text.trim() == "off" {
        return Ok(None);
    }
    for field in text.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(format!("`{field}` is not KEY=VALUE")));
        };
        match key {
            "unused-for" if value == "off" => policy.unused_for = None,
            "unused-for" => policy.unused_for = Some(value::duration(value).map_err(wrong)?),
            "reserved-space" => policy.reserved_space = space(value)?,
            "max-used-space" => policy.max_used_space = space(value)?,
            "min-free-space" => policy.min_free_space = space(value)?,
            other => {
                let known = ["unused-for", "reserved-space", "max-used-space", "min-free-space"];
                return Err(value::unknown(VARIABLE, "key", other, &known));
            }
        }
    }
    Ok(Some(policy))
}

fn space(text: &str) -> Result<Space, CliError> {
    let percent = |digits: &str| digits.parse().ok().filter(|percent| *percent <= 100).map(Space::Percent);
    let space = match text.strip_suffix('%') {
        Some(digits) => percent(digits),
        None => size::bytes(text).map(Space::Bytes),
    };
    space.ok_or_else(|| wrong(format!("`{text}` is no amount of disk space")))
}

fn wrong(message: String) -> CliError {
    CliError::Usage {
        flag: VARIABLE,
        message,
        hint: Some(
            "want off, or limits such as max-used-space=20GB,min-free-space=10%,unused-for=720h".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_policy_changes_what_it_names() {
        assert_eq!(parse("").unwrap(), Some(Policy::default()));
        assert_eq!(parse("off").unwrap(), None);
        let policy = parse("max-used-space=20GB, min-free-space=10%,unused-for=720h").unwrap().unwrap();
        let expected = Policy {
            max_used_space: Space::Bytes(20 << 30),
            min_free_space: Space::Percent(10),
            unused_for: Some(Duration::from_secs(720 * 3600)),
            ..Policy::default()
        };
        assert_eq!(policy, expected);
        assert_eq!(parse("unused-for=off").unwrap().unwrap().unused_for, None);
        for text in ["on", "max-used=1", "min-free-space=101%", "max-used-space=lots", "unused-for=x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
