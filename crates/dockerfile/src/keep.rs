//! Which entries of a copied directory are taken: `COPY --parents` names some, `--exclude` leaves some
//! out. Paths and patterns are relative to the copied directory; patterns have the meaning that they
//! have in `.dockerignore` ([`crate::ignore`]).

use std::collections::HashMap;

use crate::ignore::{IgnoreError, IgnorePatterns, Verdict};

/// What is taken of a directory. By default everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// The pattern that `--parents` made of the source; `None`: everything.
    include: Option<IgnorePatterns>,
    exclude: IgnorePatterns,
}

/// Whether an entry is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    Whole,
    /// It is a directory that nobody asked for, with something in it that is taken.
    Parent,
    /// It is not.
    No,
}

impl Keep {
    /// What `include` names, without what `exclude` names.
    pub fn new<S: AsRef<str>>(include: Option<&str>, exclude: &[S]) -> Result<Self, IgnoreError> {
        // A path never begins with a slash, and so nothing matches such a pattern: it is not read as
        // one without the slash, as it is in a `.dockerignore`.
        let exclude = exclude.iter().map(AsRef::as_ref).filter(|pattern| !is_rooted(pattern));
        Ok(Self {
            include: include.map(|pattern| IgnorePatterns::from_patterns([pattern])).transpose()?,
            exclude: IgnorePatterns::from_patterns(exclude)?,
        })
    }

    /// Whether everything is taken.
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// Whether an entry may be taken: nothing is said about the others.
    pub fn may_take(&self, path: &str) -> bool {
        let included = self.include.as_ref().is_none_or(|include| include.matches(path));
        included && !self.exclude.matches(path)
    }

    /// Decides about all entries of a directory, given by path and whether they are directories
    /// themselves. A directory comes before what is in it.
    pub fn choose<'p>(&self, entries: impl IntoIterator<Item = (&'p str, bool)>) -> Vec<Kept> {
        let mut chosen = Vec::new();
        let mut directories: HashMap<&str, Directory> = HashMap::new();
        for (path, is_directory) in entries {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            let above = parent.and_then(|parent| directories.get(parent));
            let include = self.include.as_ref().map(|patterns| {
                patterns.verdict(path, above.and_then(|directory| directory.include.as_ref()))
            });
            let exclude = self.exclude.verdict(path, above.map(|directory| &directory.exclude));
            let taken = include.as_ref().is_none_or(Verdict::ignored) && !exclude.ignored();
            if taken {
                take_parents(parent, &directories, &mut chosen);
            }
            if is_directory {
                directories.insert(path, Directory { index: chosen.len(), include, exclude });
            }
            chosen.push(if taken { Kept::Whole } else { Kept::No });
        }
        chosen
    }
}

/// What is known of a directory by the time its members come.
struct Directory {
    index: usize,
    include: Option<Verdict>,
    exclude: Verdict,
}

/// Marks the directories above something that is taken.
fn take_parents(mut parent: Option<&str>, directories: &HashMap<&str, Directory>, chosen: &mut [Kept]) {
    while let Some(directory) = parent.and_then(|path| directories.get(path)) {
        match &mut chosen[directory.index] {
            // Those above it are taken too.
            Kept::Whole | Kept::Parent => return,
            undecided @ Kept::No => *undecided = Kept::Parent,
        }
        parent = parent.and_then(|path| path.rsplit_once('/')).map(|(parent, _)| parent);
    }
}

/// Whether a pattern begins at a root, where no path of a copied directory does.
pub fn is_rooted(pattern: &str) -> bool {
    let pattern = pattern.trim();
    pattern.strip_prefix('!').unwrap_or(pattern).starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path` if taken, `(path)` if it only holds something that is.
    fn kept(include: Option<&str>, exclude: &[&str]) -> String {
        let entries = [
            ("a", true),
            ("a/b", true),
            ("a/b/x.go", false),
            ("a/b/x.txt", false),
            ("a/c", true),
            ("a/c/x.go", false),
            ("a.b", true),
            ("a.b/y", false),
            ("top.txt", false),
        ];
        let keep = Keep::new(include, exclude).unwrap();
        let chosen = keep.choose(entries);
        let shown = entries.iter().zip(chosen).filter_map(|((path, _), kept)| match kept {
            Kept::Whole => Some((*path).to_owned()),
            Kept::Parent => Some(format!("({path})")),
            Kept::No => None,
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn excluded_entries_are_left_out() {
        let table = [
            (&["*.txt"][..], "a a/b a/b/x.go a/b/x.txt a/c a/c/x.go a.b a.b/y"),
            (&["**/*.txt"], "a a/b a/b/x.go a/c a/c/x.go a.b a.b/y"),
            (&["a"], "a.b a.b/y top.txt"),
            (&["a/*", "!a/c"], "a a/c a/c/x.go a.b a.b/y top.txt"),
            (&["*", "!a/b/x.go"], "(a) (a/b) a/b/x.go"),
            (&["*"], ""),
            (&["/a", "!/a"], "a a/b a/b/x.go a/b/x.txt a/c a/c/x.go a.b a.b/y top.txt"),
        ];
        for (exclude, expected) in table {
            assert_eq!(kept(None, exclude), expected, "{exclude:?}");
        }
    }

    #[test]
    fn included_entries_bring_their_parents() {
        let table = [
            ("a/b", "(a) a/b a/b/x.go a/b/x.txt"),
            ("a/*/x.go", "(a) (a/b) a/b/x.go (a/c) a/c/x.go"),
            ("**/x.txt", "(a) (a/b) a/b/x.txt"),
            ("a/b/", "(a) a/b a/b/x.go a/b/x.txt"),
            ("nothing/*", ""),
            (".", ""),
        ];
        for (include, expected) in table {
            assert_eq!(kept(Some(include), &[]), expected, "{include}");
        }
        assert_eq!(kept(Some("a/b"), &["**/*.txt"]), "(a) a/b a/b/x.go");
    }

    #[test]
    fn a_malformed_pattern_is_an_error() {
        assert!(Keep::new(None, &["[a"]).is_err());
        assert!(Keep::new(None, &["!"]).is_err());
    }
}
