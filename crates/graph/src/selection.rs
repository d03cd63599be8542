//! Which stages a platform needs, and what they stand on.
//!
//! A stage can only use earlier ones, so one pass from the target down to the first stage finds
//! everything, base images included.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use archway_dockerfile::{
    ast::{Dockerfile, Instruction, Kind, Span, Stage, Word},
    mount::MountKey,
};
use archway_oci::{Platform, Reference};

use crate::{
    arguments,
    contexts::NamedContext,
    error::{LowerError, LowerProblem},
    inputs::{BaseRequest, Inputs, ResolvedBase},
    nearest::nearest,
    support,
    variables::{Expander, Variables},
};

/// The name of the empty root file system.
const SCRATCH: &str = "scratch";

/// What one requested platform needs of the Dockerfile.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) globals: Variables,
    /// By index; a stage comes after all it uses. The last one is the target.
    pub(crate) stages: BTreeMap<usize, SelectedStage<'a>>,
    /// The named contexts that were used, as they were named.
    pub(crate) contexts: BTreeSet<String>,
}

/// A stage that is going to be built.
#[derive(Debug)]
pub(crate) struct SelectedStage<'a> {
    pub(crate) stage: &'a Stage,
    /// `--platform=`
    pub(crate) platform: Option<Platform>,
    pub(crate) base: Origin,
    /// The triggers of the base, then the stage's own instructions.
    pub(crate) steps: Vec<Step<'a>>,
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Scratch,
    Stage(usize),
    Image(ImageUse),
    /// A directory of the user's: the context of this name.
    Directory(String),
    /// A repository or a download: the name of the context, and what it is.
    Fetched(String, Box<NamedContext>),
}

impl Origin {
    /// Whether it is files without an image's config.
    pub(crate) fn is_files(&self) -> bool {
        matches!(self, Self::Scratch | Self::Directory(_) | Self::Fetched(..))
    }
}

/// An image, as a key of [`Inputs::bases`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageUse {
    pub(crate) name: String,
    pub(crate) platform: Platform,
}

/// An instruction of a stage.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) instruction: Cow<'a, Instruction>,
    pub(crate) author: Author,
    /// What `--from=` means.
    pub(crate) from: Option<Origin>,
    /// What `from=` of each `--mount` means; `None` for one without.
    pub(crate) mounts: Vec<Option<Origin>>,
}

/// Who wrote an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// It stands in the stage.
    Stage,
    /// It is an `ONBUILD` of the stage this one starts from.
    ParentStage,
    /// It is an `ONBUILD` of the base image; its spans mean nothing here.
    BaseImage,
}

impl Step<'_> {
    /// Every root file system it reads besides its own.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.from.iter().chain(self.mounts.iter().flatten())
    }

    pub(crate) fn is_trigger(&self) -> bool {
        self.author != Author::Stage
    }

    pub(crate) fn is_run(&self) -> bool {
        matches!(self.instruction.kind, Kind::Run(_))
    }

    /// Its place in the Dockerfile, if it has one.
    pub(crate) fn span(&self) -> Option<Span> {
        (self.author != Author::BaseImage).then_some(self.instruction.span)
    }
}

/// Looks up base images, and collects those that are missing.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    inputs: &'a Inputs<'a>,
    missing: Vec<BaseRequest>,
}

impl<'a> Images<'a> {
    pub(crate) fn new(inputs: &'a Inputs<'a>) -> Self {
        Self { inputs, missing: Vec::new() }
    }

    /// What is missing, each once, in the order of the Dockerfile.
    pub(crate) fn into_missing(mut self) -> Vec<BaseRequest> {
        self.missing.sort_by_key(|request| request.span.start);
        self.missing
    }

    fn find(&mut self, image: &ImageUse, span: Span, hint: Option<String>) -> Option<&'a ResolvedBase> {
        let ImageUse { name, platform } = image.clone();
        let known = self.inputs.bases.get(&(name.clone(), platform.clone()));
        let asked = |request: &BaseRequest| request.name == name && request.platform == platform;
        if known.is_none() && !self.missing.iter().any(asked) {
            self.missing.push(BaseRequest { name, platform, span, hint });
        }
        known
    }
}

