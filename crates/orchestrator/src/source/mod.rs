//! Where the files of a build and its Dockerfile come from.

mod archive;
pub mod bundle;
pub mod named;
mod open;

use std::path::{Path, PathBuf};

use archway_oci::reference::{ImageLocation, LocationError};
use archway_remote::{GitUrl, GitUrlError, http_url};

pub use open::Wanted;
pub(crate) use open::{ContextOrigin, Opened, open};

/// What `-` stands for.
const STDIN: &str = "-";
/// What stands before the name of a source bundle in a registry.
const BUNDLE: &str = "oci-source://";
/// What stands before the place of one in files.
const BUNDLE_FILES: [&str; 2] = ["oci:", "oci-archive:"];

/// The build context, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSpec {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A git repository.
    Git(GitUrl),
    /// A URL: an archive of the context, or a Dockerfile, which then has no context but itself.
    Url(String),
    /// Standard input: the same.
    Stdin,
    /// A source bundle.
    Bundle(ImageLocation),
}

/// A text is no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// It is a git URL, and wrong.
    #[error(transparent)]
    Git(#[from] GitUrlError),
    /// It is the place of a source bundle, and wrong.
    #[error(transparent)]
    Bundle(#[from] LocationError),
}

/// The Dockerfile, as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DockerfileSpec {
    /// `Dockerfile` in the context.
    #[default]
    Default,
    /// A file: of this machine with a directory as context, or if the path is absolute; else in the
    /// context.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// A URL.
    Url(String),
}

impl ContextSpec {
    /// Says what a text means as a context. A directory of this name wins over everything but `-`.
    ///
    /// # Errors
    /// If it is a git URL or the place of a source bundle, and wrong.
    pub fn parse(text: &Path, is_directory: impl Fn(&Path) -> bool) -> Result<Self, ContextError> {
        let directory = || Self::Directory(text.to_owned());
        let Some(word) = text.to_str() else { return Ok(directory()) };
        if word == STDIN {
            return Ok(Self::Stdin);
        }
        if is_directory(text) {
            return Ok(directory());
        }
        if let Some(reference) = word.strip_prefix(BUNDLE) {
            let reference = reference.parse().map_err(LocationError::Reference)?;
            return Ok(Self::Bundle(ImageLocation::Registry(reference)));
        }
        if BUNDLE_FILES.iter().any(|prefix| word.starts_with(prefix)) {
            return Ok(Self::Bundle(word.parse()?));
        }
        Ok(match GitUrl::parse(word)? {
            Some(url) => Self::Git(url),
            None if http_url::is_http(word) => Self::Url(word.to_owned()),
            None => directory(),
        })
    }
}

impl DockerfileSpec {
    /// Says what the value of `-f` means.
    pub fn parse(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::Default };
        match path.to_str() {
            Some(STDIN) => Self::Stdin,
            Some(word) if http_url::is_http(word) => Self::Url(word.to_owned()),
            _ => Self::File(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart() {
        let kind = |text: &str| match ContextSpec::parse(Path::new(text), |path| {
            path.to_str().is_some_and(|path| path.ends_with("there"))
        }) {
            Ok(ContextSpec::Directory(_)) => "directory",
            Ok(ContextSpec::Git(_)) => "git",
            Ok(ContextSpec::Url(_)) => "url",
            Ok(ContextSpec::Stdin) => "stdin",
            Ok(ContextSpec::Bundle(_)) => "bundle",
            Err(_) => "error",
        };
        let table = [
            ("-", "stdin"),
            (".", "directory"),
            ("nowhere", "directory"),
            ("https://example.com/a.git#main", "git"),
            ("https://example.com/a.tgz", "url"),
            ("https://example.com/a.git?brnch=x", "error"),
            ("github.com/moby/buildkit", "git"),
            ("github.com/moby/there", "directory"),
            ("git@example.com:a/b", "git"),
            ("ftp://example.com/a.tgz", "directory"),
            ("oci:dir:1", "bundle"),
            ("oci:there", "directory"),
            ("oci-archive:file", "bundle"),
            ("oci-source://example.com/a:1", "bundle"),
            ("oci-source://A", "error"),
            ("oci:", "error"),
        ];
        for (text, expected) in table {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn dockerfiles_are_told_apart() {
        let parse = |text| DockerfileSpec::parse(Some(Path::new(text)));
        assert_eq!(DockerfileSpec::parse(None), DockerfileSpec::Default);
        assert_eq!(parse("-"), DockerfileSpec::Stdin);
        assert_eq!(parse("https://x.org/f"), DockerfileSpec::Url("https://x.org/f".into()));
        assert_eq!(parse("a/b"), DockerfileSpec::File("a/b".into()));
    }
}
