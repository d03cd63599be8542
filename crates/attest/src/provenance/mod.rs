//! How an image came to be: SLSA provenance.
//!
//! [`Facts`] are what a build knows about one platform's image; [`attestation`] says them in the form
//! that was asked for. Where SLSA leaves the form open, names are BuildKit's, so that what reads its
//! provenance reads this, too. `docs/formats/build-type-v1.md` is the page that the build type names.
//!
//! The same build gives the same bytes: there is no id of the invocation, and no time unless it is
//! given.

mod v0_2;
mod v1;

use std::collections::BTreeMap;

use archway_oci::{Descriptor, Platform};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value;

use crate::{Attestation, DigestSet};

/// What the parameters and steps mean, as a page that says it.
pub const BUILD_TYPE: &str =
    "https://github.com/archway-build/archway/blob/main/docs/formats/build-type-v1.md";
/// Who builds, where nobody says another name: this software, on a machine that is not told.
pub const BUILDER: &str = "https://github.com/archway-build/archway";
/// The language of the Dockerfile, as BuildKit calls it.
const FRONTEND: &str = "dockerfile.v0";
/// Arguments that may hold what is not for everybody, by how their names begin.
const PRIVATE_ARGUMENTS: [&str; 2] = ["build-arg:", "label:"];

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the image was made from, and by whom: nothing that was given as a value.
    Min,
    /// Also the values of build arguments and labels, ids of secrets, the Dockerfile, and the steps.
    #[default]
    Max,
}

/// A version of the predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// `https://slsa.dev/provenance/v1`
    #[default]
    V1,
    /// `https://slsa.dev/provenance/v0.2`
    V0_2,
}

impl Version {
    /// The type of the predicate.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::V1 => "https://slsa.dev/provenance/v1",
            Self::V0_2 => "https://slsa.dev/provenance/v0.2",
        }
    }
}

/// How provenance is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// How much.
    pub mode: Mode,
    /// Which version.
    pub version: Version,
    /// Who builds, as a URI; `None` is [`BUILDER`].
    pub builder_id: Option<String>,
    /// Whether whoever asked for the build claims that it can be repeated bit for bit.
    pub reproducible: bool,
}

/// What is known about how one platform's image came to be. None of it is a secret: URLs have no
/// credentials, values of secret arguments are masked.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The version of this software.
    pub version: String,
    /// Where the Dockerfile and the context come from.
    pub source: Source,
    /// What the build was asked for, by BuildKit's names: `target`, `build-arg:NAME`, `label:NAME`.
    pub arguments: BTreeMap<String, String>,
    /// Secrets that steps may have read.
    pub secrets: Vec<Lent>,
    /// Agents that steps may have asked.
    pub ssh: Vec<Lent>,
    /// Directories of the machine that files come from, by name. Nobody else can look there.
    pub locals: Vec<String>,
    /// The platform of the image.
    pub platform: Platform,
    /// The platform of the machine.
    pub builder_platform: Platform,
    /// `native`, `cross` or `emulated`.
    pub strategy: String,
    /// Programs that ran steps of other architectures.
    pub emulators: Vec<String>,
    /// What the image was made from.
    pub dependencies: Vec<Dependency>,
    /// Whether a step could reach a network.
    pub network: bool,
    /// The operations, inputs first.
    pub steps: Vec<Step>,
    /// The text of the Dockerfile.
    pub dockerfile: String,
    /// Start and end in RFC 3339, where they are wanted.
    pub times: Option<(String, String)>,
}

/// Where the Dockerfile and the context come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Where others find it; `None` if it is on the machine.
    pub uri: Option<String>,
    /// What was there.
    pub digest: DigestSet,
    /// The Dockerfile, in the context.
    pub path: String,
}

/// Something that was lent to steps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lent {
    /// Its name.
    pub id: String,
    /// Whether the steps can do without.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// Something that the image was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// What it is called in the build, where nobody else has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where everybody has it. Version 0.2 leaves others out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What it was.
    pub digest: DigestSet,
    /// What else is to be known about it. Version 0.2 has no room for this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Dependency {
    /// One that everybody has.
    pub fn at(uri: impl Into<String>, digest: impl Into<DigestSet>) -> Self {
        Self { name: None, uri: Some(uri.into()), digest: digest.into(), annotations: BTreeMap::new() }
    }

    /// One that only the machine has.
    pub fn named(name: impl Into<String>, digest: impl Into<DigestSet>) -> Self {
        Self { name: Some(name.into()), uri: None, digest: digest.into(), annotations: BTreeMap::new() }
    }
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name among the steps.
    pub id: String,
    /// How people see it; empty where they do not.
    pub name: String,
    /// The steps whose results it reads.
    pub inputs: Vec<String>,
    /// What it does.
    pub operation: Value,
    /// Its first and last line in the Dockerfile, from 1, where it has one.
    pub lines: Option<(usize, usize)>,
    /// The layers that it is in the image.
    pub layers: Vec<Descriptor>,
}

