//! Where the files of a COPY go in a root file system: pure decisions over [`Tree`].
//!
//! A placement holds everything the copied delta depends on besides the copied files themselves.
//! Two bases (of two platforms, say) that give the same placement share one delta and one layer.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

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
    /// The directories in it (itself not included), parents first; `None` if it is no directory. Of an
    /// archive that is unpacked there are none.
    pub(crate) directories: Option<Vec<SubDirectory<'a>>>,
    /// The other entries in it, relative.
    pub(crate) files: Vec<&'a str>,
}

/// A directory in a copied directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubDirectory<'a> {
    /// Relative path.
    pub(crate) path: &'a str,
    /// Its mode, if it is copied only for something in it.
    pub(crate) implied: Option<u32>,
}

/// Where things go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Placement {
    /// The base's own directories among the targets and above them: they keep their attributes. What a
    /// copied directory holds takes the attributes of the source even where the base has it, as in
    /// BuildKit.
    pub(crate) existing: BTreeMap<String, Directory>,
    /// Directories to make above the targets, outermost first.
    pub(crate) created: Vec<String>,
    /// The base's own directories that are copied only for something in them: they get the mode of the
    /// source and keep their owner.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) implied: BTreeMap<String, Directory>,
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
/// The items are copied one after the other. The content of a directory goes into the destination; a
/// file goes into the destination if that is a directory by then, or is written with a trailing slash;
/// else it becomes the destination, and the next file replaces it.
pub(crate) fn place(
    base: &dyn Tree,
    destination: &str,
    items: &[Item<'_>],
) -> Result<Placement, PlacementError> {
    let failed = |source| PlacementError::Lookup { path: destination.to_owned(), source };
    let resolved = tree::resolve(base, destination).map_err(failed)?;
    let mut is_directory = destination.ends_with('/') || is_directory(resolved.found.as_ref());
    let mut is_copied_file = false;

    let mut placement = Placement::default();
    for item in items {
        let target = if item.directories.is_some() {
            if is_copied_file {
                return Err(PlacementError::NotADirectory(resolved.path));
            }
            is_directory = true;
            resolved.path.clone()
        } else if is_directory {
            tree::join(&resolved.path, item.name)
        } else {
            is_copied_file = true;
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
            return claim_file(base, target);
        };
        self.claim_directory(base, target)?;
        if self.created.iter().any(|made| made == target) {
            // Below a new directory all is new.
            return Ok(());
        }
        let parent =
            |path: &str| path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
        let mut merged = BTreeSet::from([String::new()]);
        for SubDirectory { path, implied } in directories {
            let full = tree::join(target, path);
            if merged.contains(&parent(path))
                && let Some(found) = lookup_directory(base, &full)?
            {
                merged.insert((*path).to_owned());
                if let Some(mode) = *implied {
                    self.implied.insert(full, Directory { mode, ..found });
                }
            }
        }
        for file in item.files.iter().filter(|file| merged.contains(&parent(file))) {
            claim_file(base, &tree::join(target, file))?;
        }
        Ok(())
    }

    /// `path` has to be a directory: it is one in the base, or is made.
    fn claim_directory(&mut self, base: &dyn Tree, path: &str) -> Result<(), PlacementError> {
        if path == "/" || self.existing.contains_key(path) || self.created.iter().any(|made| made == path) {
            return Ok(());
        }
        match lookup_directory(base, path)? {
            Some(directory) => drop(self.existing.insert(path.to_owned(), directory)),
            None => self.created.push(path.to_owned()),
        }
        Ok(())
    }
}

/// The directory at `path`; an error if something else is there.
fn lookup_directory(base: &dyn Tree, path: &str) -> Result<Option<Directory>, PlacementError> {
    match lookup(base, path)? {
        None => Ok(None),
        Some(Found { kind: Kind::Directory, mode, uid, gid }) => Ok(Some(Directory { mode, uid, gid })),
        Some(_) => Err(PlacementError::NotADirectory(path.to_owned())),
    }
}

fn claim_file(base: &dyn Tree, path: &str) -> Result<(), PlacementError> {
    let found = lookup(base, path)?;
    if is_directory(found.as_ref()) { Err(PlacementError::IsADirectory(path.to_owned())) } else { Ok(()) }
}

fn lookup(base: &dyn Tree, path: &str) -> Result<Option<Found>, PlacementError> {
    base.lstat(path).map_err(|source| PlacementError::Lookup { path: path.to_owned(), source })
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
        let whole = |path: &&'a str| SubDirectory { path, implied: None };
        Item {
            name: "src",
            directories: Some(directories.iter().map(whole).collect()),
            files: files.to_vec(),
        }
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
        let base = MapTree::new(&[
            "d:/usr",
            "d:/usr/bin",
            "l:/bin=usr/bin",
            "d:/app",
            "f:/app/old",
            "f:/file",
            "l:/link=nowhere/x",
        ]);
        let cases: &[(&str, &[Item<'_>], &str)] = &[
            ("/new", &[file("a")], "/new | + | ="),
            ("/new/", &[file("a")], "/new/a | +/new | ="),
            ("/x/y/z", &[file("a")], "/x/y/z | +/x +/x/y | ="),
            ("/app", &[file("a")], "/app/a | + | =/app"),
            ("/app/old", &[file("a")], "/app/old | + | =/app"),
            ("/bin", &[file("a"), file("b")], "/usr/bin/a /usr/bin/b | + | =/usr =/usr/bin"),
            ("/new", &[file("a"), file("b")], "/new /new | + | ="),
            ("/new", &[directory(&[], &["x"]), file("b")], "/new /new/b | +/new | ="),
            ("/file", &[file("a"), file("b")], "/file /file | + | ="),
            ("/link", &[file("a")], "/nowhere/x | +/nowhere | ="),
            ("/bin/tool", &[file("a")], "/usr/bin/tool | + | =/usr =/usr/bin"),
            ("/app", &[directory(&["sub"], &["sub/f"])], "/app | + | =/app"),
            ("/", &[directory(&["usr", "usr/bin", "opt"], &["usr/bin/f"])], "/ | + | ="),
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
        let base_with_link = MapTree::new(&["d:/real", "d:/app", "l:/app/sub=../real"]);
        assert!(matches!(
            place(&base_with_link, "/app", &[directory(&["sub"], &["sub/x"])]),
            Err(PlacementError::NotADirectory(path)) if path == "/app/sub"
        ));
        assert!(matches!(
            place(&base, "/new", &[file("a"), directory(&[], &["x"])]),
            Err(PlacementError::NotADirectory(path)) if path == "/new"
        ));
        assert!(matches!(
            place(&base, "/app", &[directory(&[], &["dir"])]),
            Err(PlacementError::IsADirectory(path)) if path == "/app/dir"
        ));
    }

    #[test]
    fn a_directory_on_the_way_keeps_its_owner() {
        let mut base = MapTree::new(&["d:/app", "d:/app/etc"]);
        base.0.get_mut("/app/etc").unwrap().uid = 7;
        let implied = |path| SubDirectory { path, implied: Some(0o700) };
        let item = Item {
            name: "src",
            directories: Some(vec![implied("etc"), implied("new")]),
            files: vec!["etc/x", "new/y"],
        };
        let placement = place(&base, "/app/", &[item]).unwrap();
        let etc = Directory { mode: 0o700, uid: 7, gid: 0 };
        assert_eq!(placement.implied, BTreeMap::from([("/app/etc".to_owned(), etc)]));
    }

    #[test]
    fn on_an_empty_file_system_everything_is_new() {
        let placement = place(&tree::Empty, "/usr/bin/", &[file("a")]).unwrap();
        assert_eq!(show(&placement), "/usr/bin/a | +/usr +/usr/bin | =");
    }

    #[test]
    fn bases_that_agree_on_the_parents_give_the_same_placement() {
        let items = [directory(&["lib"], &["lib/x"])];
        let one = place(&MapTree::new(&["d:/srv", "f:/bin"]), "/srv/app", &items).unwrap();
        let other = place(&MapTree::new(&["d:/srv", "d:/other"]), "/srv/app", &items).unwrap();
        assert_eq!(one, other);
    }
}
