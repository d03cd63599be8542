//! The files of one image.

use std::collections::BTreeSet;

use archway_layer::contents::{Contents, Entry, Kind};
use archway_oci::{Platform, config::ContainerConfig};
use serde::Serialize;

use crate::{
    command,
    facts::Facts,
    fit::{Fit, fit},
    program::{Executable, Format, Program, Role, is_executable},
};

/// A script may be read by a script that is read by a script.
const MOST_INTERPRETERS: usize = 5;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// What it says it is for.
    pub platform: &'a Platform,
    /// What it starts.
    pub config: &'a ContainerConfig,
    /// Its files, read with [`crate::Audited`].
    pub contents: &'a Contents,
    /// Whether these are all its files. Where they are not, nothing is said to be missing.
    pub is_complete: bool,
}

/// What to make of foreign files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// They are not looked for.
    Off,
    /// They are reported; only an entrypoint that is foreign is an error.
    #[default]
    Warn,
    /// Each is an error.
    Fail,
}

/// How an image is audited.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// What to make of foreign files.
    pub policy: Policy,
    /// Whether a file may be for any machine; asked with its path, without a leading slash.
    pub allowed: &'a dyn Fn(&str) -> bool,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Most likely a mistake.
    Warning,
    /// The image is not what it says it is.
    Error,
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, without a leading slash.
    pub path: String,
    /// Whether the image starts it.
    pub is_entrypoint: bool,
    /// What is wrong.
    pub problem: Problem,
}

/// What may be wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind")]
pub enum Problem {
    /// It is for another machine or system.
    ForeignProgram {
        /// For which.
        program: String,
        /// What the image is for.
        platform: String,
    },
    /// Not every machine of the platform runs it.
    LimitedProgram {
        /// For which it is.
        program: String,
        /// Why.
        why: String,
    },
    /// The program that it needs in order to run is not in the image.
    MissingInterpreter {
        /// Which.
        interpreter: String,
    },
    /// What the image starts is not in it, or is not executable.
    MissingEntrypoint,
}

impl Problem {
    /// A name for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ForeignProgram { .. } => "foreign-program",
            Self::LimitedProgram { .. } => "limited-program",
            Self::MissingInterpreter { .. } => "missing-interpreter",
            Self::MissingEntrypoint => "missing-entrypoint",
        }
    }
}

/// A sentence about the file.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_entrypoint {
            f.write_str("the entrypoint ")?;
        }
        let path = &self.path;
        match &self.problem {
            Problem::ForeignProgram { program, platform } => {
                write!(f, "`{path}` is a program for {program}, and does not run on {platform}")
            }
            Problem::LimitedProgram { program, why } => {
                write!(f, "`{path}` is a program for {program}: {why}")
            }
            Problem::MissingInterpreter { interpreter } => {
                write!(f, "`{path}` needs `{interpreter}`, which is not in the image")
            }
            Problem::MissingEntrypoint => write!(f, "`{path}` is not an executable file of the image"),
        }
    }
}

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// The entrypoint first, then by path.
    pub findings: Vec<Finding>,
    /// Programs and libraries that were looked at.
    pub programs: usize,
    /// Scripts that were looked at.
    pub scripts: usize,
    /// Findings that the rules allow.
    pub allowed: usize,
}

/// Looks at every program, library and script of an image, and at what it starts.
pub fn audit(image: &Image<'_>, rules: &Rules<'_>) -> Audit {
    if rules.policy == Policy::Off {
        return Audit::default();
    }
    let mut auditing = Auditing { image, rules, audit: Audit::default() };
    let seen = auditing.entrypoint();
    for (path, entry) in image.contents.iter().filter(|(path, _)| !seen.contains(*path)) {
        if let Some(Facts::Executable(executable)) = Facts::of(entry) {
            auditing.file(path, entry, &executable);
        }
    }
    auditing.audit
}

struct Auditing<'a> {
    image: &'a Image<'a>,
    rules: &'a Rules<'a>,
    audit: Audit,
}

