//! Checks of a Dockerfile: reads it and what is around it, looks base images up, and lets `archway-check` judge.

use std::{collections::BTreeMap, path::Path};

use archway_check::{CheckError, ConfigError, Inputs, KnownBases, Report};
use archway_dockerfile::{
    ast::{Dockerfile, SourceText},
    diagnostic::Diagnostic,
    ignore::IgnorePatterns,
};
use archway_graph::BuildArgs;
use archway_oci::{Platform, reference::ImageLocation};
use futures_util::{StreamExt as _, stream};

use crate::{
    Context, Error, Prepared, frontend,
    origin::Found,
    plan,
    request::BuildRequest,
    source::{
        self,
        named::{self, NamedContextSpecs},
    },
};

/// Base images that are looked up at the same time.
const PARALLEL: usize = 8;

/// For which build a Dockerfile is checked.
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// Platforms that are asked for; empty if nobody said.
    pub platforms: Vec<Platform>,
    /// `--build-arg`
    pub build_args: BuildArgs,
    /// `--build-context`
    pub named_contexts: NamedContextSpecs,
    /// `--target`
    pub target: Option<String>,
    /// Look base images up at their registry, even if the local store has them.
    pub pull: bool,
}

/// A Dockerfile that was read for being checked.
pub struct Readable {
    /// Its text.
    pub source: SourceText,
    /// The syntax tree, or where reading it ended.
    dockerfile: Result<Dockerfile, archway_dockerfile::ParseError>,
    ignore: Option<IgnorePatterns>,
}

/// What was found.
pub struct Checked {
    /// The findings.
    pub report: Report,
    /// Where reading the Dockerfile ended; the findings are then those above it.
    pub error: Option<Diagnostic>,
}

/// A base image that could not be looked up. The rules that have to know it say nothing then.
pub struct UnknownBase {
    /// As the Dockerfile names it.
    pub name: String,
    /// Why.
    pub cause: Error,
}

/// Reads a Dockerfile of this machine and the `.dockerignore` of the context it is for. Without a path it is
/// the `Dockerfile` in the context.
///
/// # Errors
/// Files that cannot be read, and a `.dockerignore` that cannot be understood. Errors in the Dockerfile are
/// part of the result.
pub fn read_local(context: &Path, dockerfile: Option<&Path>) -> Result<Readable, Error> {
    if !context.is_dir() {
        return Err(Error::ContextMissing { path: context.to_owned() });
    }
    let path = dockerfile.map_or_else(|| context.join("Dockerfile"), Path::to_owned);
    Ok(Readable::new(plan::read_dockerfile(&path)?, plan::read_ignore(context, Some(&path))?))
}

/// Reads a Dockerfile from standard input; nothing is known of its context.
///
/// # Errors
/// As [`read_local`].
pub fn read_stdin() -> Result<Readable, Error> {
    Ok(Readable::new(plan::read_stdin()?, None))
}

/// Reads the Dockerfile of a build whose context has to be fetched or unpacked for that.
///
/// # Errors
/// As [`read_local`], and what cannot be fetched.
pub async fn fetch(context: &Context, request: &BuildRequest) -> Result<Readable, Error> {
    Ok(Readable::new(source::open(context, request).await?.dockerfile, None))
}

impl Readable {
    fn new(source: SourceText, ignore: Option<IgnorePatterns>) -> Self {
        let dockerfile = archway_dockerfile::parse_source(source.clone());
        Self { source, dockerfile, ignore }
    }

    /// The syntax tree.
    ///
    /// # Errors
    /// Where reading it ended.
    pub fn dockerfile(&self) -> Result<&Dockerfile, Error> {
        self.dockerfile.as_ref().map_err(|error| self.refused(error.diagnostic()))
    }

    /// Checks it with what is known of base images.
    ///
    /// # Errors
    /// A `check` directive that cannot be understood.
    pub fn check(&self, request: &CheckRequest, bases: &KnownBases) -> Result<Checked, Error> {
        // Another language has other rules.
        frontend::choose(&self.source, &request.build_args)?;
        let refused = |error| refused(&self.source, error);
        match &self.dockerfile {
            Ok(file) => {
                let build_platform = Platform::host();
                let inputs = self.inputs(file, request, bases, &build_platform);
                let report = archway_check::check(&inputs).map_err(refused)?;
                Ok(Checked { report, error: None })
            }
            Err(error) => {
                let report = archway_check::check_before(error, &self.source, &request.build_args);
                Ok(Checked { report: report.map_err(refused)?, error: Some(error.diagnostic()) })
            }
        }
    }

