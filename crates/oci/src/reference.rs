//! Image references (distribution's grammar) and the places an image may be read from.

mod location;

use std::{fmt, str::FromStr};

use crate::{Digest, digest::InvalidDigest};

pub use location::{ImageLocation, LocationError, TagOrDigest};

/// The registry of names that give none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of references that give neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// An old name of Docker Hub that is still written in places.
const LEGACY_REGISTRY: &str = "index.docker.io";
/// Docker Hub keeps repositories without an owner here.
const OFFICIAL: &str = "library/";
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// A fully qualified registry reference: `docker.io/library/busybox:latest@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry host, with port if any; `docker.io` where none was written.
    pub registry: String,
    /// Repository path within the registry; `library/…` is added for Docker Hub.
    pub repository: String,
    /// Tag; `latest` where neither tag nor digest was written.
    pub tag: Option<String>,
    /// Digest; wins over the tag.
    pub digest: Option<Digest>,
}

/// A text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference `{reference}`: {problem}")]
pub struct ReferenceError {
    /// The text.
    pub reference: String,
    /// What is wrong with it.
    pub problem: ReferenceProblem,
}

/// What is wrong with a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceProblem {
    /// No text, or no repository.
    #[error("it names no repository")]
    Empty,
    /// 64 hexadecimal digits, which Docker takes for the id of an image.
    #[error("64 hexadecimal digits are an image id, not a name")]
    ImageId,
    /// The part before the first slash is no host name, address or port.
    #[error("`{0}` is not a registry host")]
    Registry(String),
    /// Repositories have lower-case letters only.
    #[error("repository `{0}` must be lower-case")]
    UpperCase(String),
    /// Path components are words of letters and digits, joined by one `.`, one or two `_` or any `-`.
    #[error("`{0}` is not a repository name")]
    Repository(String),
    /// The repository is longer than 255 bytes.
    #[error("the repository is {length} characters long, more than {LONGEST_REPOSITORY}")]
    RepositoryTooLong {
        /// Its length.
        length: usize,
    },
    /// Tags are up to 128 letters, digits, `_`, `.`, `-`, and do not start with `.` or `-`.
    #[error("`{0}` is not a tag")]
    Tag(String),
    /// The part behind `@`.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl Reference {
    /// `registry/repository`, without tag and digest.
    pub fn repository_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// As people write it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.append_suffix(&mut text).expect("writing to a String does not fail");
        text
    }

    /// The same with another tag; a digest is kept.
    ///
    /// # Errors
    /// [`ReferenceProblem::Tag`].
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            let problem = ReferenceProblem::Tag(tag.to_owned());
            return Err(ReferenceError { reference: format!("{}:{tag}", self.familiar_name()), problem });
        }
        Ok(Self { tag: Some(tag.to_owned()), ..self.clone() })
    }

    /// The same with another digest; a tag is kept.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.repository_name();
        }
        match self.repository.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.repository.clone(),
        }
    }

    fn append_suffix(&self, to: &mut impl fmt::Write) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(to, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(to, "@{digest}")?;
        }
        Ok(())
    }
}

/// Everything is spelled out; [`FromStr`] reads it back.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.append_suffix(f)
    }
}

/// Reads familiar and full names: `busybox`, `owner/name:tag`, `localhost:5000/name@sha256:…`.
impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|problem| ReferenceError { reference: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Reference, ReferenceProblem> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ReferenceProblem::ImageId);
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
        None => (text, None),
    };
    let (registry, rest) = split_registry(name);
    let (repository, tag) = match rest.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    check_registry(registry)?;
    check_repository(repository)?;
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(ReferenceProblem::Tag(tag.to_owned()));
    }

    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let repository = if official { format!("{OFFICIAL}{repository}") } else { repository.to_owned() };
    if repository.len() > LONGEST_REPOSITORY {
        return Err(ReferenceProblem::RepositoryTooLong { length: repository.len() });
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG),
        (tag, _) => tag,
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// The first component is a registry if it cannot be the name of an owner on Docker Hub.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if is_registry_like(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.contains(char::is_uppercase)
}

fn check_registry(registry: &str) -> Result<(), ReferenceProblem> {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (Host::Ipv6(address), None),
        Some((address, port)) => (Host::Ipv6(address), Some(port.strip_prefix(':').unwrap_or_default())),
        None => match registry.split_once(':') {
            Some((name, port)) => (Host::Name(name), Some(port)),
            None => (Host::Name(registry), None),
        },
    };
    let port_valid = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if host.is_valid() && port_valid { Ok(()) } else { Err(ReferenceProblem::Registry(registry.to_owned())) }
}

enum Host<'a> {
    /// A DNS name or an IPv4 address.
    Name(&'a str),
    /// What stands between brackets.
    Ipv6(&'a str),
}

impl Host<'_> {
    fn is_valid(&self) -> bool {
        match self {
            Self::Name(name) => name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }),
            Self::Ipv6(address) => {
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
            }
        }
    }
}

