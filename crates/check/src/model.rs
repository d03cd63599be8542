//! The stages of a Dockerfile for one requested platform: what each starts from and which are needed.

use std::collections::BTreeMap;

use archway_dockerfile::{
    ast::{Dockerfile, Instruction, Kind, Stage, Word},
    expand::{Expanded, Lookup, expand_word},
    mount::MountKey,
};
use archway_graph::NamedContext;
use archway_oci::Platform;

use crate::{architecture, inputs::Inputs, site::Site};

/// The arguments about platforms that every Dockerfile has.
pub(crate) const PLATFORM_ARGUMENTS: [&str; 10] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
];

/// A Dockerfile with its places, the same for every platform.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) globals: Vec<Step<'a>>,
    pub(crate) stages: Vec<StageText<'a>>,
}

/// A stage and the places of its instructions.
#[derive(Debug)]
pub(crate) struct StageText<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) site: Site<'a>,
    pub(crate) steps: Vec<Step<'a>>,
}

/// An instruction and its place.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) instruction: &'a Instruction,
    pub(crate) site: Site<'a>,
}

impl<'a> StageText<'a> {
    /// The places of its FROM and of its instructions.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site<'a>> {
        std::iter::once(&self.site).chain(self.steps.iter().map(|step| &step.site))
    }
}

impl<'a> Document<'a> {
    pub(crate) fn new(file: &'a Dockerfile) -> Self {
        let header = crate::site::header_end(&file.source.text);
        let step = |instruction: &'a Instruction| Step {
            instruction,
            site: Site::new(&file.source, instruction.span, header),
        };
        let stage = |stage: &'a Stage| StageText {
            stage,
            site: Site::new(&file.source, stage.span, header),
            steps: stage.instructions.iter().map(step).collect(),
        };
        Self {
            file,
            globals: file.global_args.iter().map(step).collect(),
            stages: file.stages.iter().map(stage).collect(),
        }
    }

    /// The stage with this name before `index`, the nearest first.
    pub(crate) fn stage_before(&self, index: usize, name: &str) -> Option<usize> {
        let stages = self.stages.get(..index).unwrap_or_default();
        stages.iter().rposition(|text| named(text.stage, name))
    }

    /// The stage that a name or number means, or the last one.
    pub(crate) fn target(&self, target: Option<&str>) -> Option<usize> {
        let last = self.stages.len().checked_sub(1)?;
        let Some(target) = target else { return Some(last) };
        let numbered = || target.parse().ok().filter(|number| *number <= last);
        self.stage_before(self.stages.len(), target).or_else(numbered)
    }

    /// The stage that `--from=` of an instruction in stage `index` means; `None` if it is an image.
    pub(crate) fn source_stage(&self, index: usize, name: &str) -> Option<usize> {
        match name.parse::<usize>() {
            Ok(number) => Some(number).filter(|number| *number < index),
            Err(_) => self.stage_before(index, name),
        }
    }
}

fn named(stage: &Stage, name: &str) -> bool {
    stage.name.as_ref().is_some_and(|known| known.value.eq_ignore_ascii_case(name))
}

/// What the stages are for one requested platform.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) platform: Platform,
    /// `--build-arg` for this platform.
    pub(crate) build_args: BTreeMap<String, String>,
    /// The scope before the first `FROM`.
    pub(crate) globals: BTreeMap<String, String>,
    pub(crate) stages: Vec<StageModel>,
    /// The stage that becomes the image.
    pub(crate) target: usize,
}

/// What a stage is for one requested platform.
#[derive(Debug)]
pub(crate) struct StageModel {
    pub(crate) base: Base,
    /// What `--platform=` makes of its platform, its base stages considered.
    pub(crate) runs_on: RunsOn,
    /// The stage at the beginning of its chain of `FROM`s.
    pub(crate) root: usize,
    /// Whether it, or a stage it starts from, says that it is for one architecture.
    pub(crate) for_one: bool,
    /// Whether it is for Windows.
    pub(crate) windows: bool,
    /// Whether a named context stands in for it, so that its instructions mean nothing.
    pub(crate) replaced: bool,
    /// Whether the target needs it.
    pub(crate) needed: bool,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    Stage(usize),
    /// The name, and the platform it is asked for.
    Image(String, Platform),
    /// Its name cannot be known.
    Unknown,
}

