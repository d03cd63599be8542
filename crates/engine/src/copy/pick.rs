//! What each source of a COPY takes: the whole, or the part that `--parents` and `--exclude` leave.

use archway_dockerfile::{glob::has_wildcards, keep::Keep};
use archway_graph::CopyOp;

/// A source. Its path may hold wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) path: String,
    /// What is taken of a directory.
    pub(crate) keep: Keep,
    /// `--parents`: the pattern that is part of `keep`.
    pub(crate) pattern: Option<String>,
    /// Whether the pattern must match something.
    pub(crate) required: bool,
}

/// What `op` takes of `paths`, which are one of its groups.
pub(crate) fn picks(op: &CopyOp, paths: &[String]) -> Vec<Pick> {
    paths.iter().map(|path| pick(op, path)).collect()
}

fn pick(op: &CopyOp, path: &str) -> Pick {
    let (root, pattern) = match path.split_once("/./").filter(|_| op.parents) {
        Some((root, pattern)) => (root, Some(pattern)),
        None => (path, None),
    };
    Pick {
        path: root.to_owned(),
        keep: Keep::new(pattern, &op.exclude).expect("lowering refuses malformed patterns"),
        pattern: pattern.map(str::to_owned),
        required: pattern.is_some_and(|pattern| !has_wildcards(root) && !has_wildcards(pattern)),
    }
}

/// A path and what is wanted below it, as messages name them.
pub(crate) fn shown(path: &str, pattern: &str) -> String {
    if matches!(path, "" | "." | "/") { pattern.to_owned() } else { format!("{path}/{pattern}") }
}
