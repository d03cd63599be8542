//! `--builder`: who builds which platform.

use std::sync::Arc;

use archway_buildkit::{Endpoint, Node, Pool, config::EMBEDDED};
use archway_oci::Platform;
use archway_orchestrator::builder::{Builder, Builders, NamedPool};

use crate::{builders, error::CliError};

const FLAG: &str = "--builder";

/// Reads `NAME` and `PLATFORM=NAME`. `known` finds the builders that have a name, `current` the one that is used
/// for platforms that no value is about.
pub(super) fn parse(
    values: &[String],
    platforms: &[Platform],
    known: &dyn Fn(&str) -> Result<Pool, CliError>,
    current: &dyn Fn() -> Result<String, CliError>,
) -> Result<Builders, CliError> {
    let mut builders = Builders::default();
    let mut default = None;
    for value in values {
        // `=` may be in a path, but not before `://`.
        let (platform, name) = match value.split_once('=') {
            Some((platform, name)) if !platform.contains("://") => (Some(platform), name),
            _ => (None, value.as_str()),
        };
        let builder = find(name, known)?;
        let Some(platform) = platform else {
            if default.replace(builder).is_some() {
                return Err(CliError::usage(FLAG, "there are two for all platforms"));
            }
            continue;
        };
        let platform: Platform = platform.parse().map_err(|error| CliError::platform(FLAG, &error))?;
        if !platforms.contains(&platform) {
            return Err(CliError::usage(FLAG, format!("{platform} is not one of the platforms to build")));
        }
        if builders.by_platform.insert(platform.clone(), builder).is_some() {
            return Err(CliError::usage(FLAG, format!("there are two for {platform}")));
        }
    }
    builders.default = match default {
        Some(builder) => builder,
        None if platforms.iter().all(|platform| builders.by_platform.contains_key(platform)) => {
            Builder::default()
        }
        None => find(&current()?, known)?,
    };
    Ok(builders)
}

fn find(name: &str, known: &dyn Fn(&str) -> Result<Pool, CliError>) -> Result<Builder, CliError> {
    if name == EMBEDDED {
        return Ok(Builder::Embedded);
    }
    let pool = match name.contains("://") {
        true => {
            let endpoint: Endpoint =
                name.parse().map_err(|error| CliError::usage(FLAG, format!("{error}")))?;
            Pool { nodes: vec![Node { endpoint, platforms: Vec::new(), tls: None, allow_insecure: false }] }
        }
        false => known(name)?,
    };
    Ok(Builder::Pool(Arc::new(NamedPool { name: name.to_owned(), pool })))
}

/// The daemons of the configured builder of this name.
pub(super) fn configured(name: &str) -> Result<Pool, CliError> {
    Ok(builders::Builders::read()?.pool(name)?.cloned().unwrap_or_default())
}

/// The builder that the user chose.
pub(super) fn current() -> Result<String, CliError> {
    Ok(builders::Builders::read()?.current().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&str]) -> Result<Builders, String> {
        parsed_with(values, EMBEDDED)
    }

    fn parsed_with(values: &[&str], current: &str) -> Result<Builders, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let platforms = ["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()];
        let known = |name: &str| match name {
            "pool" => Ok(Pool::default()),
            _ => Err(CliError::usage(FLAG, "unknown")),
        };
        parse(&values, &platforms, &known, &|| Ok(current.to_owned())).map_err(|error| error.to_string())
    }

    fn name(builder: &Builder) -> &str {
        match builder {
            Builder::Embedded => EMBEDDED,
            Builder::Pool(pool) => &pool.name,
        }
    }

    #[test]
    fn the_current_builder_is_for_platforms_that_nothing_is_said_of() {
        let (amd64, arm64) = ("linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap());
        for (values, want) in [
            (&[][..], ["pool", "pool"]),
            (&["embedded"], ["embedded", "embedded"]),
            (&["linux/amd64=embedded"], ["embedded", "pool"]),
        ] {
            let builders = parsed_with(values, "pool").unwrap();
            assert_eq!([name(builders.of(&amd64)), name(builders.of(&arm64))], want, "{values:?}");
        }
        // Who is not needed need not be there.
        parsed_with(&["linux/amd64=pool", "linux/arm64=embedded"], "gone").unwrap();
        parsed_with(&[], "gone").unwrap_err();
    }

    #[test]
    fn a_builder_is_for_all_platforms_or_for_one() {
        let (amd64, arm64) = ("linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap());
        for (values, want) in [
            (&[][..], [EMBEDDED, EMBEDDED]),
            (&["pool"], ["pool", "pool"]),
            (&["linux/arm64=pool"], [EMBEDDED, "pool"]),
            (&["pool", "linux/amd64=embedded"], [EMBEDDED, "pool"]),
            (&["linux/arm64=unix:///run/a=b.sock"], [EMBEDDED, "unix:///run/a=b.sock"]),
        ] {
            let builders = parsed(values).unwrap();
            assert_eq!([name(builders.of(&amd64)), name(builders.of(&arm64))], want, "{values:?}");
        }
    }

    #[test]
    fn what_is_no_builder_is_refused() {
        for (values, wrong) in [
            (&["pool", "embedded"][..], "two for all"),
            (&["linux/arm64=pool", "linux/arm64=embedded"], "two for linux/arm64"),
            (&["linux/s390x=pool"], "not one of the platforms"),
            (&["nobody"], "unknown"),
            (&["http://x"], "begins with tcp://"),
        ] {
            let error = parsed(values).unwrap_err();
            assert!(error.contains(wrong), "{values:?}: {error}");
        }
    }
}
