//! What a target can be given: BuildKit's `frontend.outline`. Arguments, secrets, ssh agents and cache
//! mounts of the stages that it needs.

use std::collections::{BTreeMap, BTreeSet};

use archway_dockerfile::{
    ast::{Dockerfile, Kind, Span},
    expand::{Lookup as _, expand_word},
    mount::{Mount, MountKey},
};
use archway_graph::{BuildArgs, NamedContexts};
use archway_oci::Platform;
use serde::Serialize;

use crate::{
    Inputs, KnownBases,
    document::{Location, bytes},
    lines::Lines,
    model::{Base, Document, Model, Step},
    mount,
    scope::Scope,
};

/// The parameters of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The name of the target; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The comment above it, `# NAME description`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Build arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
    /// `RUN --mount=type=secret`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// `RUN --mount=type=ssh`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Secret>,
    /// `RUN --mount=type=cache`; BuildKit has the field, and leaves it empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CacheMount>,
    sources: [String; 1],
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// The comment above it, `# NAME description`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is without further build arguments; empty if nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    location: Location,
}

/// A secret, or an ssh agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    location: Location,
}

/// A directory that is kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheMount {
    /// Its id, by default where it is mounted.
    #[serde(rename = "ID")]
    pub id: String,
    location: Location,
}

/// The outline of a target; `None` if there is no such stage.
pub fn outline(
    file: &Dockerfile,
    target: Option<&str>,
    build_args: &BuildArgs,
    platform: &Platform,
    build_platform: &Platform,
) -> Option<Outline> {
    let document = Document::new(file);
    let bases = KnownBases::default();
    let inputs = Inputs {
        dockerfile: file,
        build_args,
        named_contexts: &NamedContexts::default(),
        target,
        all_stages: false,
        platforms: &[],
        build_platform,
        ignore: None,
        bases: &bases,
        multi_platform: false,
    };
    let model = Model::new(&document, &inputs, platform)?;
    let text = &document.stages[model.target];
    let name = text.stage.name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
    let mut collector = Collector::new(&model);
    collector.stages();
    Some(Outline {
        description: text.site.description(&name).filter(|_| !name.is_empty()).unwrap_or_default().to_owned(),
        name,
        args: sorted(collector.args, |arg| arg.location.line()),
        secrets: sorted(collector.secrets, |secret| secret.location.line()),
        ssh: sorted(collector.ssh, |ssh| ssh.location.line()),
        cache: sorted(collector.caches, |cache| cache.location.line()),
        sources: [bytes(&file.source.text)],
    })
}

fn sorted<T>(found: BTreeMap<String, T>, line: impl Fn(&T) -> usize) -> Vec<T> {
    let mut values: Vec<T> = found.into_values().collect();
    values.sort_by_key(line);
    values
}

/// Collects by name; what is nearer to the target comes first and counts.
struct Collector<'m, 'a> {
    model: &'m Model<'a>,
    lines: Lines<'m>,
    /// The arguments above the first FROM that others need to have a value.
    needs: BTreeMap<String, BTreeSet<String>>,
    args: BTreeMap<String, Arg>,
    secrets: BTreeMap<String, Secret>,
    ssh: BTreeMap<String, Secret>,
    caches: BTreeMap<String, CacheMount>,
}

impl<'m, 'a> Collector<'m, 'a> {
    fn new(model: &'m Model<'a>) -> Self {
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for step in &model.document.globals {
            let Kind::Arg(declarations) = &step.instruction.kind else { continue };
            for declaration in declarations {
                let name = &declaration.name.value;
                let default = declaration.default.as_ref().filter(|_| !model.build_args.contains_key(name));
                let used = default
                    .and_then(|word| expand_word(word, model.document.file.escape, &model.globals).ok())
                    .map(|expanded| expanded.used)
                    .unwrap_or_default();
                // What is declared further down has no value yet.
                let used = used.into_iter().filter(|used| needs.contains_key(used)).collect();
                needs.insert(name.clone(), used);
            }
        }
        Self {
            model,
            lines: Lines::new(&model.document.file.source),
            needs,
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            caches: BTreeMap::new(),
        }
    }

