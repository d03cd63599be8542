//! `https://slsa.dev/provenance/v0.2`, for readers that know no later one.

use serde::Serialize;

use super::{BUILD_TYPE, BuildConfig, Dependency, Extra, Request, Said};
use crate::DigestSet;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Predicate<'a> {
    builder: Builder<'a>,
    build_type: &'static str,
    invocation: Invocation<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_config: Option<&'a BuildConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    materials: Vec<Material<'a>>,
}

#[derive(Serialize)]
struct Builder<'a> {
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation<'a> {
    config_source: ConfigSource<'a>,
    parameters: &'a Request<'a>,
    environment: Environment<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigSource<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(skip_serializing_if = "DigestSet::is_empty")]
    digest: &'a DigestSet,
    entry_point: &'a str,
}

#[derive(Serialize)]
struct Environment<'a> {
    /// Of the machine.
    platform: String,
    strategy: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    emulators: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    build_started_on: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_finished_on: Option<&'a str>,
    completeness: Completeness,
    reproducible: bool,
    #[serde(rename = "https://mobyproject.org/buildkit@v1#hermetic")]
    hermetic: bool,
    #[serde(rename = "https://mobyproject.org/buildkit@v1#metadata")]
    extra: &'a Extra<'a>,
}

#[derive(Serialize)]
struct Completeness {
    parameters: bool,
    environment: bool,
    materials: bool,
}

#[derive(Serialize)]
struct Material<'a> {
    uri: &'a str,
    digest: &'a DigestSet,
}

pub(super) fn predicate<'a>(said: &'a Said<'a>) -> Predicate<'a> {
    let facts = said.facts;
    let (build_started_on, build_finished_on) =
        facts.times.as_ref().map(|(start, end)| (&**start, &**end)).unzip();
    let material = |one: &'a Dependency| Some(Material { uri: one.uri.as_deref()?, digest: &one.digest });
    Predicate {
        builder: Builder { id: said.builder_id },
        build_type: BUILD_TYPE,
        invocation: Invocation {
            config_source: ConfigSource {
                uri: facts.source.uri.as_deref(),
                digest: &facts.source.digest,
                entry_point: &facts.source.path,
            },
            parameters: &said.request,
            environment: Environment {
                platform: facts.builder_platform.to_string(),
                strategy: &facts.strategy,
                emulators: &facts.emulators,
            },
        },
        build_config: said.build_config.as_ref(),
        metadata: Some(Metadata {
            build_started_on,
            build_finished_on,
            completeness: Completeness {
                parameters: said.whole_request,
                environment: true,
                materials: said.whole_dependencies,
            },
            reproducible: said.reproducible,
            hermetic: said.hermetic,
            extra: &said.extra,
        }),
        materials: facts.dependencies.iter().filter_map(material).collect(),
    }
}

/// The predicate without steps and metadata.
pub(super) fn summary<'a>(said: &'a Said<'a>) -> Predicate<'a> {
    Predicate { build_config: None, metadata: None, ..predicate(said) }
}
