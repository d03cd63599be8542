//! From a Dockerfile to a graph.

use std::collections::BTreeMap;

use archway_dockerfile::ast::{Instruction, Stage};
use archway_oci::{ImageConfig, Platform};

use crate::{
    arguments, contexts, epoch,
    error::{LowerError, LowerProblem},
    inputs::{Inputs, Lowering},
    nearest::nearest,
    nodes::Nodes,
    op::{Graph, Node, NodeId, Output, Warning},
    selection::{self, Images, Origin, SelectedStage, Selection, Step},
    stage::{StageBuilder, StageState},
    strategy::{self, Machine},
};

/// Makes the graph of all requested platforms, or says which base images have to be known first.
///
/// # Errors
/// The first thing that is wrong, with its place. What this version does not support, and every
/// error in `FROM` and `--from`, is found before any image is asked for.
///
/// # Panics
/// If the Dockerfile has no stage, which no parsed one does.
pub fn lower(inputs: &Inputs<'_>) -> Result<Lowering, LowerError> {
    let target = selection::target_stage(inputs)?;
    selection::check_no_cache(inputs)?;
    let mut images = Images::new(inputs);
    let mut selections = Vec::with_capacity(inputs.platforms.len());
    for platform in inputs.platforms {
        selections.push(selection::select(inputs, target, platform, &mut images)?);
    }
    let globals = selections.first().map(|selection| &selection.globals);
    let source_date_epoch = globals.map_or(Ok(None), |globals| epoch::source_date_epoch(inputs, globals))?;
    let missing = images.into_missing();
    if !missing.is_empty() {
        return Ok(Lowering::Needs(missing));
    }
    let mut nodes = Nodes::default();
    let mut warnings = Vec::new();
    let mut built = Vec::with_capacity(selections.len());
    for selection in &selections {
        built.push(build(inputs, selection, &mut nodes, &mut warnings)?);
    }
    for warning in unused_contexts(inputs, &selections) {
        warn(&mut warnings, warning);
    }
    for warning in arguments::unused(inputs, triggers(&selections)) {
        warn(&mut warnings, warning);
    }
    for warning in &mut warnings {
        warning.message = inputs.build_args.mask(&warning.message);
        warning.hint = warning.hint.take().map(|hint| inputs.build_args.mask(&hint));
    }
    for (output, state) in built.iter().enumerate() {
        nodes.serve(output, state.node);
    }
    let nodes = nodes.into_vec();
    let mut outputs = Vec::with_capacity(built.len());
    for (state, platform) in built.into_iter().zip(inputs.platforms) {
        outputs.push(output(inputs, &nodes, outputs.len(), state, platform)?);
    }
    let proxy_env = arguments::proxy_env(inputs.build_args);
    Ok(Lowering::Ready(Graph { nodes, outputs, proxy_env, source_date_epoch, warnings }))
}

/// Builds the stages of one platform; the target's is the result.
fn build(
    inputs: &Inputs<'_>,
    selection: &Selection<'_>,
    nodes: &mut Nodes,
    warnings: &mut Vec<Warning>,
) -> Result<StageState, LowerError> {
    let mut states: BTreeMap<usize, StageState> = BTreeMap::new();
    for (index, selected) in &selection.stages {
        let (state, noted) = StageBuilder::build(inputs, selection, selected, &states, nodes)?;
        for warning in noted.into_iter().chain(doubts(inputs, selected, &state)) {
            warn(warnings, warning);
        }
        states.insert(*index, state);
    }
    let (_, target) = states.pop_last().expect("the target is always selected");
    if !selection.platform.satisfied_by(&target.platform) {
        warn(warnings, foreign_target(selection));
    }
    Ok(target)
}

/// Contexts that nothing on the way to the target names.
fn unused_contexts(inputs: &Inputs<'_>, selections: &[Selection<'_>]) -> Vec<Warning> {
    let is_used = |name: &str| selections.iter().any(|selection| selection.contexts.contains(name));
    let stages = inputs.dockerfile.stages.iter();
    let names: Vec<&str> = stages
        .flat_map(|stage| {
            [Some(stage.base.value.as_str()), stage.name.as_ref().map(|name| name.value.as_str())]
        })
        .flatten()
        .collect();
    let unused = inputs.contexts.names().filter(|name| !is_used(name));
    unused
        .map(|name| Warning {
            message: format!("the build context `{name}` is not used"),
            span: None,
            hint: nearest(contexts::familiar(name), names.iter().copied())
                .filter(|near| *near != name)
                .map(|near| format!("did you mean `{near}`?")),
        })
        .collect()
}