    fn stages(&mut self) {
        let mut ends: Vec<Scope> = Vec::new();
        let mut found = Vec::new();
        for (index, stage) in self.model.stages.iter().enumerate() {
            let mut scope = match &stage.base {
                Base::Stage(parent) => ends[*parent].child(),
                base => Scope::at_base(base, None, stage.windows),
            };
            for step in &self.model.document.stages[index].steps {
                let kind = &step.instruction.kind;
                scope.apply(kind, self.model.document.file, &self.model.globals, &self.model.build_args);
                if stage.needed {
                    found.push((index, step, values(kind, &scope)));
                }
            }
            ends.push(scope);
        }
        // The target first, then what it stands on.
        found.sort_by_key(|(index, ..)| std::cmp::Reverse(*index));
        for (_, step, values) in found {
            self.step(step, values);
        }
        for (index, text) in self.model.document.stages.iter().enumerate() {
            if !self.model.stages[index].needed {
                continue;
            }
            let words = [Some(&text.stage.base), text.stage.platform.as_ref()];
            for word in words.into_iter().flatten() {
                let expanded = expand_word(word, self.model.document.file.escape, &self.model.globals);
                for name in expanded.map(|expanded| expanded.used).unwrap_or_default() {
                    self.global(&name);
                }
            }
        }
    }

    fn step(&mut self, step: &Step<'_>, values: Vec<Option<String>>) {
        match &step.instruction.kind {
            Kind::Arg(declarations) => {
                for (declaration, value) in declarations.iter().zip(values) {
                    let name = &declaration.name.value;
                    let inherited =
                        declaration.default.is_none() && !self.model.build_args.contains_key(name);
                    if inherited && self.model.globals.contains_key(name) {
                        self.global(name);
                    } else {
                        self.add_arg(step, name, value);
                    }
                }
            }
            Kind::Run(run) => {
                for given in &run.mounts {
                    self.mount(step, given);
                }
            }
            _ => {}
        }
    }

    fn mount(&mut self, step: &Step<'_>, given: &Mount) {
        let location = self.location(step.site.span);
        let value = |key| mount::value(given, key).map(str::to_owned);
        let required = mount::is_required(given);
        match mount::kind(given) {
            "secret" => {
                let file = || value(MountKey::Target)?.rsplit('/').next().map(str::to_owned);
                let name =
                    value(MountKey::Source).or_else(|| value(MountKey::Id)).or_else(file).unwrap_or_default();
                self.secrets.entry(name.clone()).or_insert(Secret { name, required, location });
            }
            "ssh" => {
                let name = value(MountKey::Id).unwrap_or_else(|| "default".to_owned());
                self.ssh.entry(name.clone()).or_insert(Secret { name, required, location });
            }
            "cache" => {
                let id = value(MountKey::Id).or_else(|| value(MountKey::Target)).unwrap_or_default();
                self.caches.entry(id.clone()).or_insert(CacheMount { id, location });
            }
            _ => {}
        }
    }

    /// An argument above the first FROM, and those it is made of.
    fn global(&mut self, name: &str) {
        if self.args.contains_key(name) {
            return;
        }
        let document = self.model.document;
        let declares = |step: &&Step<'_>| match &step.instruction.kind {
            Kind::Arg(declarations) => declarations.iter().any(|declaration| declaration.name.value == name),
            _ => false,
        };
        let Some(step) = document.globals.iter().rfind(declares) else { return };
        self.add_arg(step, name, self.model.globals.get(name).cloned());
        for needed in self.needs.get(name).cloned().unwrap_or_default() {
            self.global(&needed);
        }
    }

    fn add_arg(&mut self, step: &Step<'_>, name: &str, value: Option<String>) {
        let arg = Arg {
            name: name.to_owned(),
            description: step.site.description(name).unwrap_or_default().to_owned(),
            value: value.unwrap_or_default(),
            location: self.location(step.site.span),
        };
        self.args.entry(name.to_owned()).or_insert(arg);
    }

    fn location(&self, span: Span) -> Location {
        Location::new(&self.lines, span)
    }
}

/// The values that an ARG has just set.
fn values(kind: &Kind, scope: &Scope) -> Vec<Option<String>> {
    let Kind::Arg(declarations) = kind else { return Vec::new() };
    declarations
        .iter()
        .map(|declaration| scope.get(&declaration.name.value).map(|value| value.into_owned()))
        .collect()
}
