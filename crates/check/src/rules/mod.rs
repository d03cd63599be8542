//! The rules, by theme. Each has its text, with an example that is tested, next to its code.

mod base_image;
mod casing;
mod check_comment;
mod command;
mod continuation;
mod copy;
mod description;
mod exposed_port;
mod final_stage;
mod from_argument;
mod from_platform;
mod hardcoded_architecture;
mod key_value;
mod machine_name;
mod maintainer;
mod secret;
mod stage_name;
mod target_argument;
mod toolchain;
mod undefined_variable;
mod workdir;

use std::borrow::Cow;

use archway_dockerfile::ast::{Instruction, Kind};

use crate::{
    config::Config,
    findings::Findings,
    inputs::Inputs,
    model::{Base, Document, Model, Step},
    rule::Rule,
    scope::{MAX_BYTES, Scope},
};

/// All rules: BuildKit's, then ours, each in alphabetical order.
pub static ALL: [&Rule; 30] = [
    &casing::CONSISTENT_INSTRUCTION_CASING,
    &copy::COPY_IGNORED_FILE,
    &stage_name::DUPLICATE_STAGE_NAME,
    &exposed_port::EXPOSE_INVALID_FORMAT,
    &exposed_port::EXPOSE_PROTO_CASING,
    &casing::FROM_AS_CASING,
    &from_platform::FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    &base_image::INVALID_BASE_IMAGE_PLATFORM,
    &from_argument::INVALID_DEFAULT_ARG_IN_FROM,
    &description::INVALID_DEFINITION_DESCRIPTION,
    &command::JSON_ARGS_RECOMMENDED,
    &key_value::LEGACY_KEY_VALUE_FORMAT,
    &maintainer::MAINTAINER_DEPRECATED,
    &command::MULTIPLE_INSTRUCTIONS_DISALLOWED,
    &continuation::NO_EMPTY_CONTINUATION,
    &from_platform::REDUNDANT_TARGET_PLATFORM,
    &stage_name::RESERVED_STAGE_NAME,
    &secret::SECRETS_USED_IN_ARG_OR_ENV,
    &casing::STAGE_NAME_CASING,
    &from_argument::UNDEFINED_ARG_IN_FROM,
    &undefined_variable::UNDEFINED_VAR,
    &workdir::WORKDIR_RELATIVE_PATH,
    &base_image::BASE_LACKS_PLATFORM,
    &toolchain::EMULATED_TOOLCHAIN,
    &final_stage::FINAL_STAGE_OF_BUILD_PLATFORM,
    &hardcoded_architecture::HARDCODED_ARCHITECTURE,
    &check_comment::INVALID_CHECK_DIRECTIVE,
    &target_argument::TARGET_ARG_TOO_EARLY,
    &target_argument::TARGET_ARG_WITH_DEFAULT,
    &machine_name::UNMAPPED_MACHINE_NAME,
];

/// The rule with this name.
pub fn find(name: &str) -> Option<&'static Rule> {
    ALL.into_iter().find(|rule| rule.name == name)
}

/// The rule whose name is most like this one, in any case.
pub fn nearest(name: &str) -> Option<&'static Rule> {
    let distance = |rule: &&'static Rule| {
        strsim::damerau_levenshtein(&rule.name.to_ascii_lowercase(), &name.to_ascii_lowercase())
    };
    let near = ALL.into_iter().min_by_key(distance)?;
    (distance(&near) <= near.name.len() / 4).then_some(near)
}

/// What can be seen in the text alone.
pub(crate) fn check_text(
    document: &Document<'_>,
    inputs: &Inputs<'_>,
    config: &Config,
    findings: &mut Findings<'_>,
) {
    check_comment::check(document, inputs, config, findings);
    continuation::check(document, findings);
    casing::check(document, findings);
    stage_name::check(document, findings);
    maintainer::check(document, findings);
    description::check(document, findings);
}

