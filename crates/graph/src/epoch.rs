//! `SOURCE_DATE_EPOCH`: the time of the source, for images and files.

use archway_dockerfile::ast::{Kind, Span};

use crate::{
    error::{LowerError, LowerProblem},
    inputs::Inputs,
    variables::Variables,
};

/// Its name.
pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// Seconds since 1970: the build argument, else the `ARG` before the first `FROM`. Empty is none.
pub(crate) fn source_date_epoch(inputs: &Inputs<'_>, globals: &Variables) -> Result<Option<i64>, LowerError> {
    let value = inputs.build_args.get(NAME).or_else(|| globals.value(NAME));
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| LowerError {
        problem: LowerProblem::BadEpoch { value: value.to_owned() },
        span: declaration(inputs).unwrap_or_default(),
    })
}

/// Where the file gives it a value.
fn declaration(inputs: &Inputs<'_>) -> Option<Span> {
    let declarations =
        inputs.dockerfile.global_args.iter().filter_map(|instruction| match &instruction.kind {
            Kind::Arg(declarations) => Some(declarations),
            _ => None,
        });
    let found = declarations.flatten().find(|declaration| declaration.name.value == NAME)?;
    Some(found.default.as_ref().map_or(found.name.span, |default| default.span))
}
