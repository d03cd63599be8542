//! What can be said about a Dockerfile without building it: checks, outline, targets. Pure: no I/O.
//!
//! ```
//! use archway_check::{Inputs, KnownBases, check};
//! use archway_graph::{BuildArgs, NamedContexts};
//! use archway_oci::Platform;
//!
//! let file = archway_dockerfile::parse("Dockerfile", "FROM debian\nCMD server --port 80\n")?;
//! let report = check(&Inputs {
//!     dockerfile: &file,
//!     build_args: &BuildArgs::default(),
//!     named_contexts: &NamedContexts::default(),
//!     target: None,
//!     all_stages: true,
//!     platforms: &[],
//!     build_platform: &Platform::host(),
//!     ignore: None,
//!     bases: &KnownBases::default(),
//!     multi_platform: true,
//! })?;
//! let finding = &report.findings[0];
//! assert_eq!(finding.rule.name, "JSONArgsRecommended");
//! let fixed = finding.fix.as_ref().map(|fix| fix.apply(&file.source.text));
//! assert_eq!(fixed.as_deref(), Some("FROM debian\nCMD [\"server\", \"--port\", \"80\"]\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;

use archway_dockerfile::{
    ParseError,
    ast::{SourceText, Spanned},
};
use archway_graph::{BuildArgs, NamedContexts};
use archway_oci::Platform;
use thiserror::Error;

mod architecture;
pub mod config;
pub mod document;
mod finding;
mod findings;
mod inputs;
mod lines;
pub mod lint;
mod model;
mod mount;
pub mod outline;
mod rule;
pub mod rules;
pub mod sarif;
mod scope;
mod script;
mod shell;
mod site;
mod suggestion;
pub mod targets;

pub use config::{Config, ConfigError};
pub use finding::{Edit, Finding, Fix};
pub use inputs::{Inputs, KnownBases};
pub use rule::{Example, Origin, Rule};

use crate::{
    findings::Findings,
    model::{Base, Document, Model},
};

/// The build argument that stands in for the `check` directive.
pub const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What the checks found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of the file.
    pub findings: Vec<Finding>,
    /// What decided about them.
    pub config: Config,
}

impl Report {
    /// The names of the rules for which `error=true` fails a build, each once, in alphabetical order;
    /// empty if the build goes on.
    pub fn failing_rules(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = match self.config.error {
            true => {
                self.findings.iter().map(|f| f.rule).filter(|r| r.fails_builds()).map(|r| r.name).collect()
            }
            false => Vec::new(),
        };
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Why a Dockerfile could not be checked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckError {
    /// Its `# check=` directive; the span counts in the Dockerfile.
    #[error(transparent)]
    Directive(ConfigError),
    /// The build argument [`ARGUMENT`]; the span counts in its value.
    #[error("{ARGUMENT}: {error}")]
    Argument {
        /// The value of the argument.
        value: String,
        /// What is wrong with it.
        error: ConfigError,
    },
}

/// Checks a Dockerfile by all rules.
///
/// # Errors
/// A `check` directive, or a build argument in its place, that cannot be understood.
pub fn check(inputs: &Inputs<'_>) -> Result<Report, CheckError> {
    let file = inputs.dockerfile;
    let config = config_of(inputs)?;
    let document = Document::new(file);
    let mut findings = Findings::new(&file.source, &config);
    rules::check_text(&document, inputs, &config, &mut findings);
    let host = [inputs.build_platform.clone()];
    let platforms: &[Platform] = if inputs.platforms.is_empty() { &host } else { inputs.platforms };
    for platform in platforms {
        if let Some(model) = Model::new(&document, inputs, platform) {
            rules::check_stages(&model, inputs, &mut findings);
        }
    }
    let findings = findings.into_sorted();
    Ok(Report { findings, config })
}

/// Checks what stands above the place where reading a Dockerfile ended, by the rules that look at nothing but
/// the text.
///
/// # Errors
/// As [`check()`].
pub fn check_before(
    error: &ParseError,
    source: &SourceText,
    build_args: &BuildArgs,
) -> Result<Report, CheckError> {
    let above = source.text.get(..error.span.start).unwrap_or_default();
    let above = above.get(..above.rfind('\n').map_or(0, |at| at + 1)).unwrap_or_default();
    let Ok(file) = archway_dockerfile::parse(&source.name, above) else {
        return Ok(Report { findings: Vec::new(), config: Config::default() });
    };
    let bases = KnownBases::default();
    let inputs = Inputs {
        dockerfile: &file,
        build_args,
        named_contexts: &NamedContexts::default(),
        target: None,
        all_stages: true,
        platforms: &[],
        build_platform: &Platform::default(),
        ignore: None,
        bases: &bases,
        multi_platform: true,
    };
    let config = config_of(&inputs)?;
    let document = Document::new(&file);
    let mut findings = Findings::new(&file.source, &config);
    rules::check_text(&document, &inputs, &config, &mut findings);
    let findings = findings.into_sorted();
    Ok(Report { findings, config })
}

/// The base images that the checks of these inputs would like to know, each once: names as they are keys of
/// [`KnownBases`], and the platforms they are asked for.
pub fn base_images(inputs: &Inputs<'_>) -> BTreeSet<(String, Platform)> {
    let document = Document::new(inputs.dockerfile);
    let models = inputs.platforms.iter().filter_map(|platform| Model::new(&document, inputs, platform));
    let mut images = BTreeSet::new();
    for model in models {
        for stage in model.stages {
            if let Base::Image(name, platform) = stage.base
                && (stage.needed || inputs.all_stages)
            {
                images.insert((name, platform));
            }
        }
    }
    images
}

fn config_of(inputs: &Inputs<'_>) -> Result<Config, CheckError> {
    if let Some(text) = inputs.build_args.get(ARGUMENT) {
        return Config::parse(text).map_err(|error| CheckError::Argument { value: text.to_owned(), error });
    }
    let Some(directive) = &inputs.dockerfile.check else { return Ok(Config::default()) };
    let Spanned { value, span } = first_word(directive);
    Config::parse(value).map_err(|error| CheckError::Directive(error.shifted(span.start)))
}

/// A directive's value counts up to its first space.
pub(crate) fn first_word(directive: &Spanned<String>) -> Spanned<&str> {
    let value = directive.value.split(' ').next().unwrap_or_default();
    Spanned { value, span: directive.span }
}