/// What is probably not meant.
fn doubts(inputs: &Inputs<'_>, selected: &SelectedStage<'_>, state: &StageState) -> Vec<Warning> {
    let mut doubts = Vec::new();
    // An empty root file system is the same everywhere; its platform is only that of its processes.
    let has_platform = !selected.base.is_files() || selected.steps.iter().any(Step::is_run);
    let ignored = selected.platform.as_ref().filter(|wanted| has_platform && **wanted != state.platform);
    if let Some(platform) = ignored {
        let base = &selected.stage.base.value;
        doubts.push(Warning {
            message: format!("--platform={platform} has no effect: `{base}` is for {}", state.platform),
            span: selected.stage.platform.as_ref().map(|word| word.span),
            hint: Some("a stage has the platform of the image that its chain of FROMs ends at".to_owned()),
        });
    }
    if let Origin::Image(image) = &selected.base {
        let config = &inputs.bases[&(image.name.clone(), image.platform.clone())].config;
        if !image.platform.satisfied_by(&config.platform) {
            doubts.push(Warning {
                message: format!(
                    "the base image `{}` is for {}, and {} is needed",
                    image.name, config.platform, image.platform
                ),
                span: Some(selected.stage.base.span),
                hint: Some("its config and the index that names it do not agree".to_owned()),
            });
        }
    }
    doubts
}

/// The target stage is pinned to another platform than the one it is built for.
fn foreign_target(selection: &Selection<'_>) -> Warning {
    let stage = selection.stages.last_key_value().map(|(_, selected)| selected.stage);
    Warning {
        message: "the last stage starts from an image of another platform than the one requested".to_owned(),
        span: stage.map(|stage: &Stage| stage.span),
        hint: Some("only stages whose files are copied from should have a --platform".to_owned()),
    }
}

fn warn(warnings: &mut Vec<Warning>, warning: Warning) {
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

fn triggers<'s>(selections: &'s [Selection<'_>]) -> impl Iterator<Item = &'s Instruction> {
    let stages = selections.iter().flat_map(|selection| selection.stages.values());
    let steps = stages.flat_map(|selected| &selected.steps);
    steps.filter(|step| step.is_trigger()).map(|step| &*step.instruction)
}

fn output(
    inputs: &Inputs<'_>,
    nodes: &[Node],
    index: usize,
    state: StageState,
    platform: &Platform,
) -> Result<Output, LowerError> {
    let machine = Machine { name: inputs.build_platform, processor: inputs.processor };
    let decision = strategy::decide(nodes, index, platform, machine, &inputs.dockerfile.source);
    if let Some(wanted) = inputs.strategies.get(platform).filter(|wanted| **wanted != decision.strategy) {
        let deciding = decision.step.and_then(|id| nodes[id.0 as usize].span);
        let from = || inputs.dockerfile.stages.last().map(|stage| stage.span);
        let problem = LowerProblem::StrategyNotMet {
            platform: Box::new(platform.clone()),
            wanted: *wanted,
            actual: decision.strategy,
            reason: decision.reason,
        };
        return Err(LowerError { problem, span: deciding.or_else(from).unwrap_or_default() });
    }
    Ok(Output {
        platform: platform.clone(),
        node: state.node,
        base: state.base,
        layers: layers(nodes, state.node),
        config: config(state.image, platform, inputs),
        strategy: decision.strategy,
        reason: decision.reason,
    })
}

/// The nodes between the base and `top`, base first.
fn layers(nodes: &[Node], top: NodeId) -> Vec<NodeId> {
    let mut layers = Vec::new();
    let mut current = top;
    while let Some(base) = nodes[current.0 as usize].op.base() {
        layers.push(current);
        current = base;
    }
    layers.reverse();
    layers
}

/// The config of the last stage for the requested platform. Details that the request leaves open
/// stay as the base image has them.
fn config(mut image: ImageConfig, platform: &Platform, inputs: &Inputs<'_>) -> ImageConfig {
    let base = image.platform;
    let same = base.os == platform.os && base.architecture == platform.architecture;
    let kept = |wanted: &Option<String>, base: Option<String>| wanted.clone().or(base.filter(|_| same));
    let os_features =
        if platform.os_features.is_empty() { base.os_features } else { platform.os_features.clone() };
    image.platform = Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: kept(&platform.variant, base.variant),
        os_version: kept(&platform.os_version, base.os_version),
        os_features,
    }
    .normalized();
    image.config.labels.extend(inputs.labels.clone());
    image
}
