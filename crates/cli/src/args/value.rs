//! Values that flags share.

use std::{collections::BTreeMap, time::Duration};

use archway_oci::{Reference, reference::ImageLocation};

use crate::error::CliError;

/// A name that an image is given. A digest follows from the image and cannot be chosen.
pub(crate) fn name(flag: &'static str, text: &str) -> Result<Reference, CliError> {
    let reference: Reference = text.parse().map_err(|error| CliError::usage(flag, error))?;
    match reference.digest {
        None => Ok(reference),
        Some(_) => Err(CliError::usage(flag, format!("`{text}` has a digest, which cannot be chosen"))),
    }
}

/// A place that holds an image, or is to.
pub(crate) fn location(flag: &'static str, text: &str) -> Result<ImageLocation, CliError> {
    match meant(text) {
        Some(meant) => Err(CliError::Usage {
            flag,
            message: format!("`{text}` begins with no transport that is known"),
            hint: Some(format!("did you mean `{meant}`?")),
        }),
        None => text.parse().map_err(|error| CliError::usage(flag, error)),
    }
}

/// What somebody meant who mistyped a transport, or has it from another tool. It would be taken for the name of one of
/// Docker Hub's own images, and none of them is called so.
fn meant(text: &str) -> Option<String> {
    const KNOWN: [&str; 3] = ["oci", "oci-archive", "docker-archive"];
    let (word, rest) = text.split_once(':')?;
    let host_and_port = rest.split_once('/').is_some_and(|(port, _)| port.parse::<u16>().is_ok());
    if KNOWN.contains(&word) || word.contains(['/', '.']) || host_and_port {
        return None;
    }
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "docker" => rest.strip_prefix("//").map(str::to_owned),
        "oci-layout" | "oci-dir" | "ocilayout" => Some(format!("oci:{}", rest.trim_start_matches("//"))),
        _ => {
            let near = KNOWN.iter().find(|known| strsim::jaro_winkler(&word, known) > 0.9)?;
            Some(format!("{near}:{rest}"))
        }
    }
}

/// `KEY=VALUE`, repeated; the last of a key wins.
pub(crate) fn map(flag: &'static str, given: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    given
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(CliError::usage(flag, format!("`{text}` is not KEY=VALUE"))),
        })
        .collect()
}

/// The nearest of the known words, if one is near.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// A word that is none of the known ones.
pub(crate) fn unknown(flag: &'static str, kind: &str, word: &str, known: &[&str]) -> CliError {
    CliError::Usage {
        flag,
        message: format!("unknown {kind} `{word}`"),
        hint: Some(match nearest(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        }),
    }
}

/// `90s`, `5m`, `1h30m`, `30d`, `250ms`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a duration such as 90s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(invalid)?;
        let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(invalid()),
        };
        let part = number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(invalid()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("90", 90_000), ("90s", 90_000), ("1h30m", 5_400_000), ("30d", 2_592_000_000), ("250ms", 250)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "5x", "-1s", "1.5h", "99999999999999999999s", "m5"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_has_no_digest() {
        assert_eq!(name("--tag", "app:1").unwrap().to_string(), "docker.io/library/app:1");
        for text in [format!("app@sha256:{}", "0".repeat(64)), "UPPER".into()] {
            assert!(matches!(name("--tag", &text), Err(CliError::Usage { .. })), "{text}");
        }
    }

    #[test]
    fn a_mistyped_transport_is_no_name_of_an_image() {
        for (text, expected) in [
            ("ociarchive:x", Some("oci-archive:x")),
            ("OCI-archive:./x.tar", Some("oci-archive:./x.tar")),
            ("docker_archive:x", Some("docker-archive:x")),
            ("oci-layout://dir", Some("oci:dir")),
            ("docker://r.example/app:1", Some("r.example/app:1")),
            ("oci:dir", None),
            ("oci-archive:x", None),
            ("docker:dind", None),
            ("ociarchive:5000/app", None),
            ("ociarchive.example:x", None),
            ("r.example/oci-archives:1", None),
            ("busybox:1", None),
            ("alpine", None),
        ] {
            assert_eq!(meant(text).as_deref(), expected, "{text}");
        }
        assert!(matches!(location("SOURCE", "ociarchive:x"), Err(CliError::Usage { hint: Some(_), .. })));
        assert!(location("SOURCE", "busybox:1").is_ok());
    }

    #[test]
    fn the_nearest_word_is_offered_only_if_it_is_near() {
        assert_eq!(nearest("registy", &["registry", "oci"]), Some("registry"));
        assert_eq!(nearest("xyz", &["registry", "oci"]), None);
    }
}