/// Says what is known, in the form that is asked for.
pub fn attestation(facts: &Facts, options: &Options) -> Attestation {
    let said = Said::new(facts, options);
    match options.version {
        Version::V1 => Attestation::new(options.version.predicate_type(), &v1::predicate(&said)),
        Version::V0_2 => Attestation::new(options.version.predicate_type(), &v0_2::predicate(&said)),
    }
}

/// What buildx says of the facts to whoever asked for the build: version 0.2 of the predicate, whatever is attached, without
/// steps and metadata.
pub fn summary(facts: &Facts, options: &Options) -> Value {
    serde_json::to_value(v0_2::summary(&Said::new(facts, options))).expect("plain data")
}

/// What is said of the facts, in parts that both versions have, each under a name of its own.
struct Said<'a> {
    facts: &'a Facts,
    builder_id: &'a str,
    request: Request<'a>,
    build_config: Option<BuildConfig<'a>>,
    extra: Extra<'a>,
    /// Whether the request has all that was asked for.
    whole_request: bool,
    /// Whether everything that the image was made from is named.
    whole_dependencies: bool,
    /// Whether nothing else can have had an influence.
    hermetic: bool,
    reproducible: bool,
}

impl<'a> Said<'a> {
    fn new(facts: &'a Facts, options: &'a Options) -> Self {
        let everything = options.mode == Mode::Max;
        let is_said =
            |name: &str| everything || !PRIVATE_ARGUMENTS.iter().any(|private| name.starts_with(private));
        let arguments: BTreeMap<&str, &str> = facts
            .arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| is_said(name))
            .collect();
        let whole_dependencies = facts.locals.is_empty();
        Self {
            facts,
            builder_id: options.builder_id.as_deref().unwrap_or(BUILDER),
            whole_request: arguments.len() == facts.arguments.len(),
            request: Request {
                frontend: FRONTEND,
                args: arguments,
                platform: facts.platform.to_string(),
                secrets: if everything { &facts.secrets } else { &[] },
                ssh: if everything { &facts.ssh } else { &[] },
                locals: facts.locals.iter().map(|name| Local { name }).collect(),
            },
            build_config: everything.then(|| BuildConfig::new(facts)),
            extra: if everything { Extra::new(facts) } else { Extra::default() },
            whole_dependencies,
            hermetic: whole_dependencies && !facts.network,
            reproducible: options.reproducible,
        }
    }
}

/// BuildKit's `Parameters`, and the platform.
#[derive(Serialize)]
struct Request<'a> {
    frontend: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<&'a str, &'a str>,
    platform: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    secrets: &'a [Lent],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ssh: &'a [Lent],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locals: Vec<Local<'a>>,
}

#[derive(Serialize)]
struct Local<'a> {
    name: &'a str,
}

/// The steps: ours, as there is no LLB here.
#[derive(Serialize)]
struct BuildConfig<'a> {
    steps: Vec<SaidStep<'a>>,
}

#[derive(Serialize)]
struct SaidStep<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    op: &'a Value,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    inputs: &'a [String],
}

impl<'a> BuildConfig<'a> {
    fn new(facts: &'a Facts) -> Self {
        let said = |step: &'a Step| SaidStep {
            id: &step.id,
            name: &step.name,
            op: &step.operation,
            inputs: &step.inputs,
        };
        Self { steps: facts.steps.iter().map(said).collect() }
    }
}

/// BuildKit's metadata: the Dockerfile, which of its lines are which step, and which layers.
#[derive(Default, Serialize)]
struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceMap<'a>>,
    /// By step and number of its output, which is always 0.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    layers: BTreeMap<String, [&'a [Descriptor]; 1]>,
}

#[derive(Serialize)]
struct SourceMap<'a> {
    locations: BTreeMap<&'a str, Locations>,
    infos: [SourceFile<'a>; 1],
}

#[derive(Serialize)]
struct SourceFile<'a> {
    filename: &'a str,
    language: &'static str,
    /// Base64, as Go writes bytes.
    data: String,
}

#[derive(Serialize)]
struct Locations {
    locations: [Location; 1],
}

#[derive(Serialize)]
struct Location {
    ranges: [Range; 1],
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: usize,
}

impl<'a> Extra<'a> {
    fn new(facts: &'a Facts) -> Self {
        let location = |(first, last)| Locations {
            locations: [Location {
                ranges: [Range { start: Position { line: first }, end: Position { line: last } }],
            }],
        };
        let placed = facts.steps.iter().filter_map(|step| Some((step.id.as_str(), location(step.lines?))));
        let layers = facts.steps.iter().filter(|step| !step.layers.is_empty());
        Self {
            source: Some(SourceMap {
                locations: placed.collect(),
                infos: [SourceFile {
                    filename: &facts.source.path,
                    language: "Dockerfile",
                    data: STANDARD.encode(&facts.dockerfile),
                }],
            }),
            layers: layers.map(|step| (format!("{}:0", step.id), [step.layers.as_slice()])).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
