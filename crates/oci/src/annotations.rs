//! Annotations that a user wants on the documents of a multi-platform image, and which document each is
//! for (image-spec `annotations.md`; scopes as in buildx and BuildKit's exporters).

use std::collections::BTreeMap;

use crate::Platform;

/// Which document an annotation is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The manifests: of all platforms, or of one.
    Manifest(Option<Platform>),
    /// The descriptors of manifests in the index.
    ManifestDescriptor(Option<Platform>),
    /// The image index.
    Index,
    /// The descriptor of the index, where something holds one: an OCI layout.
    IndexDescriptor,
}

impl Scope {
    /// The names of scopes, as users write them.
    pub const NAMES: [&'static str; 4] = ["manifest", "manifest-descriptor", "index", "index-descriptor"];

    /// The platform it is limited to.
    pub fn platform(&self) -> Option<&Platform> {
        match self {
            Self::Manifest(platform) | Self::ManifestDescriptor(platform) => platform.as_ref(),
            Self::Index | Self::IndexDescriptor => None,
        }
    }
}

/// Annotations by scope. Of one scope and key, the one that was set last counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations(BTreeMap<Scope, BTreeMap<String, String>>);

impl Annotations {
    /// Sets one.
    pub fn set(&mut self, scope: Scope, key: String, value: String) {
        self.0.entry(scope).or_default().insert(key, value);
    }

    /// Takes over those of `other`.
    pub fn extend(&mut self, other: Self) {
        for (scope, annotations) in other.0 {
            self.0.entry(scope).or_default().extend(annotations);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes that something was set for.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.0.keys()
    }

    /// Those of a platform's manifest; what is for this platform only goes over what is for all.
    pub fn manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.of(&[Scope::Manifest(None), Scope::Manifest(Some(platform.clone()))])
    }

    /// Those of the descriptor of a platform's manifest, in the same way.
    pub fn manifest_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.of(&[Scope::ManifestDescriptor(None), Scope::ManifestDescriptor(Some(platform.clone()))])
    }

    /// Those of the image index.
    pub fn index(&self) -> BTreeMap<String, String> {
        self.of(&[Scope::Index])
    }

    /// Those of the descriptor of the image index.
    pub fn index_descriptor(&self) -> BTreeMap<String, String> {
        self.of(&[Scope::IndexDescriptor])
    }

    fn of(&self, scopes: &[Scope]) -> BTreeMap<String, String> {
        scopes
            .iter()
            .filter_map(|scope| self.0.get(scope))
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_platform_goes_over_what_is_for_all() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let mut annotations = Annotations::default();
        let mut set = |scope, key: &str, value: &str| annotations.set(scope, key.into(), value.into());
        set(Scope::Manifest(Some(platform("linux/arm64"))), "a", "arm");
        set(Scope::Manifest(None), "a", "all");
        set(Scope::Manifest(None), "b", "all");
        set(Scope::Index, "a", "first");
        set(Scope::Index, "a", "index");
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(annotations.manifest(&platform("linux/arm64")), map(&[("a", "arm"), ("b", "all")]));
        assert_eq!(annotations.manifest(&platform("linux/amd64")), map(&[("a", "all"), ("b", "all")]));
        assert_eq!(annotations.index(), map(&[("a", "index")]));
        assert_eq!(annotations.manifest_descriptor(&platform("linux/amd64")), map(&[]));
        assert_eq!(annotations.index_descriptor(), map(&[]));
    }
}