/// The stage that `--target` means, or the last one.
pub(crate) fn target_stage(inputs: &Inputs<'_>) -> Result<usize, LowerError> {
    let stages = &inputs.dockerfile.stages;
    let last = stages.len().saturating_sub(1);
    let Some(target) = inputs.target else { return Ok(last) };
    let numbered = || target.parse().ok().filter(|number| *number < stages.len());
    stage_before(stages, stages.len(), target).or_else(numbered).ok_or_else(|| LowerError {
        problem: LowerProblem::UnknownTarget {
            name: target.to_owned(),
            nearest: nearest(target, names(stages)).map(str::to_owned),
        },
        span: stages.last().map(|stage| stage.span).unwrap_or_default(),
    })
}

/// A stage that the cache is to be kept from, and that does not exist, is a slip.
pub(crate) fn check_no_cache(inputs: &Inputs<'_>) -> Result<(), LowerError> {
    let stages = &inputs.dockerfile.stages;
    let Some(name) = inputs.no_cache.unknown(stages) else { return Ok(()) };
    Err(LowerError {
        problem: LowerProblem::UnknownNoCacheStage {
            name: name.to_owned(),
            nearest: nearest(name, names(stages)).map(str::to_owned),
        },
        span: stages.last().map(|stage| stage.span).unwrap_or_default(),
    })
}

/// Selects what `platform` needs; missing base images are noted in `images`, and what hangs on
/// their triggers is then not selected yet.
pub(crate) fn select<'a>(
    inputs: &'a Inputs<'a>,
    target: usize,
    platform: &'a Platform,
    images: &mut Images<'a>,
) -> Result<Selection<'a>, LowerError> {
    let globals = arguments::global_scope(inputs, platform)?;
    let mut stages: BTreeMap<usize, SelectedStage<'a>> = BTreeMap::new();
    let used = RefCell::default();
    let mut wanted = vec![false; target + 1];
    wanted[target] = true;
    for index in (0..=target).rev() {
        if !wanted[index] {
            continue;
        }
        let selector = Selector {
            inputs,
            dockerfile: inputs.dockerfile,
            index,
            platform,
            globals: &globals,
            used: &used,
        };
        let selected = selector.stage(images)?;
        let froms = selected.steps.iter().flat_map(Step::origins);
        for origin in froms.chain([&selected.base]) {
            if let Origin::Stage(used) = origin {
                wanted[*used] = true;
            }
        }
        stages.insert(index, selected);
    }
    Ok(Selection { platform, globals, stages, contexts: used.into_inner() })
}

/// Selects one stage for one requested platform.
struct Selector<'a, 'g> {
    inputs: &'a Inputs<'a>,
    dockerfile: &'a Dockerfile,
    index: usize,
    platform: &'a Platform,
    globals: &'g Variables,
    used: &'g RefCell<BTreeSet<String>>,
}

