//! What lowering starts from, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use archway_dockerfile::ast::{Dockerfile, Span, Stage};
use archway_oci::{Digest, ImageConfig, Platform, Reference};
use archway_report::Strategy;
use serde::Serialize;

use crate::{
    build_args::BuildArgs,
    contexts::NamedContexts,
    op::{Graph, Network},
    run_settings::{Entitlement, RunSettings},
};

/// Base images that were resolved already, by name as it stands in [`BaseRequest::name`] and by
/// requested platform.
pub type Bases = BTreeMap<(String, Platform), ResolvedBase>;

/// Everything that decides what the graph looks like. Nothing else does: the same inputs give the
/// same graph.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The parsed Dockerfile.
    pub dockerfile: &'a Dockerfile,
    /// Requested platforms, normalised, each once, in the order of the outputs.
    pub platforms: &'a [Platform],
    /// The platform of the machine that runs the steps, `BUILDPLATFORM`: [`Platform::host`].
    pub build_platform: &'a Platform,
    /// What that machine's processor runs: [`Platform::host_processor`]. Decides what is emulated.
    pub processor: &'a Platform,
    /// `--build-arg`, with their values.
    pub build_args: &'a BuildArgs,
    /// `--target`: name or number of a stage; `None` is the last.
    pub target: Option<&'a str>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: &'a NoCache,
    /// `--build-context`: what names mean besides what the Dockerfile says.
    pub contexts: &'a NamedContexts,
    /// `--label`: set on every image, over those of the Dockerfile.
    pub labels: &'a BTreeMap<String, String>,
    /// Network of RUN steps that do not choose one.
    pub network: Network,
    /// What else the request says about RUN steps.
    pub run_settings: &'a RunSettings,
    /// `--allow`: what the build may do besides.
    pub allowed: &'a BTreeSet<Entitlement>,
    /// `--strategy`: platforms that must be built in just this way.
    pub strategies: &'a BTreeMap<Platform, Strategy>,
    /// What is known of base images so far; start with an empty map.
    pub bases: &'a Bases,
}

/// Which stages do not look for results in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// None: all look.
    #[default]
    Nowhere,
    /// All.
    Everywhere,
    /// Those of these names.
    Stages(Vec<String>),
}

impl NoCache {
    /// Whether the RUN steps of `stage` run even if their results are known.
    pub(crate) fn covers(&self, stage: &Stage) -> bool {
        let is_it = |name: &str| stage.name.as_ref().is_some_and(|own| own.value.eq_ignore_ascii_case(name));
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::Stages(names) => names.iter().any(|name| is_it(name)),
        }
    }

    /// The first name that no stage has.
    pub(crate) fn unknown<'n>(&'n self, stages: &[Stage]) -> Option<&'n str> {
        let Self::Stages(names) = self else { return None };
        let is_known = |name: &&String| {
            stages
                .iter()
                .filter_map(|stage| stage.name.as_ref())
                .any(|own| own.value.eq_ignore_ascii_case(name))
        };
        names.iter().find(|name| !is_known(name)).map(String::as_str)
    }
}

/// A base image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedBase {
    /// Where its layers are.
    pub reference: Reference,
    /// Digest of the one-platform manifest.
    pub manifest: Digest,
    /// The image config that manifest names.
    pub config: ImageConfig,
}

/// A base image that must be known before the graph can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseRequest {
    /// As written in the Dockerfile, expanded: a valid image reference; or the name of the image that a
    /// context is.
    pub name: String,
    /// Platform it is needed for.
    pub platform: Platform,
    /// Where it is first named.
    #[serde(skip)]
    pub span: Span,
    /// What to tell the user if there is no such image: the name is also that of a later stage, or
    /// nearly that of an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The answer of [`lower`](crate::lower()).
#[derive(Debug, Clone)]
pub enum Lowering {
    /// These images are missing in [`Inputs::bases`]: every image of every requested platform, as
    /// far as can be seen from here. Resolve them and call again; there can be more then, named by
    /// the `ONBUILD` triggers of the first ones. In the order of the Dockerfile, each once.
    Needs(Vec<BaseRequest>),
    /// The graph.
    Ready(Graph),
}