impl<'a> Auditing<'a> {
    /// Follows what the image starts from interpreter to interpreter, and says which files that were.
    fn entrypoint(&mut self) -> BTreeSet<Vec<u8>> {
        let mut seen = BTreeSet::new();
        let Image { config, contents, is_complete, platform } = *self.image;
        let Some(name) = command::name(config) else { return seen };
        let is_windows = platform.os == "windows";
        let found = match is_windows {
            true => command::find_on_windows(contents, config, name),
            false => command::find(contents, config, name),
        };
        if found.is_none() && is_complete && !is_windows {
            self.found(name.as_bytes(), true, Problem::MissingEntrypoint);
        }
        let mut next = found;
        while let Some((path, entry)) = next.take() {
            if !seen.insert(path.clone()) || seen.len() > MOST_INTERPRETERS {
                break;
            }
            let Some(Facts::Executable(executable)) = Facts::of(entry) else { break };
            self.count(&executable);
            let interpreter = match &executable {
                Executable::Program(program) => {
                    self.program(&path, program, true);
                    program.interpreter.as_ref()
                }
                Executable::Script { interpreter } => interpreter.first(),
            };
            let Some(interpreter) = interpreter else { break };
            next = self.interpreter(&path, interpreter, true);
        }
        seen
    }

    fn file(&mut self, path: &[u8], entry: &Entry, executable: &Executable) {
        match executable {
            Executable::Program(program) => {
                let is_started = is_executable(entry.mode);
                // Images of Unix systems hold programs of Windows as data: for Wine, for .NET, in installers.
                let is_data = match program.format {
                    Format::Pe => self.image.platform.os != "windows",
                    Format::MachO => !is_started,
                    Format::Elf => program.role == Role::Program && !is_started,
                };
                if is_data {
                    return;
                }
                self.count(executable);
                let fits = self.program(path, program, false);
                // That of a foreign program would be missing, too.
                if let Some(interpreter) = program.interpreter.as_ref().filter(|_| fits && is_started) {
                    self.interpreter(path, interpreter, false);
                }
            }
            Executable::Script { interpreter } => {
                self.count(executable);
                if let Some(interpreter) = interpreter.first() {
                    self.interpreter(path, interpreter, false);
                }
            }
        }
    }

    fn count(&mut self, executable: &Executable) {
        match executable {
            Executable::Program(_) => self.audit.programs += 1,
            Executable::Script { .. } => self.audit.scripts += 1,
        }
    }

    /// Whether it is for this platform at all.
    fn program(&mut self, path: &[u8], program: &Program, is_entrypoint: bool) -> bool {
        let platform = self.image.platform;
        match fit(platform, program) {
            Fit::Native => true,
            Fit::Limited(why) => {
                let program = program.to_string();
                self.found(path, is_entrypoint, Problem::LimitedProgram { program, why });
                true
            }
            Fit::Foreign => {
                let (program, platform) = (program.to_string(), platform.to_string());
                self.found(path, is_entrypoint, Problem::ForeignProgram { program, platform });
                false
            }
        }
    }

    /// What reads or loads a file.
    fn interpreter(
        &mut self,
        path: &[u8],
        interpreter: &str,
        is_entrypoint: bool,
    ) -> Option<(Vec<u8>, &'a Entry)> {
        // A relative one depends on where the program is started.
        if !interpreter.starts_with('/') {
            return None;
        }
        let contents = self.image.contents;
        let found = contents
            .follow(interpreter.as_bytes())
            .filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
        if found.is_none() && self.image.is_complete {
            let interpreter = interpreter.to_owned();
            self.found(path, is_entrypoint, Problem::MissingInterpreter { interpreter });
        }
        found
    }

    fn found(&mut self, path: &[u8], is_entrypoint: bool, problem: Problem) {
        let path = String::from_utf8_lossy(path).into_owned();
        if (self.rules.allowed)(&path) {
            self.audit.allowed += 1;
            return;
        }
        let severity = severity(self.rules.policy, is_entrypoint, &problem);
        self.audit.findings.push(Finding { severity, path, is_entrypoint, problem });
    }
}

fn severity(policy: Policy, is_entrypoint: bool, problem: &Problem) -> Severity {
    use Severity::{Error, Note, Warning};

    let (warn, fail) = match (problem, is_entrypoint) {
        (Problem::ForeignProgram { .. }, true) => (Error, Error),
        (Problem::ForeignProgram { .. }, false) => (Warning, Error),
        (Problem::MissingEntrypoint | Problem::MissingInterpreter { .. }, true) => (Warning, Error),
        // Scripts for programs that may be installed later are in many images.
        (Problem::MissingEntrypoint | Problem::MissingInterpreter { .. }, false) => (Note, Note),
        (Problem::LimitedProgram { .. }, true) => (Warning, Warning),
        (Problem::LimitedProgram { .. }, false) => (Note, Warning),
    };
    match policy {
        Policy::Fail => fail,
        Policy::Warn | Policy::Off => warn,
    }
}

#[cfg(test)]
mod tests;
