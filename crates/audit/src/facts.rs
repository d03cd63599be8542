//! What is kept of each file while a layer is read.

use std::sync::Arc;

use archway_attest::packages::is_database;
use archway_layer::contents::{Entry, Keep, Kind, Meta, Selector};
use serde::{Deserialize, Serialize};

use crate::{
    elf, macho,
    packages::{self, Packages},
    pe,
    program::{self, Executable, is_executable},
};

/// Larger package databases are not read.
const MAX_DATABASE: u64 = 64 << 20;
/// The longest first line of a script that counts.
const SCRIPT: usize = 256;

/// The selector of the audit: what it keeps of a file are its [`Facts`], a few dozen bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Audited;

/// What a file tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Facts {
    Executable(Executable),
    Packages(Packages),
}

impl Facts {
    /// Those that were kept of an entry.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        serde_json::from_slice(entry.content()?).ok()
    }
}

/// Whether an entry can make a difference to an audit of another day: programs and scripts, what takes their
/// place, and links on the way to them.
pub fn is_evidence(entry: &Entry) -> bool {
    match &entry.kind {
        Kind::File { content, .. } => is_executable(entry.mode) || content.is_some(),
        Kind::Symlink { .. } => true,
        Kind::Directory | Kind::Other => false,
    }
}

impl Selector for Audited {
    fn keep(&self, file: &Meta<'_>) -> Keep {
        if is_database(file.path) {
            return Keep::Whole { limit: MAX_DATABASE };
        }
        match file.head {
            head if head.starts_with(elf::MAGIC) => elf::wanted(head, file.size),
            head if head.starts_with(pe::MAGIC) => Keep::Head(pe::USUAL),
            head if is_executable(file.mode)
                && (program::is_script(head) || macho::parse(head).is_some()) =>
            {
                Keep::Head(SCRIPT)
            }
            _ => Keep::Nothing,
        }
    }

    fn distil(&self, file: &Meta<'_>, bytes: &[u8]) -> Option<Arc<[u8]>> {
        let facts = match is_database(file.path) {
            true => Facts::Packages(packages::read(file.path, bytes)),
            false => Facts::Executable(program::read(file, bytes)?),
        };
        serde_json::to_vec(&facts).ok().map(Into::into)
    }
}
