//! `--build-context`

use std::path::Path;

use archway_graph::ContextNameError;
use archway_orchestrator::source::named::{NamedContextError, NamedContextSpec, NamedContextSpecs};

use crate::error::CliError;

const FLAG: &str = "--build-context";

/// `NAME[::PLATFORM]=SOURCE`, repeated.
pub(super) fn parse(given: &[String]) -> Result<NamedContextSpecs, CliError> {
    let mut contexts = NamedContextSpecs::default();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(CliError::usage(FLAG, format!("`{text}` is not NAME=SOURCE")));
        };
        let wrong = |error: NamedContextError| CliError::Usage {
            flag: FLAG,
            message: format!("{name}: {error}"),
            hint: hint(&error),
        };
        let spec = NamedContextSpec::parse(value, Path::is_dir).map_err(wrong)?;
        contexts.add(name, spec).map_err(|error| wrong(error.into()))?;
    }
    Ok(contexts)
}

fn hint(error: &NamedContextError) -> Option<String> {
    match error {
        NamedContextError::Git(error) => error.hint(),
        NamedContextError::Missing(_) => Some(
            "give a directory, a git URL, the URL of a file, docker-image://REFERENCE or oci-layout://DIRECTORY"
                .to_owned(),
        ),
        NamedContextError::Name(ContextNameError::Platform(error)) => {
            error.suggestion.as_ref().map(|near| format!("did you mean `{near}`?"))
        }
        NamedContextError::Name(ContextNameError::Name(_)) => {
            Some("names are those of images and stages, in lower case".to_owned())
        }
        _ => None,
    }
}
