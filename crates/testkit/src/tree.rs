//! Comparing file trees: directories, tars, or one with the other.
//!
//! Times are left out. Hard links are resolved: a name has the content it has, however it came by it.

mod directory;
mod tarball;

use std::{collections::BTreeMap, fmt, io};

use sha2::{Digest as _, Sha256};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: its size in bytes and the SHA-256 of its content, hexadecimal.
    File {
        /// Bytes.
        size: u64,
        /// Digest of the content.
        sha256: String,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(String),
    /// A character device.
    CharacterDevice {
        /// Device number, the driver's part.
        major: u32,
        /// Device number, the driver's own part.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Device number, the driver's part.
        major: u32,
        /// Device number, the driver's own part.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// One name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it stands for.
    pub kind: Kind,
    /// Permission bits, including set-user-id, set-group-id and sticky; 0o777 for symbolic links.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// A file tree by path, without its root: `etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The entries.
    pub entries: BTreeMap<String, Entry>,
}

/// How two trees differ at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the left tree has it.
    OnlyLeft(String),
    /// Only the right tree has it.
    OnlyRight(String),
    /// Both have it.
    Changed {
        /// The path.
        path: String,
        /// Left.
        left: Box<Entry>,
        /// Right.
        right: Box<Entry>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyLeft(path) => write!(f, "- {path}"),
            Self::OnlyRight(path) => write!(f, "+ {path}"),
            Self::Changed { path, left, right } => write!(f, "! {path}\n    {left:?}\n    {right:?}"),
        }
    }
}

impl Tree {
    /// Drops the owners, for trees written by a normal user.
    #[must_use]
    pub fn without_owners(mut self) -> Self {
        for entry in self.entries.values_mut() {
            (entry.uid, entry.gid) = (0, 0);
        }
        self
    }

    /// Drops the extended attributes whose names start with `prefix`.
    #[must_use]
    pub fn without_xattrs(mut self, prefix: &str) -> Self {
        for entry in self.entries.values_mut() {
            entry.xattrs.retain(|name, _| !name.starts_with(prefix));
        }
        self
    }

    /// Keeps the paths that `keep` accepts.
    #[must_use]
    pub fn only(mut self, mut keep: impl FnMut(&str) -> bool) -> Self {
        self.entries.retain(|path, _| keep(path));
        self
    }

    /// Every difference, by path.
    pub fn differences(&self, right: &Self) -> Vec<Difference> {
        let paths: std::collections::BTreeSet<&String> =
            self.entries.keys().chain(right.entries.keys()).collect();
        paths.into_iter().filter_map(|path| self.difference(right, path)).collect()
    }

    fn difference(&self, right: &Self, path: &str) -> Option<Difference> {
        match (self.entries.get(path), right.entries.get(path)) {
            (Some(left), Some(right)) if left == right => None,
            (Some(left), Some(right)) => Some(Difference::Changed {
                path: path.to_owned(),
                left: Box::new(left.clone()),
                right: Box::new(right.clone()),
            }),
            (Some(_), None) => Some(Difference::OnlyLeft(path.to_owned())),
            (None, _) => Some(Difference::OnlyRight(path.to_owned())),
        }
    }
}

/// Fails the test with every difference between two trees.
///
/// # Panics
/// Where the trees differ.
#[track_caller]
pub fn assert_same(left: &Tree, right: &Tree) {
    let differences = left.differences(right);
    let text: Vec<String> = differences.iter().take(40).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), text.join("\n"));
}

fn file(mut content: impl io::Read) -> io::Result<Kind> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            return Ok(Kind::File { size, sha256: hex::encode(hasher.finalize()) });
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, mode: u32, uid: u32) -> Entry {
        Entry { kind, mode, uid, gid: uid, xattrs: BTreeMap::new() }
    }

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        Tree { entries: entries.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect() }
    }

    #[test]
    fn reports_what_differs() {
        let left = tree(&[
            ("a", entry(Kind::Directory, 0o755, 0)),
            ("b", entry(Kind::Fifo, 0o644, 0)),
            ("c", entry(Kind::Directory, 0o755, 0)),
        ]);
        let right = tree(&[
            ("b", entry(Kind::Fifo, 0o600, 0)),
            ("c", entry(Kind::Directory, 0o755, 0)),
            ("d", entry(Kind::Symlink("c".into()), 0o777, 0)),
        ]);
        let differences: Vec<String> = left.differences(&right).iter().map(ToString::to_string).collect();
        assert_eq!(differences.len(), 3);
        assert_eq!((&*differences[0], &*differences[2]), ("- a", "+ d"));
        assert!(differences[1].starts_with("! b"));
        assert_eq!(left.differences(&left), []);
    }

    #[test]
    fn owners_can_be_left_out() {
        let left = tree(&[("a", entry(Kind::Directory, 0o755, 0))]);
        let right = tree(&[("a", entry(Kind::Directory, 0o755, 1000))]);
        assert_ne!(left, right);
        assert_same(&left.without_owners(), &right.without_owners());
    }

    #[test]
    fn a_directory_and_its_tar_are_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("etc/empty")).unwrap();
        std::fs::write(root.join("etc/hello"), "hello\n").unwrap();
        std::fs::hard_link(root.join("etc/hello"), root.join("etc/again")).unwrap();
        std::os::unix::fs::symlink("hello", root.join("etc/link")).unwrap();
        let tar = crate::process::output(
            std::process::Command::new("tar").args(["--format=pax", "-C"]).arg(root).args(["-c", "."]),
        )
        .unwrap();
        let (left, right) = (Tree::of_directory(root).unwrap(), Tree::of_tar(&tar[..]).unwrap());
        assert_eq!(left.entries.len(), 5, "{left:#?}");
        assert_same(&left, &right);
        assert_eq!(left.entries["etc/again"], left.entries["etc/hello"]);
    }
}
