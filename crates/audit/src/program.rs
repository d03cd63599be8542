//! What a file is, as far as it can be executed.

use std::borrow::Cow;

use archway_layer::contents::Meta;
use serde::{Deserialize, Serialize};

use crate::{elf, macho, pe};

/// What a file tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Executable {
    /// Machine code.
    Program(Program),
    /// A text whose first line names the program that reads it.
    Script {
        /// The path behind `#!`, and its arguments.
        interpreter: Vec<String>,
    },
}

/// A file of machine code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// Of which family of systems.
    pub format: Format,
    /// The processor it is for.
    pub machine: Machine,
    /// Whether it is started, or loaded by others.
    pub role: Role,
    /// The operating system, where the file says one that others of its format do not have: `freebsd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Cow<'static, str>>,
    /// The program that loads it (`PT_INTERP`); `None`: it needs none, or it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
}

/// How machine code is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Linux and other Unix systems.
    Elf,
    /// Windows.
    Pe,
    /// macOS.
    MachO,
}

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It can only be started.
    Program,
    /// It is loaded by others, or it is started: position-independent programs look like libraries.
    Library,
}

/// A processor, as precise as a file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Go's name (`arm64`), or a number where Go has none (`ELF machine 0x2a`).
    pub architecture: Cow<'static, str>,
    /// What narrows it: `v7` for an instruction set, `v3` for a level of x86-64, `x32` or `n32` for a way to call functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Cow<'static, str>>,
}

impl Machine {
    pub(crate) const fn new(architecture: &'static str) -> Self {
        Self { architecture: Cow::Borrowed(architecture), variant: None }
    }

    pub(crate) const fn with(architecture: &'static str, variant: &'static str) -> Self {
        Self { architecture: Cow::Borrowed(architecture), variant: Some(Cow::Borrowed(variant)) }
    }

    pub(crate) fn unknown(format: &str, number: u16) -> Self {
        Self { architecture: Cow::Owned(format!("{format} machine {number:#x}")), variant: None }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// `linux/arm64`-like where the format tells the system.
impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.format, &self.os) {
            (Format::Elf, None) => write!(f, "{}", self.machine),
            (Format::Elf, Some(os)) => write!(f, "{os}/{}", self.machine),
            (Format::Pe, _) => write!(f, "windows/{}", self.machine),
            (Format::MachO, _) => write!(f, "darwin/{}", self.machine),
        }
    }
}

/// Longest `#!` line that Linux reads (`BINPRM_BUF_SIZE`).
const MAX_SCRIPT_LINE: usize = 256;

/// Reads as much of a file as [`crate::Audited`] keeps of it; `None`: it is nothing that could be executed.
pub(crate) fn read(file: &Meta<'_>, bytes: &[u8]) -> Option<Executable> {
    if bytes.starts_with(elf::MAGIC) {
        return elf::parse(bytes).map(Executable::Program);
    }
    if bytes.starts_with(pe::MAGIC) {
        return pe::parse(bytes).map(Executable::Program);
    }
    if is_executable(file.mode) {
        return macho::parse(bytes).map(Executable::Program).or_else(|| script(bytes));
    }
    None
}

/// Whether anybody may execute a file of this mode.
pub(crate) fn is_executable(mode: u32) -> bool {
    mode & 0o111 != 0
}

pub(crate) fn is_script(head: &[u8]) -> bool {
    head.starts_with(b"#!")
}

fn script(bytes: &[u8]) -> Option<Executable> {
    let line = bytes.strip_prefix(b"#!")?;
    let line = &line[..line.len().min(MAX_SCRIPT_LINE)];
    let line = line.split(|byte| *byte == b'\n').next()?;
    let words = String::from_utf8_lossy(line);
    let interpreter: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    (!interpreter.is_empty()).then_some(Executable::Script { interpreter })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(mode: u32) -> Meta<'static> {
        Meta { path: b"file", size: 100, mode, uid: 0, gid: 0, head: b"" }
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let interpreter = |text: &str, mode| match read(&meta(mode), text.as_bytes()) {
            Some(Executable::Script { interpreter }) => interpreter.join(" "),
            other => format!("{other:?}"),
        };
        assert_eq!(interpreter("#!/bin/sh\nexit", 0o755), "/bin/sh");
        assert_eq!(interpreter("#! /usr/bin/env  -S python3\r\n", 0o100), "/usr/bin/env -S python3");
        assert_eq!(interpreter("#!/bin/sh", 0o755), "/bin/sh");
        assert_eq!(interpreter("#!/bin/sh\n", 0o644), "None");
        assert_eq!(interpreter("#!\n", 0o755), "None");
        assert_eq!(interpreter("text", 0o755), "None");
    }
}
