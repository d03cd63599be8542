//! What the variables of a stage are before each of its instructions.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use archway_dockerfile::{
    ast::{Dockerfile, Kind, Word},
    expand::{Expanded, Lookup},
};
use archway_oci::ImageConfig;

use crate::model::{Base, expanded};

/// What the variables of one stage may come to, and those of all stages of a Dockerfile. Beyond, nothing is
/// known of them: variables that contain one another must not fill the memory.
const MAX_STAGE_BYTES: usize = 4 << 20;
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// The state of a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    variables: BTreeMap<String, String>,
    /// Of all names and values.
    bytes: usize,
    /// ARGs that were declared, with a value or without.
    pub(crate) declared: BTreeSet<String>,
    /// Whether all variables of the base image are known.
    pub(crate) complete: bool,
    /// Whether a WORKDIR stood in this stage or one it starts from.
    pub(crate) has_workdir: bool,
    /// Whether there is a SHELL.
    pub(crate) has_shell: bool,
}

impl Lookup for Scope {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.variables.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

impl Scope {
    /// At the beginning of a stage. `config` is that of the base image, if it is one that is known.
    pub(crate) fn at_base(base: &Base, config: Option<&ImageConfig>, windows: bool) -> Self {
        let mut scope = Self { complete: config.is_some() || *base == Base::Scratch, ..Self::default() };
        for entry in config.map(|config| config.config.env.as_slice()).unwrap_or_default() {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set(name.to_owned(), value.to_owned());
        }
        if !windows {
            scope.variables.entry("PATH".to_owned()).or_insert_with(|| "/usr/bin:/bin".to_owned());
        }
        let shell = config.and_then(|config| config.config.shell.as_ref());
        scope.has_shell = shell.is_some_and(|shell| !shell.is_empty());
        scope
    }

    /// At the beginning of a stage that starts from a stage which ended like this.
    pub(crate) fn child(&self) -> Self {
        self.clone()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// Applies an instruction.
    pub(crate) fn apply(
        &mut self,
        kind: &Kind,
        file: &Dockerfile,
        globals: &BTreeMap<String, String>,
        build_args: &BTreeMap<String, String>,
    ) {
        match kind {
            Kind::Arg(declarations) => {
                for declaration in declarations {
                    let name = &declaration.name.value;
                    let default = || self.expand(declaration.default.as_ref()?, file);
                    let value = match build_args.get(name) {
                        Some(given) => Some(given.clone()),
                        None if declaration.default.is_some() => default().map(|expanded| expanded.value),
                        None => globals.get(name).cloned(),
                    };
                    if let Some(value) = value {
                        self.set(name.clone(), value);
                    }
                    self.declared.insert(name.clone());
                }
            }
            Kind::Env(pairs) => {
                let expand = |word: &Word| self.expand(word, file).map(|expanded| expanded.value);
                let set: Vec<(String, String)> =
                    pairs.iter().filter_map(|(key, value)| Some((expand(key)?, expand(value)?))).collect();
                for (name, value) in set {
                    self.set(name, value);
                }
            }
            Kind::Workdir(_) => self.has_workdir = true,
            Kind::Shell(_) => self.has_shell = true,
            _ => {}
        }
    }

    /// About what it takes to keep.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + size_of::<Self>()
    }

    fn set(&mut self, name: String, value: String) {
        self.bytes += name.len() + value.len() + size_of::<(String, String)>();
        if self.bytes > MAX_STAGE_BYTES {
            // As if the base had set them.
            self.variables.clear();
            self.complete = false;
            return;
        }
        self.variables.insert(name, value);
    }

    pub(crate) fn expand(&self, word: &Word, file: &Dockerfile) -> Option<Expanded<String>> {
        expanded(word, file, self)
    }
}
