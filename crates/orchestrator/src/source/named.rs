//! `--build-context`: what else has a name, besides the build context.

use std::path::{Path, PathBuf};

use archway_graph::{ContextNameError, NamedContext, NamedContexts};
use archway_oci::{
    Digest, Platform, Reference,
    digest::InvalidDigest,
    reference::{DEFAULT_TAG, ImageLocation, ReferenceError, TagOrDigest},
};
use archway_remote::{GitSource, GitUrl, GitUrlError, HttpSource, http_url};

use super::open::WHOLE;

const IMAGE: &str = "docker-image://";
const LAYOUT: &str = "oci-layout://";
/// What only other frontends and bake have.
const FOREIGN: [&str; 2] = ["target:", "input:"];
const SCRATCH: &str = "scratch";

/// What a named context is, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContextSpec {
    /// A directory of this machine.
    Directory(PathBuf),
    /// The empty root file system.
    Scratch,
    /// An image of a registry or the local store.
    Image(Reference),
    /// An image in an OCI layout.
    Layout(Layout),
    /// A git repository.
    Git(GitUrl),
    /// A URL.
    Url(String),
}

/// An image in an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    directory: PathBuf,
    image: TagOrDigest,
}

/// A text is no named context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamedContextError {
    /// `docker-image://` of no reference.
    #[error(transparent)]
    Image(#[from] ReferenceError),
    /// A git URL that says something impossible.
    #[error(transparent)]
    Git(#[from] GitUrlError),
    /// `oci-layout://…@` with no digest behind.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// A kind that cannot be given on a command line.
    #[error("`{0}` contexts come from bake files or other frontends, and cannot be given here")]
    Foreign(&'static str),
    /// Nothing else, and no directory.
    #[error("`{0}` is not a directory")]
    Missing(String),
    /// It has no name that a context can have.
    #[error(transparent)]
    Name(#[from] ContextNameError),
}

/// A named context for a builder elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A directory of this machine, which is sent.
    Directory,
    /// What the builder reads itself, spelled as for `--build-context`.
    Other(String),
}

impl NamedContextSpec {
    /// Says what the value of a `--build-context` means.
    ///
    /// # Errors
    /// If it means nothing.
    pub fn parse(text: &str, is_directory: impl Fn(&Path) -> bool) -> Result<Self, NamedContextError> {
        if let Some(image) = text.strip_prefix(IMAGE) {
            return Ok(if image == SCRATCH { Self::Scratch } else { Self::Image(image.parse()?) });
        }
        if let Some(layout) = text.strip_prefix(LAYOUT) {
            return Ok(Self::Layout(Layout::parse(layout)?));
        }
        if let Some(foreign) = FOREIGN.into_iter().find(|prefix| text.starts_with(prefix)) {
            return Err(NamedContextError::Foreign(foreign));
        }
        if is_directory(Path::new(text)) {
            return Ok(Self::Directory(text.into()));
        }
        match GitUrl::parse(text)? {
            Some(url) => Ok(Self::Git(url)),
            None if http_url::is_http(text) => Ok(Self::Url(text.to_owned())),
            None => Err(NamedContextError::Missing(text.to_owned())),
        }
    }

    fn remote(&self) -> Remote {
        match self {
            Self::Directory(_) => Remote::Directory,
            Self::Scratch => Remote::Other(format!("{IMAGE}{SCRATCH}")),
            Self::Image(reference) => Remote::Other(format!("{IMAGE}{reference}")),
            Self::Layout(layout) => Remote::Other(layout.name()),
            Self::Git(url) => Remote::Other(git(url)),
            Self::Url(url) => Remote::Other(url.clone()),
        }
    }

    /// As the graph has it.
    fn lowered(&self) -> NamedContext {
        match self {
            Self::Directory(_) => NamedContext::Directory,
            Self::Scratch => NamedContext::Scratch,
            Self::Image(reference) => NamedContext::Image(reference.familiar()),
            Self::Layout(layout) => NamedContext::Image(layout.name()),
            Self::Git(url) => NamedContext::Git(GitSource::from(url.clone())),
            Self::Url(url) => {
                NamedContext::Http(HttpSource { url: url.clone(), name: WHOLE.to_owned(), checksum: None })
            }
        }
    }
}

/// The name of a context as BuildKit's frontend looks for it: the familiar form without `:latest`, the platform normalised
/// (`dockerui.NamedContext`).
fn looked_up(name: &str) -> String {
    let (name, platform) = match name.split_once("::") {
        Some((name, platform)) => (name, Some(platform)),
        None => (name, None),
    };
    let familiar = name.to_lowercase().parse::<Reference>().map(|reference| reference.familiar());
    let familiar = familiar.unwrap_or_else(|_| name.to_owned());
    let familiar = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    match platform.map(str::parse::<Platform>) {
        Some(Ok(platform)) => format!("{familiar}::{}", platform.normalized().specifier()),
        Some(Err(_)) | None => familiar.to_owned(),
    }
}

/// A repository as every version of BuildKit reads it.
fn git(url: &GitUrl) -> String {
    let reference = url.reference.as_deref().unwrap_or_default();
    match &url.subdir {
        Some(subdir) => format!("{}#{reference}:{subdir}", url.remote),
        None => format!("{}#{reference}", url.remote),
    }
}

impl Layout {
    /// `PATH[:TAG][@DIGEST]`, as in buildx: the digest wins, and the tag is `latest` if there is neither.
    fn parse(text: &str) -> Result<Self, NamedContextError> {
        let (place, digest) = match text.split_once('@') {
            Some((place, digest)) => (place, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (directory, tag) = place.split_once(':').unwrap_or((place, DEFAULT_TAG));
        let image = digest.map_or_else(|| TagOrDigest::Tag(tag.to_owned()), TagOrDigest::Digest);
        Ok(Self { directory: directory.into(), image })
    }

    /// Its name as that of a base image; [`location`] reads it.
    fn name(&self) -> String {
        let separator = if matches!(self.image, TagOrDigest::Digest(_)) { '@' } else { ':' };
        format!("{LAYOUT}{}{separator}{}", self.directory.display(), self.image)
    }
}

/// Where a base image of this name is, if the name is that of an image in a layout.
pub(crate) fn location(name: &str) -> Option<ImageLocation> {
    let Layout { directory, image } = Layout::parse(name.strip_prefix(LAYOUT)?).ok()?;
    Some(ImageLocation::OciLayout { dir: directory, tag_or_digest: Some(image) })
}

/// Named contexts of a request, each with the name it was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedContextSpecs {
    specs: Vec<(String, NamedContextSpec)>,
    names: NamedContexts,
}

impl NamedContextSpecs {
    /// Adds one, called `name` or `name::platform`.
    ///
    /// # Errors
    /// If the name cannot be one, or is there already.
    pub fn add(&mut self, name: &str, spec: NamedContextSpec) -> Result<(), ContextNameError> {
        self.names.add(name, spec.lowered())?;
        self.specs.push((name.to_owned(), spec));
        Ok(())
    }

    /// As the graph has them.
    pub(crate) fn names(&self) -> &NamedContexts {
        &self.names
    }

    /// As a builder elsewhere is told of them: the name that was given, the name that BuildKit looks for, and what it is.
    pub(crate) fn remote(&self) -> impl Iterator<Item = (&str, String, Remote)> {
        self.specs.iter().map(|(name, spec)| (name.as_str(), looked_up(name), spec.remote()))
    }

    /// Those that are in layouts of this machine.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &str> {
        let is_layout = |(_, spec): &&(String, NamedContextSpec)| matches!(spec, NamedContextSpec::Layout(_));
        self.specs.iter().filter(is_layout).map(|(name, _)| name.as_str())
    }

    /// Repositories with options that only this machine's git knows how to follow.
    pub(crate) fn unusual_repositories(&self) -> impl Iterator<Item = &str> {
        let is_unusual = |(_, spec): &&(String, NamedContextSpec)| match spec {
            NamedContextSpec::Git(url) => {
                let no_flag = [url.keep_git_dir, url.submodules] == [None, None] && !url.fetch_by_commit;
                !no_flag || url.checksum.is_some() || url.times.is_some()
            }
            _ => false,
        };
        self.specs.iter().filter(is_unusual).map(|(name, _)| name.as_str())
    }

    /// The directory that a context is.
    pub(crate) fn directory(&self, name: &str) -> Option<&Path> {
        let (_, spec) = self.specs.iter().find(|(known, _)| known == name)?;
        match spec {
            NamedContextSpec::Directory(path) => Some(path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn parse(text: &str) -> Result<NamedContextSpec, NamedContextError> {
        NamedContextSpec::parse(text, |path| path.ends_with("there"))
    }

    #[test]
    fn names_are_those_that_buildkit_looks_for() {
        for (given, looked) in [
            ("deps", "deps"),
            ("docker.io/library/alpine", "alpine"),
            ("alpine:latest", "alpine"),
            ("alpine:3", "alpine:3"),
            ("r.example/a/b", "r.example/a/b"),
            ("base::linux/aarch64", "base::linux/arm64"),
            ("base::linux/arm64/v8", "base::linux/arm64"),
        ] {
            assert_eq!(looked_up(given), looked, "{given}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let kind = |text: &str| match parse(text).unwrap().lowered() {
            NamedContext::Directory => "directory".to_owned(),
            NamedContext::Scratch => "scratch".to_owned(),
            NamedContext::Image(name) => name,
            NamedContext::Git(source) => source.describe(),
            NamedContext::Http(source) => source.describe(),
        };
        let table = [
            ("there", "directory"),
            ("docker-image://scratch", "scratch"),
            ("docker-image://alpine:3", "alpine:3"),
            ("docker-image://docker.io/library/alpine", "alpine:latest"),
            ("oci-layout://dir", "oci-layout://dir:latest"),
            ("oci-layout:///a/b:1", "oci-layout:///a/b:1"),
            ("https://x.org/a.git#main", "https://x.org/a.git#main"),
            ("https://x.org/a.tgz", "https://x.org/a.tgz"),
            ("git@x.org:a", "git@x.org:a"),
            ("github.com/a/there", "directory"),
        ];
        for (text, expected) in table {
            assert_eq!(kind(text), expected, "{text}");
        }
        assert_eq!(kind(&format!("oci-layout://d:1@{DIGEST}")), format!("oci-layout://d@{DIGEST}"));
        assert!(matches!(parse("nowhere"), Err(NamedContextError::Missing(_))));
        assert!(matches!(parse("target:x"), Err(NamedContextError::Foreign("target:"))));
        assert!(matches!(parse("input:x"), Err(NamedContextError::Foreign("input:"))));
        assert!(matches!(parse("docker-image://A"), Err(NamedContextError::Image(_))));
        assert!(matches!(parse("https://x.org/a.git?x=1"), Err(NamedContextError::Git(_))));
    }

    #[test]
    fn the_name_of_a_layout_says_where_it_is() {
        for text in ["oci-layout://dir:1", &format!("oci-layout://dir@{DIGEST}")] {
            let NamedContext::Image(name) = parse(text).unwrap().lowered() else { panic!("{text}") };
            let Some(ImageLocation::OciLayout { dir, tag_or_digest }) = location(&name) else {
                panic!("{text}")
            };
            assert_eq!(dir, Path::new("dir"));
            assert!(text.ends_with(&tag_or_digest.unwrap().to_string()));
        }
        assert_eq!(location("alpine"), None);
    }
}
