//! `--build-arg`: values for every platform, and values for one.

use std::collections::{BTreeMap, BTreeSet};

use archway_dockerfile::{diagnostic::Diagnostic, secret_name::names_a_secret};
use archway_oci::Platform;

/// Stands for a secret.
const MASK: &str = "***";
/// In bytes. Shorter values are in too many words, and no secrets.
const SHORTEST_SECRET: usize = 4;

/// Build arguments with their values. A value for one platform wins over the one for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildArgs {
    everywhere: BTreeMap<String, String>,
    of_platform: BTreeMap<Platform, BTreeMap<String, String>>,
}

impl BuildArgs {
    /// Sets an argument for all platforms that have no value of their own.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.everywhere.insert(name.into(), value.into());
    }

    /// Sets an argument for one requested platform, normalised. Stages that run on the build machine
    /// have the arguments of the platform they are run for.
    pub fn set_for(&mut self, platform: Platform, name: impl Into<String>, value: impl Into<String>) {
        self.of_platform.entry(platform).or_default().insert(name.into(), value.into());
    }

    /// The value for all platforms. For arguments that speak to the builder: they have no other.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.everywhere.get(name).map(String::as_str)
    }

    /// The value for a requested platform.
    pub fn get_for(&self, platform: &Platform, name: &str) -> Option<&str> {
        let own = self.of_platform.get(platform).and_then(|own| own.get(name));
        own.map(String::as_str).or_else(|| self.get(name))
    }

    /// The values for all platforms, by name.
    pub fn everywhere(&self) -> &BTreeMap<String, String> {
        &self.everywhere
    }

    /// All that a requested platform gets, by name.
    pub fn all_for(&self, platform: &Platform) -> BTreeMap<String, String> {
        let own = self.of_platform.get(platform).into_iter().flatten();
        self.everywhere.iter().chain(own).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Every name, whatever it is for.
    pub fn names(&self) -> BTreeSet<&str> {
        self.all().map(|(name, _)| name).collect()
    }

    /// A text without the values of arguments whose names say that they are secrets.
    pub fn mask(&self, text: &str) -> String {
        let secrets =
            self.all().filter(|(name, value)| names_a_secret(name) && value.len() >= SHORTEST_SECRET);
        let mut values: Vec<&str> = secrets.map(|(_, value)| value).collect();
        // One may be a part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.into_iter().fold(text.to_owned(), |text, value| text.replace(value, MASK))
    }

    /// An error or a warning without them.
    pub fn mask_diagnostic(&self, diagnostic: Diagnostic) -> Diagnostic {
        Diagnostic {
            message: self.mask(&diagnostic.message),
            label: self.mask(&diagnostic.label),
            hint: diagnostic.hint.map(|hint| self.mask(&hint)),
            span: diagnostic.span,
        }
    }

    /// Every value under its name, whatever it is for.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.of_platform.values().flatten();
        self.everywhere.iter().chain(own).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for BuildArgs {
    /// Arguments for all platforms; the last of a name wins.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut arguments = Self::default();
        for (name, value) in pairs {
            arguments.set(name, value);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::BuildArgs;

    #[test]
    fn a_value_for_one_platform_wins() {
        let platform = |text: &str| archway_oci::Platform::parse(text).unwrap();
        let mut arguments: BuildArgs = [("A", "all"), ("B", "all")].into_iter().collect();
        arguments.set_for(platform("linux/arm64"), "A", "arm");
        arguments.set_for(platform("linux/arm64"), "C", "arm");
        arguments.set("A", "later");
        let table = [
            ("linux/arm64", "A", Some("arm")),
            ("linux/arm64", "B", Some("all")),
            ("linux/arm64", "C", Some("arm")),
            ("linux/amd64", "A", Some("later")),
            ("linux/amd64", "C", None),
        ];
        for (on, name, expected) in table {
            assert_eq!(arguments.get_for(&platform(on), name), expected, "{on} {name}");
            assert_eq!(
                arguments.all_for(&platform(on)).get(name).map(String::as_str),
                expected,
                "{on} {name}"
            );
        }
        assert_eq!(arguments.get("C"), None);
        assert_eq!(arguments.names().into_iter().collect::<Vec<_>>(), ["A", "B", "C"]);
    }
    #[test]
    fn secrets_are_masked_by_their_names() {
        let mut arguments: BuildArgs =
            [("TOKEN", "s3cr3t"), ("API_KEY", "s3cr3t-long"), ("KEY", "abc"), ("NAME", "visible")]
                .into_iter()
                .collect();
        arguments.set_for(archway_oci::Platform::parse("linux/arm64").unwrap(), "TOKEN", "other");
        let text = "s3cr3t-long, s3cr3t, other, abc, visible";
        assert_eq!(arguments.mask(text), "***, ***, ***, abc, visible");
    }
}