/// What follows from the values of variables, for one requested platform.
pub(crate) fn check_stages(model: &Model<'_>, inputs: &Inputs<'_>, findings: &mut Findings<'_>) {
    from_argument::check(model, inputs, findings);
    from_platform::check(model, findings);
    base_image::check(model, inputs, findings);
    if inputs.multi_platform {
        final_stage::check(model, findings);
        for step in &model.document.globals {
            target_argument::check_default(step, findings);
        }
    }
    let mut ends: Vec<Scope> = Vec::with_capacity(model.stages.len());
    let mut kept = 0;
    for index in 0..model.stages.len() {
        let scope = check_stage(model, inputs, index, &ends, findings);
        kept += scope.bytes();
        ends.push(if kept > MAX_BYTES { Scope::default() } else { scope });
    }
}

/// Whether rules that follow instructions look at a stage.
fn is_checked(model: &Model<'_>, inputs: &Inputs<'_>, index: usize) -> bool {
    inputs.all_stages || model.stages[index].needed
}

/// The instructions that the base of a stage wants to be run first: what they set is set.
fn triggers<'m>(model: &'m Model<'_>, inputs: &Inputs<'_>, index: usize) -> Vec<Cow<'m, Instruction>> {
    match &model.stages[index].base {
        Base::Stage(parent) => {
            let steps = model.document.stages[*parent].steps.iter();
            let trigger = |step: &'m Step<'_>| match &step.instruction.kind {
                Kind::OnBuild { instruction, .. } => Some(Cow::Borrowed(&**instruction)),
                _ => None,
            };
            steps.filter_map(trigger).collect()
        }
        Base::Image(name, platform) => {
            let config = inputs.bases.configs.get(&(name.clone(), platform.clone()));
            let texts = config.map(|config| config.config.on_build.as_slice()).unwrap_or_default();
            texts
                .iter()
                .filter_map(|text| archway_dockerfile::parse_onbuild(text).ok())
                .map(Cow::Owned)
                .collect()
        }
        Base::Scratch | Base::Unknown => Vec::new(),
    }
}

/// Follows the instructions of a stage, and returns how it ends.
fn check_stage(
    model: &Model<'_>,
    inputs: &Inputs<'_>,
    index: usize,
    ends: &[Scope],
    findings: &mut Findings<'_>,
) -> Scope {
    let text = &model.document.stages[index];
    let file = model.document.file;
    let windows = model.stages[index].windows;
    let mut scope = match &model.stages[index].base {
        Base::Stage(parent) => ends[*parent].child(),
        base => {
            let config = match base {
                Base::Image(name, platform) => inputs.bases.configs.get(&(name.clone(), platform.clone())),
                _ => None,
            };
            Scope::at_base(base, config, windows)
        }
    };
    if model.stages[index].replaced {
        return scope;
    }
    for trigger in triggers(model, inputs, index) {
        scope.apply(&trigger.kind, file, &model.globals, &model.build_args);
    }
    let checked = is_checked(model, inputs, index);
    if checked {
        command::check_repeated(text, findings);
        if inputs.multi_platform {
            hardcoded_architecture::check(model, index, findings);
            machine_name::check(model, index, findings);
            target_argument::check(model, index, findings);
            toolchain::check(model, index, findings);
        }
    }
    for step in &text.steps {
        if checked {
            undefined_variable::check(model, index, step, &scope, findings);
            match &step.instruction.kind {
                Kind::Arg(declarations) => {
                    secret::check_arguments(step, declarations, findings);
                    if inputs.multi_platform {
                        target_argument::check_default(step, findings);
                    }
                }
                Kind::Env(pairs) => {
                    secret::check_environment(step, pairs, findings);
                    key_value::check("ENV", step, pairs, findings);
                }
                Kind::Label(pairs) => key_value::check("LABEL", step, pairs, findings),
                Kind::Workdir(path) => workdir::check(step, path, &scope, file, windows, findings),
                Kind::Cmd(command) | Kind::Entrypoint(command) => {
                    command::check_form(step, command, &scope, findings);
                }
                Kind::Expose(ports) => exposed_port::check(step, ports, &scope, file, findings),
                Kind::Copy(copy) if copy.from.is_none() => {
                    copy::check("Copy", step, copy, &scope, file, inputs.ignore, findings);
                }
                Kind::Add(copy) => copy::check("Add", step, copy, &scope, file, inputs.ignore, findings),
                _ => {}
            }
        }
        scope.apply(&step.instruction.kind, file, &model.globals, &model.build_args);
    }
    scope
}
