//! Whose language the Dockerfile is written in: the `syntax` directive, or what the build argument
//! `BUILDKIT_SYNTAX` says instead.

use archway_dockerfile::{
    ast::{SourceText, Span},
    syntax::{self, Frontend},
};
use archway_graph::{BuildArgs, Warning};

use crate::error::Error;

/// Refuses a file that is not for the frontend that is spoken here, before it is parsed as if it were.
/// Something to tell the user if it may be for a newer one.
pub(crate) fn choose(text: &SourceText, build_args: &BuildArgs) -> Result<Option<Warning>, Error> {
    // What follows the reference are arguments for the frontend; the official one has none.
    let argument = build_args.get(syntax::BUILD_ARGUMENT).map(str::trim);
    if let Some(value) = argument.filter(|value| !value.is_empty()) {
        let reference = value.split(' ').next().unwrap_or_default();
        let frontend = syntax::frontend(reference).map_err(Error::Frontend)?;
        return Ok(doubt(frontend, reference, None));
    }
    let Some(directive) = syntax::detect(&text.text) else { return Ok(None) };
    let frontend = syntax::frontend(&directive.value).map_err(|unknown| Error::Dockerfile {
        text: text.clone(),
        diagnostic: Box::new(unknown.diagnostic(&directive)),
    })?;
    Ok(doubt(frontend, &directive.value, Some(directive.span)))
}

fn doubt(frontend: Frontend, reference: &str, span: Option<Span>) -> Option<Warning> {
    (frontend == Frontend::Unsure).then(|| Warning {
        message: format!("`{reference}` may be newer than Dockerfile {}, which is read here", syntax::SPOKEN),
        span,
        hint: Some("what this version does not know is refused, never ignored".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str, argument: Option<&str>) -> Result<Option<Option<Span>>, String> {
        let arguments = argument.map(|value| (syntax::BUILD_ARGUMENT.to_owned(), value.to_owned()));
        choose(&SourceText::new("Dockerfile", text), &arguments.into_iter().collect())
            .map(|warning| warning.map(|warning| warning.span))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_argument_wins_over_the_directive() {
        let foreign = "# syntax=example/other\nFROM a";
        let unknown = |name| {
            Err(format!(
                "the frontend `{name}` is not known: only the language of docker/dockerfile is read here"
            ))
        };
        assert_eq!(chosen("FROM a", None), Ok(None));
        assert_eq!(chosen("# syntax=docker/dockerfile:1\nFROM a", None), Ok(None));
        assert_eq!(chosen(foreign, None), unknown("example/other"));
        assert_eq!(chosen(foreign, Some("docker/dockerfile:1 x")), Ok(None));
        assert_eq!(chosen(foreign, Some("dockerfile.v0")), Ok(None));
        assert_eq!(chosen(foreign, Some("")), unknown("example/other"));
        assert_eq!(chosen("FROM a", Some("example/other")), unknown("example/other"));
        assert_eq!(chosen("FROM a", Some("docker/dockerfile:3")), Ok(Some(None)));
        let newer = "# syntax=docker/dockerfile:3\nFROM a";
        assert_eq!(chosen(newer, None), Ok(Some(Some(Span { start: 9, end: 28 }))));
    }
}
