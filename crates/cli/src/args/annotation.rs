//! `--annotation`, and the `annotation…` keys of `--output`.

use archway_oci::{
    Platform,
    annotations::{Annotations, Scope},
};

use super::value;
use crate::error::CliError;

pub(crate) const FLAG: &str = "--annotation";

/// `[SCOPE[[PLATFORM]],…:]KEY=VALUE`, repeated; what `default` is for without a scope. `platforms` are those
/// that a scope may have, if they are known.
pub(crate) fn parse(
    flag: &'static str,
    given: &[String],
    default: &Scope,
    platforms: Option<&[Platform]>,
) -> Result<Annotations, CliError> {
    let mut annotations = Annotations::default();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| CliError::usage(flag, format!("`{text}` is not [SCOPE:]KEY=VALUE")))?;
        let (scopes, key) = scoped(flag, name, default, platforms)?;
        check_key(flag, text, key)?;
        for scope in scopes {
            annotations.set(scope, key.to_owned(), value.to_owned());
        }
    }
    Ok(annotations)
}

/// `[SCOPE[[PLATFORM]],…:]KEY`: the key in each of its scopes.
pub(crate) fn key(flag: &'static str, text: &str, default: &Scope) -> Result<Vec<(Scope, String)>, CliError> {
    let (scopes, key) = scoped(flag, text, default, None)?;
    check_key(flag, text, key)?;
    Ok(scopes.into_iter().map(|scope| (scope, key.to_owned())).collect())
}

/// The scopes and the key of an annotation.
fn scoped<'a>(
    flag: &'static str,
    name: &'a str,
    default: &Scope,
    platforms: Option<&[Platform]>,
) -> Result<(Vec<Scope>, &'a str), CliError> {
    match name.split_once(':') {
        None => Ok((vec![default.clone()], name)),
        Some((scopes, key)) => {
            let scopes = scopes.split(',').map(|one| scope(flag, one, platforms));
            Ok((scopes.collect::<Result<_, _>>()?, key))
        }
    }
}

/// `annotation.KEY`, `annotation-SCOPE.KEY`, `annotation-SCOPE[PLATFORM].KEY` of an output; `None` if
/// `name` is another key.
pub(crate) fn output_key(
    flag: &'static str,
    name: &str,
    platforms: &[Platform],
) -> Result<Option<(Scope, String)>, CliError> {
    let Some(rest) = name.strip_prefix("annotation") else { return Ok(None) };
    let malformed = || CliError::usage(flag, format!("`{name}` is not annotation[-SCOPE][[PLATFORM]].KEY"));
    let (scope, key) = match rest.strip_prefix('.') {
        Some(key) => (Scope::Manifest(None), key),
        None => {
            // The platform may hold a dot, in a version of Windows.
            let from = rest.find(']').unwrap_or(0);
            let dot = rest[from..].find('.').ok_or_else(malformed)?;
            let (written, key) = (&rest[..from + dot], &rest[from + dot + 1..]);
            // `annotation[linux/arm64].KEY` has no name of a scope.
            let written = match written.strip_prefix('-') {
                Some(scope) => scope.to_owned(),
                None if written.starts_with('[') => format!("manifest{written}"),
                None => return Err(malformed()),
            };
            (scope(flag, &written, Some(platforms))?, key)
        }
    };
    check_key(flag, name, key)?;
    Ok(Some((scope, key.to_owned())))
}