/// For which platform the programs of a stage are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunsOn {
    /// The one that is asked for.
    Target,
    /// `$BUILDPLATFORM`
    Build,
    /// A constant, or what an argument says.
    Fixed,
}

impl<'a> Model<'a> {
    pub(crate) fn new(document: &'a Document<'a>, inputs: &Inputs<'a>, platform: &Platform) -> Option<Self> {
        let target = document.target(inputs.target)?;
        let build_args = inputs.build_args.all_for(platform);
        let globals = globals(document, inputs, platform, Some(&build_args));
        let mut stages: Vec<StageModel> = Vec::with_capacity(document.stages.len());
        for (index, text) in document.stages.iter().enumerate() {
            let runs_on = runs_on(text.stage, document.file, &globals);
            let replaced =
                text.stage.name.as_ref().and_then(|name| named_context(inputs, &name.value, platform));
            let is_replaced = replaced.is_some();
            let base = replaced.unwrap_or_else(|| base(document, index, &globals, inputs, platform));
            let own = StageModel {
                for_one: is_for_one(text.stage, &runs_on),
                windows: platform.os == "windows" || is_windows(text.stage),
                root: index,
                replaced: is_replaced,
                needed: false,
                runs_on,
                base,
            };
            stages.push(match own.base {
                Base::Stage(parent) => {
                    let StageModel { runs_on, root, for_one, windows, .. } = &stages[parent];
                    let for_one = *for_one || own.for_one;
                    StageModel { runs_on: *runs_on, root: *root, for_one, windows: *windows, ..own }
                }
                _ => own,
            });
        }
        let mut model = Self { document, platform: platform.clone(), build_args, globals, stages, target };
        model.mark_needed();
        Some(model)
    }

    fn mark_needed(&mut self) {
        self.stages[self.target].needed = true;
        for index in (0..=self.target).rev() {
            if !self.stages[index].needed {
                continue;
            }
            let mut used: Vec<usize> =
                self.uses(index).filter_map(|name| self.document.source_stage(index, name)).collect();
            used.extend(match self.stages[index].base {
                Base::Stage(parent) => Some(parent),
                _ => None,
            });
            for stage in used {
                self.stages[stage].needed = true;
            }
        }
    }

    /// The names behind `COPY --from=` and `RUN --mount=from=` of a stage.
    fn uses(&self, index: usize) -> impl Iterator<Item = &'a str> {
        self.document.stages[index].steps.iter().flat_map(|step| sources(step.instruction))
    }

    /// All stages of the chain of `FROM`s, this one first.
    pub(crate) fn chain(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(index), |index| match self.stages[*index].base {
            Base::Stage(parent) => Some(parent),
            _ => None,
        })
    }
}

/// The names an instruction takes files from.
pub(crate) fn sources(instruction: &Instruction) -> Vec<&str> {
    fn name(word: &Word) -> &str {
        &word.value
    }
    match &instruction.kind {
        Kind::Copy(copy) => copy.from.iter().map(name).collect(),
        Kind::Run(run) => {
            run.mounts.iter().filter_map(|mount| mount.value(MountKey::From)).map(name).collect()
        }
        Kind::OnBuild { instruction, .. } => sources(instruction),
        _ => Vec::new(),
    }
}

/// The scope before the first `FROM`; `build_args` of `None` leaves the defaults.
pub(crate) fn globals(
    document: &Document<'_>,
    inputs: &Inputs<'_>,
    platform: &Platform,
    build_args: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let given = |name: &str| build_args.and_then(|arguments| arguments.get(name)).cloned();
    let mut scope: BTreeMap<String, String> = predefined(document, inputs, platform)
        .into_iter()
        // These are as given even where the defaults of others are looked at.
        .map(|(name, value)| {
            (name.to_owned(), inputs.build_args.get_for(platform, name).map_or(value, str::to_owned))
        })
        .collect();
    for step in &document.globals {
        let Kind::Arg(declarations) = &step.instruction.kind else { continue };
        for declaration in declarations {
            let name = &declaration.name.value;
            let default = || {
                let default = declaration.default.as_ref()?;
                Some(expand_word(default, document.file.escape, &scope).ok()?.value)
            };
            if let Some(value) = given(name).or_else(default) {
                scope.insert(name.clone(), value);
            }
        }
    }
    scope
}

