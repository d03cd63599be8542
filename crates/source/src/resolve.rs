//! Where a path leads inside a snapshot.

use std::collections::VecDeque;

use crate::{Snapshot, entry::Kind};

/// Links followed before a path counts as a loop.
const MAX_LINKS: usize = 255;

/// A source path without `.`, `..` and empty components.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cleaned<'a> {
    pub(crate) components: Vec<&'a str>,
    /// Whether a `..` would have led out of the root.
    pub(crate) escaped: bool,
}

/// Cleans a path as BuildKit does, lexically: the root is its own parent, so `../x` means `x`.
pub(crate) fn clean(path: &str) -> Cleaned<'_> {
    let mut cleaned = Cleaned { components: Vec::new(), escaped: false };
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => cleaned.escaped |= cleaned.components.pop().is_none(),
            name => cleaned.components.push(name),
        }
    }
    cleaned
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// To this entry, which is no link.
    Found(usize),
    /// To nothing.
    Missing {
        /// The path, links resolved, up to and including the first component that is missing, and
        /// the rest as written.
        path: String,
        /// The last link on the way that left the root, and what it says.
        escape: Option<(String, String)>,
    },
    /// Nowhere: too many links.
    Loop,
}

/// Follows `components`, and every link on the way, inside the root of the snapshot: a target that
/// starts with `/` starts at the root, and the root is its own parent.
pub(crate) fn resolve(snapshot: &Snapshot, components: &[&str]) -> Resolved {
    let mut pending: VecDeque<String> = components.iter().map(|&name| name.to_owned()).collect();
    let mut real = String::new();
    let mut escape = None;
    let mut links = 0;
    while let Some(component) = pending.pop_front() {
        match component.as_str() {
            "" | "." => continue,
            ".." => {
                real.truncate(real.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = join(&real, &component);
        let Some(entry) = snapshot.entry(&next) else {
            let rest = pending.into_iter().fold(next, |path, name| join(&path, &name));
            return Resolved::Missing { path: rest, escape };
        };
        let Kind::Symlink { target } = &entry.kind else {
            real = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Resolved::Loop;
        }
        let depth = real.split('/').filter(|name| !name.is_empty()).count();
        if leaves_root(target, depth) {
            escape = Some((next, target.clone()));
        }
        if target.starts_with('/') {
            real.clear();
        }
        for name in target.split('/').rev() {
            pending.push_front(name.to_owned());
        }
    }
    match snapshot.position(&real) {
        Some(index) => Resolved::Found(index),
        None => Resolved::Missing { path: real, escape },
    }
}

/// Whether a link in a directory at `depth` means something outside, to whoever follows it there.
fn leaves_root(target: &str, depth: usize) -> bool {
    let mut depth = depth;
    target.starts_with('/')
        || target.split('/').any(|name| match name {
            "" | "." => false,
            ".." if depth == 0 => true,
            ".." => {
                depth -= 1;
                false
            }
            _ => {
                depth += 1;
                false
            }
        })
}

/// `directory` + `/` + `name`; the root is empty.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
