//! `ARG`

use archway_dockerfile::ast::ArgDeclaration;

use crate::{
    error::LowerError,
    stage::{Layer, StageBuilder},
};

/// Arguments that say which stages an SBOM covers. They are in the history, but no process sees them.
const FOR_SBOMS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Gives each argument the value of `--build-arg`, else its default, else what the global scope has.
pub(crate) fn declare(
    builder: &mut StageBuilder<'_>,
    declarations: &[ArgDeclaration],
) -> Result<(), LowerError> {
    let mut words = vec!["ARG".to_owned()];
    for declaration in declarations {
        let name = &declaration.name.value;
        let value = match (builder.inputs.build_args.get_for(builder.target, name), &declaration.default) {
            (Some(given), _) => Some(given.to_owned()),
            (None, Some(default)) => Some(builder.expander().word(default)?),
            (None, None) => builder.globals.value(name).map(str::to_owned),
        };
        words.push(match &value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        if let Some(value) = value.as_deref().filter(|_| !FOR_SBOMS.contains(&name.as_str())) {
            builder.state.variables.set(name, value);
        }
        builder.state.arguments.push((name.clone(), value));
    }
    builder.state.record(words.join(" "), Layer::None);
    Ok(())
}
