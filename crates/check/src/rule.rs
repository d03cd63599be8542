//! What a rule is, apart from how it is checked.

/// A rule: its name, and what people read about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// As `# check=skip=` and reports name it.
    pub name: &'static str,
    /// Whose rule it is.
    pub origin: Origin,
    /// In one sentence, without a full stop.
    pub description: &'static str,
    /// Why it matters, and what to do.
    pub explanation: &'static str,
    /// A Dockerfile that the rule objects to.
    pub bad: Example,
    /// The same as it should be.
    pub good: Example,
}

/// Whose rule it is, and when it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// BuildKit has it under the same name.
    BuildKit {
        /// BuildKit's page about it; a few rules have none.
        url: Option<&'static str>,
        /// Only checked if `# check=experimental=` asks for it.
        experimental: bool,
    },
    /// Ours, about images for several platforms.
    MultiPlatform,
    /// Ours, about everything else.
    Archway,
}

/// A Dockerfile, and what is around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The Dockerfile.
    pub dockerfile: &'static str,
    /// `.dockerignore`, where it matters.
    pub ignore: Option<&'static str>,
}

impl Example {
    pub(crate) const fn new(dockerfile: &'static str) -> Self {
        Self { dockerfile, ignore: None }
    }

    pub(crate) const fn with_ignore(dockerfile: &'static str, ignore: &'static str) -> Self {
        Self { dockerfile, ignore: Some(ignore) }
    }
}

impl Rule {
    /// A page about the rule, if there is one outside of this project's documentation.
    pub fn url(&self) -> Option<&'static str> {
        match self.origin {
            Origin::BuildKit { url, .. } => url,
            Origin::MultiPlatform | Origin::Archway => None,
        }
    }

    /// Whether it is only checked on request.
    pub fn is_experimental(&self) -> bool {
        matches!(self.origin, Origin::BuildKit { experimental: true, .. })
    }

    /// Whether a finding fails a build with `# check=error=true`. Rules of ours do not: what builds with
    /// BuildKit must build here.
    pub fn fails_builds(&self) -> bool {
        matches!(self.origin, Origin::BuildKit { .. })
    }
}

/// A rule of BuildKit with a page.
pub(crate) const fn buildkit(url: &'static str) -> Origin {
    Origin::BuildKit { url: Some(url), experimental: false }
}
