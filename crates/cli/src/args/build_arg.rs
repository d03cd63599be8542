//! `--build-arg`.

use std::env;

use archway_graph::BuildArgs;
use archway_oci::{Platform, platform};
use archway_orchestrator::request::OutputSpec;

use crate::error::CliError;

const FLAG: &str = "--build-arg";
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Its value if it is to be the time of the build context.
const EPOCH_OF_CONTEXT: &str = "context";
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// `[PLATFORM[,PLATFORM…]:]NAME[=VALUE]`, repeated; the last of a name wins. A name without a value takes
/// it from the environment, and is left out if that has none. As in buildx, `SOURCE_DATE_EPOCH` of the
/// environment is an argument without being asked for.
///
/// No message repeats a value: it may be a secret.
pub(super) fn parse(given: &[String], platforms: &[Platform]) -> Result<BuildArgs, CliError> {
    parse_with(given, platforms, |name| env::var(name).ok())
}

fn parse_with(
    given: &[String],
    platforms: &[Platform],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<BuildArgs, CliError> {
    let mut arguments = BuildArgs::default();
    if let Some(epoch) = environment(EPOCH) {
        arguments.set(EPOCH, epoch);
    }
    for text in given {
        let (left, value) = match text.split_once('=') {
            Some((left, value)) => (left, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        let (scope, name) = match left.rsplit_once(':') {
            Some((scope, name)) => (Some(scope), name),
            None => (None, left),
        };
        if name.is_empty() {
            return Err(CliError::usage(FLAG, format!("`{left}` is not [PLATFORM:]NAME[=VALUE]")));
        }
        let scope = scope.map(|scope| self::scope(scope, name, platforms)).transpose()?;
        let Some(value) = value.or_else(|| environment(name)) else { continue };
        match scope {
            None => arguments.set(name, value),
            Some(scope) => scope.into_iter().for_each(|on| arguments.set_for(on, name, value.clone())),
        }
    }
    check_epoch(&arguments)?;
    Ok(arguments)
}

/// The platforms before the colon. A name with a colon in it could be used nowhere, so the colon can only
/// stand behind platforms.
fn scope(text: &str, name: &str, platforms: &[Platform]) -> Result<Vec<Platform>, CliError> {
    if is_for_all(name) {
        let message = format!("`{text}:{name}`: {name} cannot differ between platforms");
        let hint = Some(format!("give it for all of them: {FLAG} {name}=…"));
        return Err(CliError::Usage { flag: FLAG, message, hint });
    }
    let scope = platform::parse_list(&[text]).map_err(|error| CliError::Usage {
        flag: FLAG,
        message: format!("`{text}:{name}`: {error}"),
        hint: Some(match &error.suggestion {
            Some(near) => format!("did you mean `{near}`?"),
            None => "what stands before the colon is a platform, as in linux/arm64:NAME=VALUE".to_owned(),
        }),
    })?;
    match scope.iter().find(|platform| !platforms.contains(platform)) {
        None => Ok(scope),
        Some(foreign) => {
            let built: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            let message = format!("`{text}:{name}`: {foreign} is not one of the platforms to build");
            let hint = Some(format!("they are {}", built.join(", ")));
            Err(CliError::Usage { flag: FLAG, message, hint })
        }
    }
}

/// What is about the machine, the builder or the whole index.
fn is_for_all(name: &str) -> bool {
    let proxies = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];
    name == EPOCH
        || name.starts_with("BUILDKIT_")
        || proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

fn check_epoch(arguments: &BuildArgs) -> Result<(), CliError> {
    match arguments.get(EPOCH) {
        Some("" | EPOCH_OF_CONTEXT) | None => Ok(()),
        Some(text) if text.parse::<i64>().is_err() => Err(CliError::Usage {
            flag: EPOCH,
            message: format!("`{text}` is not a number of seconds since 1970"),
            hint: Some(
                "the time of a commit is `git log -1 --format=%ct`; `context` is the time of the build context"
                    .to_owned(),
            ),
        }),
        Some(_) => Ok(()),
    }
}

/// `BUILDKIT_MULTI_PLATFORM`: results look as they do for several platforms, also with one. Indexes
/// always do; files then have a directory for their platform.
pub(super) fn multi_platform(
    arguments: &BuildArgs,
    platforms: &[Platform],
    outputs: &mut [OutputSpec],
) -> Result<(), CliError> {
    let Some(text) = arguments.get(MULTI_PLATFORM).filter(|text| !text.is_empty()) else { return Ok(()) };
    match boolean(text) {
        Some(true) => {
            for output in outputs {
                if let OutputSpec::Local { platform_split, .. } | OutputSpec::Tar { platform_split, .. } =
                    output
                {
                    platform_split.get_or_insert(true);
                }
            }
            Ok(())
        }
        Some(false) if platforms.len() > 1 => Err(CliError::usage(
            FLAG,
            format!(
                "{MULTI_PLATFORM}={text} contradicts --platform, which names {} platforms",
                platforms.len()
            ),
        )),
        Some(false) => Ok(()),
        None => Err(CliError::usage(FLAG, format!("{MULTI_PLATFORM} is true or false, not `{text}`"))),
    }
}

/// As Go's `strconv.ParseBool`, which BuildKit reads such arguments with.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms() -> Vec<Platform> {
        platform::parse_list(&["linux/amd64", "linux/arm/v7", "windows(10.0.17763.1)/amd64"]).unwrap()
    }

    fn parsed(given: &[&str]) -> Result<BuildArgs, String> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        let environment = |name: &str| (name == "HOME").then(|| "/home".to_owned());
        parse_with(&given, &platforms(), environment).map_err(|error| match error {
            CliError::Usage { message, .. } => message,
            other => other.to_string(),
        })
    }

    #[test]
    fn arguments_are_for_all_platforms_or_for_some() {
        let [amd64, arm, windows] = platforms().try_into().unwrap();
        // (arguments, name, value for amd64, arm, windows)
        type Values = [Option<&'static str>; 3];
        let table: [(&[&str], &str, Values); 10] = [
            (&["A=1"], "A", [Some("1"); 3]),
            (&["A=1", "A=2"], "A", [Some("2"); 3]),
            (&["A="], "A", [Some(""); 3]),
            (&["A=x:y=z"], "A", [Some("x:y=z"); 3]),
            (&["HOME"], "HOME", [Some("/home"); 3]),
            (&["NOWHERE"], "NOWHERE", [None; 3]),
            (&["linux/arm/v7:A=1", "A=2"], "A", [Some("2"), Some("1"), Some("2")]),
            // The platform is normalised, and may be several.
            (&["linux/arm:A=1"], "A", [None, Some("1"), None]),
            (&["linux/x86_64,linux/arm/v7:HOME"], "HOME", [Some("/home"), Some("/home"), None]),
            (&["windows(10.0.17763.1)/amd64:A=1"], "A", [None, None, Some("1")]),
        ];
        for (given, name, expected) in table {
            let arguments = parsed(given).unwrap();
            assert_eq!([&amd64, &arm, &windows].map(|on| arguments.get_for(on, name)), expected, "{given:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        let table = [
            ("=secret", "`` is not [PLATFORM:]NAME[=VALUE]"),
            ("linux/arm/v7:=secret", "`linux/arm/v7:` is not [PLATFORM:]NAME[=VALUE]"),
            ("linux/arm64:A=secret", "`linux/arm64:A`: linux/arm64 is not one of the platforms to build"),
            ("linux/arm/v6:A=secret", "`linux/arm/v6:A`: linux/arm/v6 is not one of the platforms to build"),
            (
                "linux/arm/v7:http_proxy=secret",
                "`linux/arm/v7:http_proxy`: http_proxy cannot differ between platforms",
            ),
            ("SOURCE_DATE_EPOCH=now", "`now` is not a number of seconds since 1970"),
        ];
        for (given, expected) in table {
            assert_eq!(parsed(&[given]).unwrap_err(), expected, "{given}");
        }
        let unknown = parsed(&["linux/amr64:A=secret"]).unwrap_err();
        assert!(unknown.contains("amr64") && !unknown.contains("secret"), "{unknown}");
    }

    #[test]
    fn multi_platform_splits_files() {
        let local = |split| OutputSpec::Local { directory: "x".into(), platform_split: split };
        let with = |value: &str, platforms: &[Platform], split| {
            let arguments: BuildArgs = [(MULTI_PLATFORM, value)].into_iter().collect();
            let mut outputs = [local(split)];
            multi_platform(&arguments, platforms, &mut outputs).ok().map(|()| outputs)
        };
        let (one, all) = (&platforms()[..1], &platforms()[..]);
        assert_eq!(with("1", one, None), Some([local(Some(true))]));
        assert_eq!(with("1", one, Some(false)), Some([local(Some(false))]));
        assert_eq!(with("false", one, None), Some([local(None)]));
        assert_eq!(with("", all, None), Some([local(None)]));
        assert_eq!(with("false", all, None), None);
        assert_eq!(with("yes", one, None), None);
    }
}
