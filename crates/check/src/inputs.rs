//! What the checks start from.

use std::collections::BTreeMap;

use archway_dockerfile::{ast::Dockerfile, ignore::IgnorePatterns};
use archway_graph::{BuildArgs, NamedContexts};
use archway_oci::{ImageConfig, Platform};

/// A Dockerfile, how it would be built, and what is known of the world around it.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The Dockerfile.
    pub dockerfile: &'a Dockerfile,
    /// `--build-arg`.
    pub build_args: &'a BuildArgs,
    /// `--build-context`.
    pub named_contexts: &'a NamedContexts,
    /// `--target`: name or number of a stage; `None` is the last.
    pub target: Option<&'a str>,
    /// Whether rules that follow the instructions of a stage look at all stages, or only at those that the
    /// target needs.
    pub all_stages: bool,
    /// Platforms that are asked for; empty if nobody said.
    pub platforms: &'a [Platform],
    /// The platform of the machine that builds.
    pub build_platform: &'a Platform,
    /// `.dockerignore`, if the context is known to have one.
    pub ignore: Option<&'a IgnorePatterns>,
    /// Base images that the caller knows.
    pub bases: &'a KnownBases,
    /// Whether to look for what matters only to images for several platforms.
    pub multi_platform: bool,
}

/// What is known of base images. Rules that would have to guess about others say nothing.
#[derive(Debug, Clone, Default)]
pub struct KnownBases {
    /// Configs, by name as the Dockerfile has it (variables expanded) and by the platform asked for.
    pub configs: BTreeMap<(String, Platform), ImageConfig>,
    /// Platforms an image is offered for, by the same name.
    pub platforms: BTreeMap<String, Vec<Platform>>,
}