/// `manifest`, `manifest-descriptor` (both also for one platform: `manifest[linux/arm64]`), `index`,
/// `index-descriptor`.
fn scope(flag: &'static str, text: &str, platforms: Option<&[Platform]>) -> Result<Scope, CliError> {
    let (name, platform) = match text.split_once('[') {
        None => (text, None),
        Some((name, platform)) => {
            let platform = platform
                .strip_suffix(']')
                .ok_or_else(|| CliError::usage(flag, format!("the `[` of `{text}` is not closed")))?;
            let platform: Platform = platform.parse().map_err(|error| CliError::platform(flag, &error))?;
            if platforms.is_some_and(|platforms| !platforms.contains(&platform)) {
                let message = format!("{platform} is not one of the platforms to build");
                return Err(CliError::usage(flag, message));
            }
            (name, Some(platform))
        }
    };
    match (name, platform) {
        ("manifest", platform) => Ok(Scope::Manifest(platform)),
        ("manifest-descriptor", platform) => Ok(Scope::ManifestDescriptor(platform)),
        ("index", None) => Ok(Scope::Index),
        ("index-descriptor", None) => Ok(Scope::IndexDescriptor),
        ("index" | "index-descriptor", Some(_)) => {
            Err(CliError::usage(flag, format!("the index is for all platforms: write `{name}:`")))
        }
        _ => Err(value::unknown(flag, "scope", name, &Scope::NAMES)),
    }
}

/// The OCI specification wants a key; BuildKit wants it without blanks.
fn check_key(flag: &'static str, text: &str, key: &str) -> Result<(), CliError> {
    match key {
        "" => Err(CliError::usage(flag, format!("`{text}` has no key"))),
        key if key.contains(char::is_whitespace) => {
            Err(CliError::usage(flag, format!("the key `{key}` has a blank in it")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms() -> Vec<Platform> {
        ["linux/amd64", "linux/arm64"].map(|text| text.parse().unwrap()).to_vec()
    }

    fn parsed(text: &str) -> Result<Annotations, CliError> {
        parse(FLAG, &[text.to_owned()], &Scope::Manifest(None), Some(&platforms()))
    }

    fn scopes(text: &str) -> Vec<Scope> {
        parsed(text).unwrap().scopes().cloned().collect()
    }

    #[test]
    fn scopes_are_those_of_buildx() {
        let arm = || Some("linux/arm64".parse().unwrap());
        let table = [
            ("a=b", vec![Scope::Manifest(None)]),
            ("a=b:c", vec![Scope::Manifest(None)]),
            ("index:a=b", vec![Scope::Index]),
            ("index-descriptor:a=b", vec![Scope::IndexDescriptor]),
            ("manifest[linux/arm64]:a=b", vec![Scope::Manifest(arm())]),
            ("manifest-descriptor[linux/aarch64]:a=b", vec![Scope::ManifestDescriptor(arm())]),
            ("manifest,index:a=b", vec![Scope::Manifest(None), Scope::Index]),
        ];
        for (text, expected) in table {
            assert_eq!(scopes(text), expected, "{text}");
        }
    }

    #[test]
    fn outputs_have_them_as_keys() {
        let key = |name: &str| output_key("--output", name, &platforms()).unwrap();
        let arm = || Some("linux/arm64".parse().unwrap());
        let table = [
            ("annotation.a.b", Scope::Manifest(None)),
            ("annotation-index.a.b", Scope::Index),
            ("annotation-manifest-descriptor[linux/arm64].a.b", Scope::ManifestDescriptor(arm())),
            ("annotation[linux/arm64].a.b", Scope::Manifest(arm())),
        ];
        for (name, scope) in table {
            assert_eq!(key(name), Some((scope, "a.b".to_owned())), "{name}");
        }
        assert_eq!(key("name"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("a", "`a` is not [SCOPE:]KEY=VALUE"),
            ("=b", "`=b` has no key"),
            ("indx:a=b", "unknown scope `indx`"),
            ("index[linux/arm64]:a=b", "the index is for all platforms: write `index:`"),
            ("manifest[linux/s390x]:a=b", "linux/s390x is not one of the platforms to build"),
            ("manifest[linux/arm64:a=b", "the `[` of `manifest[linux/arm64` is not closed"),
            ("a b=c", "the key `a b` has a blank in it"),
        ];
        for (text, expected) in table {
            match parsed(text) {
                Err(CliError::Usage { message, .. }) => assert_eq!(message, expected),
                other => panic!("{text}: {other:?}"),
            }
        }
        for name in ["annotationx.a", "annotation-index", "annotation."] {
            assert!(output_key("--output", name, &platforms()).is_err(), "{name}");
        }
    }
}
