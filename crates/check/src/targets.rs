//! The stages of a Dockerfile as targets: BuildKit's `frontend.targets`.

use archway_dockerfile::ast::Dockerfile;
use serde::Serialize;

use crate::{
    document::{Location, bytes},
    lines::Lines,
    model::Document,
};

/// All stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// In the order of the file.
    pub targets: Vec<Target>,
    sources: [String; 1],
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is what a build without `--target` makes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// The comment above it, `# NAME description`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it starts from, as written.
    pub base: String,
    /// `--platform=`, as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    location: Location,
}

/// The targets of a Dockerfile.
pub fn targets(file: &Dockerfile) -> Targets {
    let document = Document::new(file);
    let lines = Lines::new(&file.source);
    let last = document.stages.len().saturating_sub(1);
    let target = |(index, text): (usize, &crate::model::StageText<'_>)| {
        let name = text.stage.name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        Target {
            default: index == last,
            description: text
                .site
                .description(&name)
                .filter(|_| !name.is_empty())
                .unwrap_or_default()
                .to_owned(),
            base: text.stage.base.value.clone(),
            platform: text.stage.platform.as_ref().map(|word| word.value.clone()).unwrap_or_default(),
            location: Location::new(&lines, text.stage.span),
            name,
        }
    };
    Targets {
        targets: document.stages.iter().enumerate().map(target).collect(),
        sources: [bytes(&file.source.text)],
    }
}
