//! Looking things up in a root file system without ever leaving it.
//!
//! [`Tree`] answers one question, "what is at this path, the last component not followed?"; the
//! rest is path arithmetic. That keeps symlink rules in one place and testable without a disk.

use std::{collections::VecDeque, io};

/// Symlinks followed before a path counts as a loop (Linux' own limit).
const MAX_SYMLINKS: usize = 40;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link and its target.
    Symlink(String),
    /// A device, fifo or socket.
    Special,
}

/// Something in a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A root file system that can be asked about one path at a time.
pub trait Tree {
    /// What is at `path` (absolute, cleaned, its parents real directories); `None` if nothing is.
    fn lstat(&self, path: &str) -> io::Result<Option<Found>>;
}

/// An empty root file system.
#[derive(Debug, Clone, Copy)]
pub struct Empty;

impl Tree for Empty {
    fn lstat(&self, path: &str) -> io::Result<Option<Found>> {
        let root = Found { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 };
        Ok(Some(root).filter(|_| path == "/"))
    }
}

/// Where a path leads inside a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path with every symlink resolved; absolute, cleaned. Its tail may not exist.
    pub path: String,
    /// What is there, if anything. Never a symlink.
    pub found: Option<Found>,
}

/// Follows `path` from the root of `tree`. Links that lead out of the root stay inside it, as under
/// `chroot`; components that do not exist are kept as they are.
pub fn resolve(tree: &dyn Tree, path: &str) -> io::Result<Resolved> {
    let mut pending: VecDeque<String> = components(path).map(str::to_owned).collect();
    let mut real = String::from("/");
    let mut found = tree.lstat("/")?;
    let mut links = 0;
    while let Some(component) = pending.pop_front() {
        if component == ".." {
            real = parent(&real).to_owned();
            found = tree.lstat(&real)?;
            continue;
        }
        let next = join(&real, &component);
        // Below something missing, or below a file, nothing can exist.
        let entry = match &found {
            Some(Found { kind: Kind::Directory, .. }) => tree.lstat(&next)?,
            _ => None,
        };
        match entry {
            Some(Found { kind: Kind::Symlink(target), .. }) => {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()));
                }
                if target.starts_with('/') {
                    real = "/".into();
                    found = tree.lstat("/")?;
                }
                for part in components(&target).rev() {
                    pending.push_front(part.to_owned());
                }
            }
            other => {
                real = next;
                found = other;
            }
        }
    }
    Ok(Resolved { path: real, found })
}

/// The components of a path, without empty ones and `.`.
pub fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// `directory` + `/` + `name`.
pub fn join(directory: &str, name: &str) -> String {
    if directory.ends_with('/') { format!("{directory}{name}") } else { format!("{directory}/{name}") }
}

/// The directory that holds `path`; the root holds itself.
pub fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((directory, _)) => directory,
    }
}

/// Every proper ancestor of `path` below the root, outermost first: `/a/b/c` gives `/a`, `/a/b`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').skip(1).map(|(at, _)| &path[..at])
}

#[cfg(test)]
pub(crate) mod fixtures {
    use std::collections::BTreeMap;

    use super::*;

    /// A tree in memory.
    #[derive(Default)]
    pub(crate) struct MapTree(pub BTreeMap<String, Found>);

    impl MapTree {
        /// `d:/usr`, `f:/etc/passwd`, `l:/bin=usr/bin`; directories are 0755 and owned by root.
        pub(crate) fn new(entries: &[&str]) -> Self {
            let mut map = BTreeMap::from([("/".to_owned(), found(Kind::Directory, 0o755))]);
            for entry in entries {
                let (kind, path) = entry.split_once(':').expect("kind:path");
                let (path, value) = match (kind, path.split_once('=')) {
                    ("l", Some((path, target))) => (path, found(Kind::Symlink(target.into()), 0o777)),
                    ("d", _) => (path, found(Kind::Directory, 0o755)),
                    _ => (path, found(Kind::File, 0o644)),
                };
                map.insert(path.to_owned(), value);
            }
            Self(map)
        }
    }

    fn found(kind: Kind, mode: u32) -> Found {
        Found { kind, mode, uid: 0, gid: 0 }
    }

    impl Tree for MapTree {
        fn lstat(&self, path: &str) -> io::Result<Option<Found>> {
            Ok(self.0.get(path).cloned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fixtures::MapTree, *};

    #[test]
    fn paths_are_followed_inside_the_root() {
        let tree = MapTree::new(&[
            "d:/usr",
            "d:/usr/bin",
            "f:/usr/bin/sh",
            "l:/bin=usr/bin",
            "l:/up=../../usr",
            "l:/abs=/usr/bin",
            "l:/dangling=/nowhere/x",
        ]);
        let cases = [
            ("/", "/", true),
            ("/bin/sh", "/usr/bin/sh", true),
            ("/up/bin/../bin/sh", "/usr/bin/sh", true),
            ("/abs", "/usr/bin", true),
            ("/../../usr", "/usr", true),
            ("/bin/new/deep", "/usr/bin/new/deep", false),
            ("/dangling/y", "/nowhere/x/y", false),
            ("/usr/bin/sh/below-a-file", "/usr/bin/sh/below-a-file", false),
        ];
        for (path, real, exists) in cases {
            let resolved = resolve(&tree, path).unwrap();
            assert_eq!((resolved.path.as_str(), resolved.found.is_some()), (real, exists), "{path}");
        }
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let tree = MapTree::new(&["l:/a=b", "l:/b=a"]);
        assert!(resolve(&tree, "/a").is_err());
    }

    #[test]
    fn ancestors_are_outermost_first() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a", "/a/b"]);
        assert_eq!(ancestors("/a").count(), 0);
    }
}
