//! `--build-context`: names that mean something else than the Dockerfile or a registry says.

use std::{collections::BTreeMap, str::FromStr as _};

use archway_oci::{
    Platform, Reference,
    platform::PlatformError,
    reference::{DEFAULT_TAG, ReferenceError},
};
use archway_remote::{GitSource, HttpSource};

/// Names that no context can have: they have a meaning of their own.
const RESERVED: [&str; 2] = ["scratch", "context"];

/// What a name in `FROM`, `--from` or `from=` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Files of a directory of the user's.
    Directory,
    /// The empty root file system.
    Scratch,
    /// An image; as the name of a [`BaseRequest`](crate::BaseRequest).
    Image(String),
    /// A git repository.
    Git(GitSource),
    /// The file behind a URL.
    Http(HttpSource),
}

/// Contexts by name, and by platform where they are for one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedContexts(BTreeMap<Key, (String, NamedContext)>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: Reference,
    platform: Option<Platform>,
}

/// A text cannot name a context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextNameError {
    /// It is no image reference.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// What follows `::` is no platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// It has a meaning of its own.
    #[error("`{0}` cannot be the name of a context: it has a meaning of its own")]
    Reserved(String),
    /// The same name twice.
    #[error("`{0}` is given twice")]
    Repeated(String),
}

impl NamedContexts {
    /// Adds a context called `name`, or `name::platform`. Like images, names are the same with and
    /// without `docker.io/library/` and `:latest`.
    ///
    /// # Errors
    /// If the name cannot be one, or is there already.
    pub fn add(&mut self, name: &str, context: NamedContext) -> Result<(), ContextNameError> {
        let (short, platform) = match name.split_once("::") {
            Some((short, platform)) => (short, Some(Platform::parse(platform)?.normalized())),
            None => (name, None),
        };
        if RESERVED.iter().any(|reserved| short.eq_ignore_ascii_case(reserved)) {
            return Err(ContextNameError::Reserved(short.to_owned()));
        }
        let key = Key { name: short.parse()?, platform };
        if self.0.contains_key(&key) {
            return Err(ContextNameError::Repeated(name.to_owned()));
        }
        self.0.insert(key, (name.to_owned(), context));
        Ok(())
    }

    /// The context that `name` means for a platform, and how it was named. One for the platform wins over
    /// one for all.
    pub fn find(&self, name: &str, platform: &Platform) -> Option<(&str, &NamedContext)> {
        if self.0.is_empty() || RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return None;
        }
        // Stages have names without case.
        let name = Reference::from_str(&name.to_lowercase()).ok()?;
        let own = Key { name: name.clone(), platform: Some(platform.clone().normalized()) };
        let found = self.0.get(&own).or_else(|| self.0.get(&Key { name, platform: None }));
        found.map(|(written, context)| (written.as_str(), context))
    }

    /// Names as they were written.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|(written, _)| written.as_str())
    }
}

/// A name as in a Dockerfile: without what is understood.
pub(crate) fn familiar(name: &str) -> &str {
    let name = name.split("::").next().unwrap_or(name);
    name.strip_suffix(DEFAULT_TAG).and_then(|name| name.strip_suffix(':')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_those_of_images_and_may_be_for_a_platform() {
        let mut contexts = NamedContexts::default();
        for name in ["alpine", "base::linux/aarch64", "base", "example.com/a:1"] {
            contexts.add(name, NamedContext::Directory).unwrap();
        }
        let table = [
            ("alpine", Some("alpine")),
            ("Alpine", Some("alpine")),
            ("docker.io/library/alpine:latest", Some("alpine")),
            ("alpine:3", None),
            ("base", Some("base")),
            ("example.com/a:1", Some("example.com/a:1")),
            ("example.com/a", None),
            ("scratch", None),
            ("not a name", None),
        ];
        for (name, expected) in table {
            let found = contexts.find(name, &platform("linux/amd64"));
            assert_eq!(found.map(|(written, _)| written), expected, "{name}");
        }
        let found = contexts.find("base", &platform("linux/arm64")).unwrap();
        assert_eq!(found.0, "base::linux/aarch64");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let mut contexts = NamedContexts::default();
        contexts.add("a", NamedContext::Scratch).unwrap();
        let mut error = |name: &str| contexts.add(name, NamedContext::Scratch).unwrap_err();
        assert!(matches!(error("A B"), ContextNameError::Name(_)));
        assert!(matches!(error("a::linux/nothing/at/all"), ContextNameError::Platform(_)));
        assert!(matches!(error("Scratch"), ContextNameError::Reserved(_)));
        assert!(matches!(error("context::linux/amd64"), ContextNameError::Reserved(_)));
        assert!(matches!(error("docker.io/library/a:latest"), ContextNameError::Repeated(_)));
    }
}