    /// Looks up the base images for the platforms of the request.
    pub async fn bases(&self, context: &Context, request: &CheckRequest) -> (KnownBases, Vec<UnknownBase>) {
        let Ok(file) = &self.dockerfile else { return (KnownBases::default(), Vec::new()) };
        let (build_platform, none) = (Platform::host(), KnownBases::default());
        let inputs = self.inputs(file, request, &none, &build_platform);
        let mut wanted: BTreeMap<String, Vec<Platform>> = BTreeMap::new();
        for (name, platform) in archway_check::base_images(&inputs) {
            wanted.entry(name).or_default().push(platform);
        }
        let looked_up: Vec<_> = stream::iter(wanted)
            .map(|(name, platforms)| async move {
                let found = look_up(context, &name, &platforms, request.pull).await;
                (name, found)
            })
            .buffered(PARALLEL)
            .collect()
            .await;
        let mut known = KnownBases::default();
        let mut unknown = Vec::new();
        for (name, found) in looked_up {
            match found {
                Ok((offered, configs)) => {
                    known.platforms.insert(name.clone(), offered);
                    known.configs.extend(
                        configs.into_iter().map(|(platform, config)| ((name.clone(), platform), config)),
                    );
                }
                Err(cause) => unknown.push(UnknownBase { name, cause }),
            }
        }
        (known, unknown)
    }

    fn inputs<'a>(
        &'a self,
        dockerfile: &'a Dockerfile,
        request: &'a CheckRequest,
        bases: &'a KnownBases,
        build_platform: &'a Platform,
    ) -> Inputs<'a> {
        Inputs {
            dockerfile,
            build_args: &request.build_args,
            named_contexts: request.named_contexts.names(),
            target: request.target.as_deref(),
            all_stages: request.target.is_none(),
            platforms: &request.platforms,
            build_platform,
            ignore: self.ignore.as_ref(),
            bases,
            multi_platform: true,
        }
    }

    fn refused(&self, diagnostic: Diagnostic) -> Error {
        Error::Dockerfile { text: self.source.clone(), diagnostic: Box::new(diagnostic) }
    }
}

type LookedUp = (Vec<Platform>, Vec<(Platform, archway_oci::ImageConfig)>);

/// The platforms an image is offered for, and its configs for those that are wanted and there.
async fn look_up(context: &Context, name: &str, wanted: &[Platform], pull: bool) -> Result<LookedUp, Error> {
    let location = named::location(name).unwrap_or_else(|| {
        ImageLocation::Registry(name.parse().expect("only names of images are asked for"))
    });
    let mut found = Found::at(context, &location, pull).await?;
    let mut offered = offers(&found, context).await?;
    let has_all = |offered: &[Platform]| {
        wanted.iter().all(|wanted| offered.iter().any(|candidate| wanted.satisfied_by(candidate)))
    };
    // As a build does: what the local store lacks may be at the registry.
    if !pull && !has_all(&offered) {
        found = Found::at(context, &location, true).await?;
        offered = offers(&found, context).await?;
    }
    let mut configs = Vec::new();
    for platform in wanted {
        match found.child(context, name, platform).await {
            Ok(child) => configs.push((platform.clone(), found.image(context, &child).await?.1)),
            Err(Error::NoSuchPlatform { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((offered, configs))
}

async fn offers(found: &Found, context: &Context) -> Result<Vec<Platform>, Error> {
    Ok(found.children(context).await?.into_iter().map(|(platform, _)| platform).collect())
}

/// Checks the Dockerfile of a build that is about to begin: only the stages it needs, and by the rules about
/// several platforms only if it is for others than this machine's.
///
/// # Errors
/// A `check` directive that cannot be understood.
pub fn of_build(prepared: &Prepared, request: &BuildRequest) -> Result<Report, Error> {
    let build_platform = Platform::host();
    let configs = prepared.bases.by_name.iter().map(|(key, base)| (key.clone(), base.config.clone()));
    let bases = KnownBases { configs: configs.collect(), platforms: BTreeMap::new() };
    let inputs = Inputs {
        dockerfile: &prepared.dockerfile,
        build_args: &request.build_args,
        named_contexts: request.named_contexts.names(),
        target: request.target.as_deref(),
        all_stages: false,
        platforms: &request.platforms,
        build_platform: &build_platform,
        ignore: None,
        bases: &bases,
        multi_platform: request.platforms.iter().any(|platform| *platform != build_platform),
    };
    archway_check::check(&inputs).map_err(|error| refused(&prepared.dockerfile.source, error))
}

/// An error in a `check` directive, or in the argument in its place.
fn refused(source: &SourceText, error: CheckError) -> Error {
    let in_text = |text: SourceText, error: ConfigError| Error::Dockerfile {
        text,
        diagnostic: Box::new(error.diagnostic()),
    };
    match error {
        CheckError::Directive(error) => in_text(source.clone(), error),
        CheckError::Argument { value, error } => {
            in_text(SourceText::new(archway_check::ARGUMENT, &value), error)
        }
    }
}