fn predefined(
    document: &Document<'_>,
    inputs: &Inputs<'_>,
    target: &Platform,
) -> [(&'static str, String); 11] {
    let build = inputs.build_platform;
    let last = document.stages.last().and_then(|text| text.stage.name.as_ref());
    let stage = inputs.target.map(str::to_owned).or_else(|| Some(last?.value.clone()));
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", optional(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", optional(&build.variant)),
        ("TARGETPLATFORM", target.specifier()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", optional(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", optional(&target.variant)),
        ("TARGETSTAGE", stage.unwrap_or_else(|| "default".to_owned())),
    ]
}

/// What a named context is as a base.
fn named_context(inputs: &Inputs<'_>, name: &str, platform: &Platform) -> Option<Base> {
    let (_, context) = inputs.named_contexts.find(name, platform)?;
    Some(match context {
        NamedContext::Scratch => Base::Scratch,
        NamedContext::Image(image) => Base::Image(image.clone(), platform.clone()),
        NamedContext::Directory | NamedContext::Git(_) | NamedContext::Http(_) => Base::Unknown,
    })
}

fn base(
    document: &Document<'_>,
    index: usize,
    globals: &BTreeMap<String, String>,
    inputs: &Inputs<'_>,
    target: &Platform,
) -> Base {
    let stage = document.stages[index].stage;
    let Some(name) = expanded(&stage.base, document.file, globals) else { return Base::Unknown };
    if name.value == "scratch" {
        return Base::Scratch;
    }
    if let Some(earlier) = document.stage_before(index, &name.value) {
        return Base::Stage(earlier);
    }
    if let Some(base) = named_context(inputs, &name.value, target) {
        return base;
    }
    if name.value.parse::<archway_oci::Reference>().is_err() {
        return Base::Unknown;
    }
    let platform = match &stage.platform {
        None => Some(target.clone()),
        Some(word) => {
            expanded(word, document.file, globals).and_then(|platform| Platform::parse(&platform.value).ok())
        }
    };
    platform.map_or(Base::Unknown, |platform| Base::Image(name.value, platform))
}

/// Whether a stage says itself that it is for one architecture: by its platform, its name or its base.
fn is_for_one(stage: &Stage, runs_on: &RunsOn) -> bool {
    let name = stage.name.as_ref().map(|name| name.value.as_str()).unwrap_or_default();
    *runs_on == RunsOn::Fixed
        // Windows is for amd64, in practice.
        || is_windows(stage)
        || !architecture::named(name).is_empty()
        || !architecture::named(&stage.base.value).is_empty()
        // `FROM base-$TARGETARCH` is one of several stages.
        || architecture::asks(&stage.base.value)
}

/// Whether the base is one of Windows, by its name.
fn is_windows(stage: &Stage) -> bool {
    ["windows/", "servercore", "nanoserver"].iter().any(|part| stage.base.value.contains(part))
}

fn runs_on(stage: &Stage, file: &Dockerfile, globals: &BTreeMap<String, String>) -> RunsOn {
    let Some(word) = &stage.platform else { return RunsOn::Target };
    match expanded(word, file, globals) {
        Some(platform) if platform.used.contains("TARGETPLATFORM") => RunsOn::Target,
        Some(platform) if platform.used.contains("BUILDPLATFORM") => RunsOn::Build,
        _ => RunsOn::Fixed,
    }
}

pub(crate) fn expanded(word: &Word, file: &Dockerfile, variables: &dyn Lookup) -> Option<Expanded<String>> {
    expand_word(word, file.escape, variables).ok()
}