fn check_repository(repository: &str) -> Result<(), ReferenceProblem> {
    if repository.is_empty() {
        return Err(ReferenceProblem::Empty);
    }
    if repository.split('/').all(is_path_component) {
        return Ok(());
    }
    if repository.to_lowercase().split('/').all(is_path_component) {
        return Err(ReferenceProblem::UpperCase(repository.to_owned()));
    }
    Err(ReferenceProblem::Repository(repository.to_owned()))
}

/// Words of `[a-z0-9]`, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_are_words =
        bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    ends_are_words
        && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        let table = [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("owner/name", "docker.io/owner/name:latest", "owner/name:latest"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("[2001:db8::1]/x", "[2001:db8::1]/x:latest", "[2001:db8::1]/x:latest"),
            ("Registry/x", "Registry/x:latest", "Registry/x:latest"),
            ("ghcr.io/a/b__c.d-e---f:V1", "ghcr.io/a/b__c.d-e---f:V1", "ghcr.io/a/b__c.d-e---f:V1"),
            ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
            ("docker.io", "docker.io/library/docker.io:latest", "docker.io:latest"),
        ];
        for (text, full, familiar) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
    }

    #[test]
    fn a_digest_stands_alone_or_behind_a_tag() {
        let pinned: Reference = format!("busybox@{SHA}").parse().unwrap();
        assert_eq!((pinned.tag.as_deref(), pinned.digest.as_ref().unwrap().as_str()), (None, SHA));
        let both: Reference = format!("r.example/x:1@{SHA}").parse().unwrap();
        assert_eq!(both.to_string(), format!("r.example/x:1@{SHA}"));
        assert_eq!(both.repository_name(), "r.example/x");
    }

    #[test]
    fn what_is_wrong_is_named() {
        use ReferenceProblem::*;
        let table = [
            ("", Empty),
            ("localhost:5000/", Empty),
            (":tag", Empty),
            (&"a".repeat(64), ImageId),
            ("Busybox", UpperCase("Busybox".into())),
            ("r.example/Owner/x", UpperCase("Owner/x".into())),
            ("-host.example/x", Registry("-host.example".into())),
            ("host:port/x", Registry("host:port".into())),
            ("host:/x", Registry("host:".into())),
            ("[::1/x", Registry("[::1".into())),
            ("[::1]5000/x", Registry("[::1]5000".into())),
            ("[fe80::1%eth0]/x", Registry("[fe80::1%eth0]".into())),
            ("https://r.example/x", Registry("https:".into())),
            ("a//b", Repository("a//b".into())),
            ("a/b_", Repository("a/b_".into())),
            ("a..b", Repository("a..b".into())),
            ("a___b", Repository("a___b".into())),
            ("a.-b", Repository("a.-b".into())),
            ("../etc", Registry("..".into())),
            ("a b", Repository("a b".into())),
            ("x:", Tag("".into())),
            ("x:-a", Tag("-a".into())),
            ("x:a:b", Tag("a:b".into())),
            ("x@sha256:abc", Digest(InvalidDigest("sha256:abc".into()))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Reference>().unwrap_err().problem, expected, "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let name = |length: usize| format!("r.example/{}", "a".repeat(length));
        assert!(name(255).parse::<Reference>().is_ok());
        let error = name(256).parse::<Reference>().unwrap_err();
        assert_eq!(error.problem, ReferenceProblem::RepositoryTooLong { length: 256 });
        assert!(format!("x:{}", "t".repeat(128)).parse::<Reference>().is_ok());
        assert!(format!("x:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    #[test]
    fn tags_and_digests_are_replaced_one_by_one() {
        let reference: Reference = "x:1".parse().unwrap();
        let pinned = reference.with_digest(SHA.parse().unwrap());
        assert_eq!(pinned.familiar(), format!("x:1@{SHA}"));
        assert_eq!(pinned.with_tag("2").unwrap().familiar(), format!("x:2@{SHA}"));
        assert_eq!(reference.with_tag("a/b").unwrap_err().reference, "x:a/b");
    }

    proptest! {
        #[test]
        fn every_reference_is_read_back_from_both_its_spellings(
            registry in proptest::option::of("([a-z][a-z0-9]{0,6}\\.[a-z]{2,3}|localhost)(:[1-9][0-9]{1,4})?"),
            repository in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4})?(/[a-z0-9]{1,8}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            raw in proptest::option::of(any::<[u8; 32]>()),
        ) {
            let mut text = registry.map(|registry| format!("{registry}/")).unwrap_or_default();
            text.push_str(&repository);
            if let Some(tag) = tag {
                text.push_str(&format!(":{tag}"));
            }
            if let Some(raw) = raw {
                text.push_str(&format!("@{}", crate::Digest::from_sha256(raw)));
            }
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
            prop_assert_eq!(reference.familiar().parse(), Ok(reference));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            }
        }
    }
}
