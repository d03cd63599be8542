//! Build arguments: the global scope, what the platform predefines, proxies, and what nobody asked for.

use std::collections::BTreeSet;

use archway_dockerfile::ast::{Dockerfile, Instruction, Kind};
use archway_oci::Platform;

use crate::{
    build_args::BuildArgs,
    builder_arguments, epoch,
    error::LowerError,
    inputs::Inputs,
    nearest::nearest,
    op::Warning,
    variables::{Expander, Variables},
};

/// Arguments that RUN sees without a declaration (Dockerfile reference, "Predefined ARGs").
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The scope before the first `FROM`, for one requested platform: the arguments about platforms, then
/// the `ARG`s of that scope, with `--build-arg` over both.
pub(crate) fn global_scope(inputs: &Inputs<'_>, target: &Platform) -> Result<Variables, LowerError> {
    let mut scope = Variables::default();
    for (name, value) in predefined(inputs, target) {
        scope.set(name, inputs.build_args.get_for(target, name).unwrap_or(&value));
    }
    for instruction in &inputs.dockerfile.global_args {
        let Kind::Arg(declarations) = &instruction.kind else { continue };
        for declaration in declarations {
            let name = &declaration.name.value;
            let value = match (inputs.build_args.get_for(target, name), &declaration.default) {
                (Some(given), _) => Some(given.to_owned()),
                (None, Some(default)) => {
                    let escape = inputs.dockerfile.escape;
                    Some(Expander { escape, variables: &scope }.word(default)?)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                scope.set(name, &value);
            }
        }
    }
    Ok(scope)
}

fn predefined(inputs: &Inputs<'_>, target: &Platform) -> Vec<(&'static str, String)> {
    let build = inputs.build_platform;
    let stage = inputs.target.map(str::to_owned).or_else(|| {
        let last = inputs.dockerfile.stages.last()?;
        Some(last.name.as_ref()?.value.clone())
    });
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let version = |platform: &Platform| platform.os_version.clone().unwrap_or_default();
    vec![
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", version(build)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.specifier()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", version(target)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", stage.unwrap_or_else(|| "default".to_owned())),
    ]
}

/// Whether a build argument of this name is a proxy setting, which is about the machine.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// The proxy settings among the build arguments, under both spellings that programs look for.
pub(crate) fn proxy_env(build_args: &BuildArgs) -> Vec<String> {
    let mut env = Vec::new();
    for name in PROXIES {
        let given = build_args.everywhere().iter().rfind(|(given, _)| given.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            env.push(format!("{name}={value}"));
            env.push(format!("{}={value}", name.to_ascii_lowercase()));
        }
    }
    env
}

/// A warning for every `--build-arg` that no `ARG` of the file, or of the triggers that were run, declares.
pub(crate) fn unused<'a>(
    inputs: &Inputs<'a>,
    triggers: impl Iterator<Item = &'a Instruction>,
) -> Vec<Warning> {
    let mut declared: BTreeSet<&str> = BTreeSet::new();
    for instruction in instructions(inputs.dockerfile).chain(triggers) {
        declare(instruction, &mut declared);
    }
    let predefined = predefined(inputs, inputs.build_platform);
    let is_used = |name: &str| {
        declared.contains(name)
            || predefined.iter().any(|(known, _)| *known == name)
            || is_proxy(name)
            || builder_arguments::is_one(name)
            || name == epoch::NAME
    };
    let unknown = inputs.build_args.names().into_iter().filter(|name| !is_used(name));
    unknown
        .map(|name| Warning {
            message: format!("the build argument `{name}` is not used: no ARG declares it"),
            span: None,
            hint: Some(match nearest(name, declared.iter().copied()) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("add `ARG {name}` to the stage that needs it"),
            }),
        })
        .chain(builder_arguments::without_effect(inputs.build_args, |name| declared.contains(name)))
        .collect()
}

fn instructions(dockerfile: &Dockerfile) -> impl Iterator<Item = &Instruction> {
    dockerfile.global_args.iter().chain(dockerfile.stages.iter().flat_map(|stage| &stage.instructions))
}

fn declare<'a>(instruction: &'a Instruction, declared: &mut BTreeSet<&'a str>) {
    match &instruction.kind {
        Kind::Arg(declarations) => {
            declared.extend(declarations.iter().map(|declaration| declaration.name.value.as_str()));
        }
        Kind::OnBuild { instruction, .. } => declare(instruction, declared),
        _ => {}
    }
}
