//! `https://slsa.dev/provenance/v1`

use std::collections::BTreeMap;

use serde::Serialize;

use super::{BUILD_TYPE, BuildConfig, Dependency, Extra, Request, Said};
use crate::DigestSet;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Predicate<'a> {
    build_definition: BuildDefinition<'a>,
    run_details: RunDetails<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    build_type: &'static str,
    external_parameters: ExternalParameters<'a>,
    internal_parameters: InternalParameters<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resolved_dependencies: &'a [Dependency],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalParameters<'a> {
    config_source: ConfigSource<'a>,
    request: &'a Request<'a>,
}

#[derive(Serialize)]
struct ConfigSource<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(skip_serializing_if = "DigestSet::is_empty")]
    digest: &'a DigestSet,
    path: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InternalParameters<'a> {
    builder_platform: String,
    strategy: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    emulators: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    build_config: Option<&'a BuildConfig<'a>>,
}

#[derive(Serialize)]
struct RunDetails<'a> {
    builder: Builder<'a>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Builder<'a> {
    id: &'a str,
    version: BTreeMap<&'static str, &'a str>,
}

/// SLSA's names, and, as it asks of extensions, others that begin with whose they are.
#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(rename = "startedOn", skip_serializing_if = "Option::is_none")]
    started_on: Option<&'a str>,
    #[serde(rename = "finishedOn", skip_serializing_if = "Option::is_none")]
    finished_on: Option<&'a str>,
    buildkit_metadata: &'a Extra<'a>,
    buildkit_hermetic: bool,
    buildkit_completeness: Completeness,
    buildkit_reproducible: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Completeness {
    request: bool,
    resolved_dependencies: bool,
}

pub(super) fn predicate<'a>(said: &'a Said<'a>) -> Predicate<'a> {
    let facts = said.facts;
    let (started_on, finished_on) = facts.times.as_ref().map(|(start, end)| (&**start, &**end)).unzip();
    Predicate {
        build_definition: BuildDefinition {
            build_type: BUILD_TYPE,
            external_parameters: ExternalParameters {
                config_source: ConfigSource {
                    uri: facts.source.uri.as_deref(),
                    digest: &facts.source.digest,
                    path: &facts.source.path,
                },
                request: &said.request,
            },
            internal_parameters: InternalParameters {
                builder_platform: facts.builder_platform.to_string(),
                strategy: &facts.strategy,
                emulators: &facts.emulators,
                build_config: said.build_config.as_ref(),
            },
            resolved_dependencies: &facts.dependencies,
        },
        run_details: RunDetails {
            builder: Builder {
                id: said.builder_id,
                version: BTreeMap::from([("archway", facts.version.as_str())]),
            },
            metadata: Metadata {
                started_on,
                finished_on,
                buildkit_metadata: &said.extra,
                buildkit_hermetic: said.hermetic,
                buildkit_completeness: Completeness {
                    request: said.whole_request,
                    resolved_dependencies: said.whole_dependencies,
                },
                buildkit_reproducible: said.reproducible,
            },
        },
    }
}