impl<'a> Selector<'a, '_> {
    fn stage(&self, images: &mut Images<'a>) -> Result<SelectedStage<'a>, LowerError> {
        let stage = &self.dockerfile.stages[self.index];
        let platform = stage.platform.as_ref().map(|word| self.stage_platform(word)).transpose()?;
        if let Some(replaced) = self.replacement(stage, platform.as_ref()) {
            self.ask(&replaced, stage.span, images);
            return Ok(SelectedStage { stage, platform, base: replaced, steps: Vec::new() });
        }
        let base = self.base(stage, platform.as_ref())?;
        let mut instructions = self.triggers(&base, stage, images)?;
        let own = stage.instructions.iter();
        instructions.extend(own.map(|instruction| (Cow::Borrowed(instruction), Author::Stage)));
        let mut steps = Vec::with_capacity(instructions.len());
        for (instruction, author) in instructions {
            let step = self.step(instruction, author, images);
            steps.push(step.map_err(|error| error.of(author, stage))?);
        }
        Ok(SelectedStage { stage, platform, base, steps })
    }

    fn stage_platform(&self, word: &Word) -> Result<Platform, LowerError> {
        let expanded = self.expander().traced(word)?;
        let problem = if expanded.value.is_empty() {
            let unset: Vec<String> = expanded.unset.into_iter().collect();
            let nearest = self.nearest_variable(&unset);
            LowerProblem::EmptyPlatform { expression: word.value.clone(), unset, nearest }
        } else {
            match Platform::parse(&expanded.value) {
                Ok(platform) => return Ok(platform),
                Err(error) => LowerProblem::BadPlatform(error),
            }
        };
        Err(LowerError { problem, span: word.span })
    }

    fn base(&self, stage: &Stage, platform: Option<&Platform>) -> Result<Origin, LowerError> {
        let word = &stage.base;
        let expanded = self.expander().traced(word)?;
        if expanded.value.is_empty() {
            let unset: Vec<String> = expanded.unset.into_iter().collect();
            let nearest = self.nearest_variable(&unset);
            let problem = LowerProblem::EmptyBaseName { expression: word.value.clone(), unset, nearest };
            return Err(LowerError { problem, span: word.span });
        }
        if expanded.value == SCRATCH {
            return Ok(Origin::Scratch);
        }
        if let Some(earlier) = stage_before(&self.dockerfile.stages, self.index, &expanded.value) {
            return Ok(Origin::Stage(earlier));
        }
        let platform = platform.unwrap_or(self.platform);
        match self.context(&expanded.value, platform) {
            Some(context) => Ok(context),
            None => image(expanded.value, platform, word.span),
        }
    }

    /// What a stage is if a context has its name: whatever the stage says itself is then not run.
    fn replacement(&self, stage: &Stage, platform: Option<&Platform>) -> Option<Origin> {
        self.context(&stage.name.as_ref()?.value, platform.unwrap_or(self.platform))
    }

    /// The named context that a name means.
    fn context(&self, name: &str, platform: &Platform) -> Option<Origin> {
        let (written, context) = self.inputs.contexts.find(name, platform)?;
        self.used.borrow_mut().insert(written.to_owned());
        Some(match context {
            NamedContext::Directory => Origin::Directory(written.to_owned()),
            NamedContext::Scratch => Origin::Scratch,
            NamedContext::Image(name) => {
                Origin::Image(ImageUse { name: name.clone(), platform: platform.clone() })
            }
            NamedContext::Git(_) | NamedContext::Http(_) => {
                Origin::Fetched(written.to_owned(), Box::new(context.clone()))
            }
        })
    }

    /// Notes an image that has to be known.
    fn ask(&self, origin: &Origin, span: Span, images: &mut Images<'a>) {
        if let Origin::Image(image) = origin {
            images.find(image, span, None);
        }
    }

    /// What the base wants to be run first.
    fn triggers(
        &self,
        base: &Origin,
        stage: &Stage,
        images: &mut Images<'a>,
    ) -> Result<Vec<(Cow<'a, Instruction>, Author)>, LowerError> {
        match base {
            Origin::Scratch | Origin::Directory(_) | Origin::Fetched(..) => Ok(Vec::new()),
            Origin::Stage(parent) => {
                let instructions = self.dockerfile.stages[*parent].instructions.iter();
                let triggers = instructions.filter_map(|instruction| match &instruction.kind {
                    Kind::OnBuild { instruction, .. } => {
                        Some((Cow::Borrowed(&**instruction), Author::ParentStage))
                    }
                    _ => None,
                });
                Ok(triggers.collect())
            }
            Origin::Image(image) => {
                let known = images.find(image, stage.base.span, self.hint(&image.name));
                let triggers = known.map(|base| base.config.config.on_build.as_slice()).unwrap_or_default();
                triggers.iter().map(|text| image_trigger(image, text, stage)).collect()
            }
        }
    }

    fn step(
        &self,
        instruction: Cow<'a, Instruction>,
        author: Author,
        images: &mut Images<'a>,
    ) -> Result<Step<'a>, LowerError> {
        support::check(&instruction)?;
        let mut origin = |word: &Word| {
            let origin = self.copied_from(word)?;
            if let Origin::Image(image) = &origin {
                let stage_span = self.dockerfile.stages[self.index].span;
                let span = if author == Author::BaseImage { stage_span } else { word.span };
                images.find(image, span, self.hint(&image.name));
            }
            Ok::<_, LowerError>(origin)
        };
        let (mut from, mut mounts) = (None, Vec::new());
        match &instruction.kind {
            Kind::Copy(copy) => from = copy.from.as_ref().map(origin).transpose()?,
            Kind::Run(run) => {
                for mount in &run.mounts {
                    let word = mount.value(MountKey::From).filter(|word| !word.value.is_empty());
                    mounts.push(word.map(&mut origin).transpose()?);
                }
            }
            _ => {}
        }
        Ok(Step { instruction, author, from, mounts })
    }

    /// `--from=` of COPY and `from=` of a mount: the number or name of an earlier stage, else an image for the requested platform.
    /// Not for the platform of this stage: a `$BUILDPLATFORM` stage copies what is for the target.
    fn copied_from(&self, word: &Word) -> Result<Origin, LowerError> {
        let name = word.value.as_str();
        let fail = |problem| Err(LowerError { problem, span: word.span });
        if name.contains('$') {
            return fail(LowerProblem::VariableInFrom { value: name.to_owned() });
        }
        let stages = &self.dockerfile.stages;
        let found = match name.parse::<usize>() {
            Ok(number) if number < stages.len() => Some(number),
            Ok(_) => {
                let number = name.to_owned();
                return fail(LowerProblem::UnknownStageNumber { number, stages: stages.len() });
            }
            Err(_) => stage_before(stages, self.index, name).or_else(|| stage_from(stages, self.index, name)),
        };
        match found {
            Some(index) if index < self.index => Ok(Origin::Stage(index)),
            Some(index) if index == self.index => fail(LowerProblem::OwnStage { name: name.to_owned() }),
            Some(_) => fail(LowerProblem::LaterStage { name: name.to_owned() }),
            None if name == SCRATCH => Ok(Origin::Scratch),
            None => match self.context(name, self.platform) {
                Some(context) => Ok(context),
                None => image(name.to_owned(), self.platform, word.span),
            },
        }
    }

    /// What to say if there is no image of this name.
    fn hint(&self, name: &str) -> Option<String> {
        let stages = &self.dockerfile.stages;
        if let Some(later) = stage_from(stages, self.index + 1, name) {
            let (line, _) = self.dockerfile.source.lines(stages[later].span);
            return Some(format!(
                "stage `{name}` is defined on line {line}; a stage can only use earlier ones"
            ));
        }
        let similar = nearest(name, names(&stages[..self.index]))?;
        Some(format!("did you mean the stage `{similar}`?"))
    }

    fn expander(&self) -> Expander<'_> {
        Expander { escape: self.dockerfile.escape, variables: self.globals }
    }

    fn nearest_variable(&self, unset: &[String]) -> Option<String> {
        unset.iter().find_map(|name| nearest(name, self.globals.names())).map(str::to_owned)
    }
}

