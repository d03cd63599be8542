//! Who reads a Dockerfile: the frontend that its `syntax` directive, or the build argument
//! `BUILDKIT_SYNTAX`, asks for. BuildKit downloads that image and runs it. Here one language is spoken,
//! that of the official frontend, so its images are names of versions, and all others are refused.

use thiserror::Error;

use crate::ast::Spanned;
use crate::diagnostic::Diagnostic;
use crate::directive;

/// The version of the official frontend whose language this crate reads.
pub const SPOKEN: Version = Version { major: 1, minor: 26 };

/// The build argument that wins over the directive.
pub const BUILD_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// The name of the frontend that is built into BuildKit. Only [`BUILD_ARGUMENT`] can have it.
const BUILT_IN: &str = "dockerfile.v0";
/// The repositories of the official frontend. Registries that mirror others put something before it.
const REPOSITORIES: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];
/// Tags that follow the newest release.
const MOVING_TAGS: [&str; 5] = ["latest", "master", "labs", "master-labs", "experimental"];

/// A version of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Always 1 so far.
    pub major: u32,
    /// What is added to the language counts this up.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// A frontend that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frontend {
    /// A version that is spoken; the language has only grown, so older ones are part of it.
    Spoken,
    /// A version that is newer, or a tag that says nothing of its version.
    Unsure,
}

/// A frontend that is not the official one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the frontend `{reference}` is not known: only the language of docker/dockerfile is read here")]
pub struct UnknownFrontend {
    /// As asked for.
    pub reference: String,
}

impl UnknownFrontend {
    /// What to do about it.
    pub fn hint(&self) -> String {
        format!(
            "if the file is a Dockerfile, write `# syntax=docker/dockerfile:1`, or build with --build-arg \
             {BUILD_ARGUMENT}=docker/dockerfile:1; if it is in another language, build it with BuildKit"
        )
    }

    /// The error at the directive that names the frontend.
    pub fn diagnostic(&self, directive: &Spanned<String>) -> Diagnostic {
        Diagnostic {
            message: self.to_string(),
            span: directive.span,
            label: "no known frontend".to_owned(),
            hint: Some(self.hint()),
        }
    }
}

/// The `syntax` directive of a file, which need not be a Dockerfile: a comment that begins with `#` or
/// `//`, or a member of a JSON object. To be asked before the text is parsed as a Dockerfile. Spans count
/// behind a byte order mark.
pub fn detect(text: &str) -> Option<Spanned<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    directive::syntax(text).or_else(|| json_member(text))
}

/// `{"syntax": "…"}`
fn json_member(text: &str) -> Option<Spanned<String>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let value = object.get("syntax")?.as_str()?.to_owned();
    let start = text.find("\"syntax\"").unwrap_or_default();
    let end = start + text.get(start..).map_or(0, |rest| rest.find(['\n', ',', '}']).unwrap_or(rest.len()));
    Some(Spanned { value, span: crate::ast::Span { start, end } })
}

/// Whether a frontend is one whose language is read here.
pub fn frontend(reference: &str) -> Result<Frontend, UnknownFrontend> {
    if reference == BUILT_IN {
        return Ok(Frontend::Spoken);
    }
    let (name, digest) =
        reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
    let (repository, tag) = match name.rsplit_once(':') {
        // Not the port of a registry.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let is_mirror = |official: &str| {
        let registry = repository.strip_suffix(official);
        registry.is_some_and(|registry| registry.is_empty() || registry.ends_with('/'))
    };
    if !REPOSITORIES.into_iter().any(is_mirror) || digest == Some("") || tag == Some("") {
        return Err(UnknownFrontend { reference: reference.to_owned() });
    }
    Ok(match tag {
        None => Frontend::Spoken,
        Some(tag) if MOVING_TAGS.contains(&tag) => Frontend::Spoken,
        Some(tag) => match version(tag) {
            Some(version) if version <= SPOKEN => Frontend::Spoken,
            _ => Frontend::Unsure,
        },
    })
}

/// `1`, `1.4`, `1.4.2`, each with a suffix such as `-labs` or `-rc1`.
fn version(tag: &str) -> Option<Version> {
    let number = tag.split('-').next()?;
    let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
    let major = parts.next()??;
    let minor = parts.next().unwrap_or(Some(0))?;
    let patch = parts.next().unwrap_or(Some(0));
    (patch.is_some() && parts.next().is_none()).then_some(Version { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_official_frontend_is_known_under_all_its_names() {
        let table = [
            ("docker/dockerfile", Some(Frontend::Spoken)),
            ("docker/dockerfile:1", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.4", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.4.2", Some(Frontend::Spoken)),
            ("docker/dockerfile:1-labs", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.20.0-labs", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.17.0-rc1", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.0-experimental", Some(Frontend::Spoken)),
            ("docker/dockerfile:experimental", Some(Frontend::Spoken)),
            ("docker/dockerfile:latest", Some(Frontend::Spoken)),
            ("docker/dockerfile@sha256:ab", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.4@sha256:ab", Some(Frontend::Spoken)),
            ("docker/dockerfile-upstream:master", Some(Frontend::Spoken)),
            ("docker.io/docker/dockerfile:1", Some(Frontend::Spoken)),
            ("mirror.example:5000/hub/docker/dockerfile:1", Some(Frontend::Spoken)),
            ("mirror.example:5000/docker/dockerfile", Some(Frontend::Spoken)),
            ("dockerfile.v0", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.26", Some(Frontend::Spoken)),
            ("docker/dockerfile:1.27", Some(Frontend::Unsure)),
            ("docker/dockerfile:2", Some(Frontend::Unsure)),
            ("docker/dockerfile:mine", Some(Frontend::Unsure)),
            ("docker/dockerfile:1.2.3.4", Some(Frontend::Unsure)),
            ("docker/dockerfile:", None),
            ("docker/dockerfile@", None),
            ("dockerfile:1", None),
            ("notdocker/dockerfile:1", None),
            ("docker/dockerfile2:1", None),
            ("ghcr.io/example/frontend", None),
            ("gateway.v0", None),
            ("", None),
        ];
        for (reference, expected) in table {
            assert_eq!(frontend(reference).ok(), expected, "{reference}");
        }
    }

    #[test]
    fn the_directive_is_found_in_every_kind_of_file() {
        let table = [
            ("FROM a", None),
            ("# syntax=a b\nFROM a", Some("a")),
            ("\u{feff}#syntax = a\r\n", Some("a")),
            ("#!/bin/x\n# syntax=a\n", Some("a")),
            ("# escape=`\n# syntax=a\n", Some("a")),
            ("// syntax=a\nimport x", Some("a")),
            ("//check=x\n//syntax=a\n", Some("a")),
            ("#!/bin/x\n//syntax=a\n", Some("a")),
            ("{\n  \"x\": 1,\n  \"syntax\": \"a\"\n}\n", Some("a")),
            ("{\"syntax\": 1}", None),
            ("{\"syntax\": \"a\"", None),
            ("\n# syntax=a\n", None),
            ("# comment\n# syntax=a\n", None),
            ("# comment\n// syntax=a\n", None),
        ];
        for (text, expected) in table {
            let found = detect(text);
            assert_eq!(found.as_ref().map(|syntax| syntax.value.as_str()), expected, "{text}");
            if let Some(syntax) = found {
                let body = text.trim_start_matches('\u{feff}');
                assert!(body[syntax.span.start..syntax.span.end].contains('a'), "{text}");
            }
        }
    }
}
