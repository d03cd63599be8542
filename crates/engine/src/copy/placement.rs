//! Where the files of a COPY go in a root file system: pure decisions over [`Tree`].
//!
//! A placement holds everything the copied delta depends on besides the copied files themselves.
//! Two bases (of two platforms, say) that give the same placement share one delta and one layer.

use std::{collections::BTreeMap, io};

use serde::Serialize;

use crate::tree::{self, Found, Kind, Tree};

/// The attributes of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Directory {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// One file or directory that a source pattern matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// Its last path component; empty for the root of a source.
    pub(crate) name: &'a str,
    /// The directories in it (itself not included), relative, parents first; `None` if it is no directory.
    pub(crate) directories: Option<Vec<&'a str>>,
    /// The other entries in it, relative.
    pub(crate) files: Vec<&'a str>,
}

/// Where things go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Placement {
    /// Directories of the base that hold copied files; they keep their attributes.
    pub(crate) existing: BTreeMap<String, Directory>,
    /// Directories to make above the targets, outermost first.
    pub(crate) created: Vec<String>,
    /// For each item: the path of the file, or of the directory that receives its content.
    pub(crate) targets: Vec<String>,
}

/// Why files cannot go there.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// A directory would replace something that is none.
    #[error("cannot copy a directory to `{0}`: it exists and is not a directory")]
    NotADirectory(String),
    /// A file would replace a directory.
    #[error("cannot copy a file to `{0}`: a directory is there")]
    IsADirectory(String),
    /// The root file system could not be read.
    #[error("cannot look up `{path}` in the root file system")]
    Lookup {
        /// Path asked for.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Decides where `items` go under `destination` (absolute; a trailing `/` says "a directory").
///
/// The rules are those of COPY: the content of a directory goes into the destination; a file goes
/// into the destination if that is a directory, is written with a trailing slash, or if there are
/// several items; else it becomes the destination.
pub(crate) fn place(
    base: &dyn Tree,
    destination: &str,
    items: &[Item<'_>],
) -> Result<Placement, PlacementError> {
    let lookup = |path: &str, source| PlacementError::Lookup { path: path.to_owned(), source };
    let resolved = tree::resolve(base, destination).map_err(|e| lookup(destination, e))?;
    let into_directory =
        destination.ends_with('/') || items.len() > 1 || is_directory(resolved.found.as_ref());

    let mut placement = Placement { existing: BTreeMap::new(), created: Vec::new(), targets: Vec::new() };
    for item in items {
        let target = if item.directories.is_none() && into_directory {
            tree::join(&resolved.path, item.name)
        } else {
            resolved.path.clone()
        };
        placement.claim(base, &target, item)?;
        placement.targets.push(target);
    }
    Ok(placement)
}

impl Placement {
    fn claim(&mut self, base: &dyn Tree, target: &str, item: &Item<'_>) -> Result<(), PlacementError> {
        for ancestor in tree::ancestors(target) {
            self.claim_directory(base, ancestor)?;
        }
        let Some(directories) = &item.directories else {
            return self.claim_file(base, target);
        };
        self.claim_directory(base, target)?;
        // Only directories that the base has can hide a conflict; below a new one all is new.
        for directory in directories {
            let path = tree::join(target, directory);
            if self.existing.contains_key(tree::parent(&path)) || tree::parent(&path) == "/" {
                self.merge_directory(base, &path)?;
            }
        }
        for file in &item.files {
            let path = tree::join(target, file);
            if self.existing.contains_key(tree::parent(&path)) || tree::parent(&path) == "/" {
                self.claim_file(base, &path)?;
            }
        }
        Ok(())
    }

    /// `path` has to be a directory: it is one in the base, or is made.
    fn claim_directory(&mut self, base: &dyn Tree, path: &str) -> Result<(), PlacementError> {
        if path == "/" || self.existing.contains_key(path) || self.created.iter().any(|made| made == path) {
            return Ok(());
        }
        if !self.merge_directory(base, path)? {
            self.created.push(path.to_owned());
        }
        Ok(())
    }

    /// Notes `path` if the base has a directory there; an error if it has something else.
    fn merge_directory(&mut self, base: &dyn Tree, path: &str) -> Result<bool, PlacementError> {
        let found =
            base.lstat(path).map_err(|source| PlacementError::Lookup { path: path.to_owned(), source })?;
        match found {
            None => Ok(false),
            Some(Found { kind: Kind::Directory, mode, uid, gid }) => {
                self.existing.insert(path.to_owned(), Directory { mode, uid, gid });
                Ok(true)
            }
            Some(_) => Err(PlacementError::NotADirectory(path.to_owned())),
        }
    }

    fn claim_file(&self, base: &dyn Tree, path: &str) -> Result<(), PlacementError> {
        let found =
            base.lstat(path).map_err(|source| PlacementError::Lookup { path: path.to_owned(), source })?;
        if is_directory(found.as_ref()) { Err(PlacementError::IsADirectory(path.to_owned())) } else { Ok(()) }
    }
}

fn is_directory(found: Option<&Found>) -> bool {
    matches!(found, Some(Found { kind: Kind::Directory, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixtures::MapTree;

    fn file(name: &str) -> Item<'_> {
        Item { name, directories: None, files: Vec::new() }
    }

    fn directory<'a>(directories: &[&'a str], files: &[&'a str]) -> Item<'a> {
        Item { name: "src", directories: Some(directories.to_vec()), files: files.to_vec() }
    }

    fn show(placement: &Placement) -> String {
        let existing: Vec<&str> = placement.existing.keys().map(String::as_str).collect();
        format!(
            "{} | +{} | ={}",
            placement.targets.join(" "),
            placement.created.join(" +"),
            existing.join(" =")
        )
    }

    #[test]
    fn destinations_follow_the_rules_of_copy() {
        let base =
            MapTree::new(&["d:/usr", "d:/usr/bin", "l:/bin=usr/bin", "d:/app", "f:/app/old", "f:/file"]);
        let cases: &[(&str, &[Item<'_>], &str)] = &[
            ("/new", &[file("a")], "/new | + | ="),
            ("/new/", &[file("a")], "/new/a | +/new | ="),
            ("/x/y/z", &[file("a")], "/x/y/z | +/x +/x/y | ="),
            ("/app", &[file("a")], "/app/a | + | =/app"),
            ("/app/old", &[file("a")], "/app/old | + | =/app"),
            ("/bin", &[file("a"), file("b")], "/usr/bin/a /usr/bin/b | + | =/usr =/usr/bin"),
            ("/bin/tool", &[file("a")], "/usr/bin/tool | + | =/usr =/usr/bin"),
            ("/app", &[directory(&["sub"], &["sub/f"])], "/app | + | =/app"),
            ("/", &[directory(&["usr", "usr/bin", "opt"], &["usr/bin/f"])], "/ | + | =/usr =/usr/bin"),
        ];
        for (destination, items, want) in cases {
            let placement = place(&base, destination, items).unwrap();
            assert_eq!(show(&placement), *want, "{destination} {items:?}");
        }
    }

    #[test]
    fn conflicts_with_the_base_are_refused() {
        let base = MapTree::new(&["f:/file", "d:/app", "d:/app/dir"]);
        assert!(matches!(
            place(&base, "/file", &[directory(&[], &["x"])]),
            Err(PlacementError::NotADirectory(path)) if path == "/file"
        ));
        assert!(matches!(
            place(&base, "/file/below", &[file("x")]),
            Err(PlacementError::NotADirectory(path)) if path == "/file"
        ));
        assert!(matches!(
            place(&base, "/app", &[directory(&[], &["dir"])]),
            Err(PlacementError::IsADirectory(path)) if path == "/app/dir"
        ));
    }

    #[test]
    fn bases_that_agree_on_the_parents_give_the_same_placement() {
        let items = [directory(&["lib"], &["lib/x"])];
        let one = place(&MapTree::new(&["d:/srv", "f:/bin"]), "/srv/app", &items).unwrap();
        let other = place(&MapTree::new(&["d:/srv", "d:/other"]), "/srv/app", &items).unwrap();
        assert_eq!(one, other);
    }
}