impl LowerError {
    /// An error in what `author` wrote, at a place in the Dockerfile.
    pub(crate) fn of(self, author: Author, stage: &Stage) -> Self {
        if author == Author::BaseImage { self.at(stage.span) } else { self }
    }
}

fn image(name: String, platform: &Platform, span: Span) -> Result<Origin, LowerError> {
    match name.parse::<Reference>() {
        Ok(_) => Ok(Origin::Image(ImageUse { name, platform: platform.clone() })),
        Err(error) => Err(LowerError { problem: LowerProblem::BadImageName(error), span }),
    }
}

fn image_trigger<'a>(
    image: &ImageUse,
    text: &str,
    stage: &Stage,
) -> Result<(Cow<'a, Instruction>, Author), LowerError> {
    match archway_dockerfile::parse_onbuild(text) {
        Ok(instruction) => Ok((Cow::Owned(instruction), Author::BaseImage)),
        Err(error) => Err(LowerError {
            problem: LowerProblem::BadTrigger {
                image: image.name.clone(),
                trigger: text.to_owned(),
                problem: error.problem,
            },
            span: stage.span,
        }),
    }
}

/// The nearest stage before `index` with this name.
fn stage_before(stages: &[Stage], index: usize, name: &str) -> Option<usize> {
    stages[..index].iter().rposition(|stage| is_named(stage, name))
}

/// The first stage with this name that is not before `index`.
fn stage_from(stages: &[Stage], index: usize, name: &str) -> Option<usize> {
    stages[index..].iter().position(|stage| is_named(stage, name)).map(|offset| index + offset)
}

fn is_named(stage: &Stage, name: &str) -> bool {
    stage.name.as_ref().is_some_and(|known| known.value.eq_ignore_ascii_case(name))
}

fn names(stages: &[Stage]) -> impl Iterator<Item = &str> {
    stages.iter().filter_map(|stage| Some(stage.name.as_ref()?.value.as_str()))
}
