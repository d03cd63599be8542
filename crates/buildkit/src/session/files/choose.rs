//! Which entries are sent, and in which order.

use std::{cmp::Ordering, collections::BTreeSet};

use archway_dockerfile::{
    ignore::{IgnoreError, IgnorePatterns, Verdict},
    keep::is_rooted,
};
use archway_source::Entry;

use super::{
    follow::{Followed, follow},
    wanted::Wanted,
};

/// What is sent of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// `None`: everything that is not excluded.
    include: Option<Include>,
    exclude: IgnorePatterns,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Include {
    /// Paths, each with all below it.
    paths: BTreeSet<String>,
    patterns: IgnorePatterns,
}

impl Choice {
    /// Compiles what is wanted of a directory with these entries (by path, bytewise).
    ///
    /// # Errors
    /// A malformed pattern, or too many.
    pub(super) fn of(wanted: &Wanted, entries: &[Entry]) -> Result<Self, IgnoreError> {
        let Followed { everything, paths, patterns } = follow(entries, &wanted.follow);
        let is_all = everything || wanted.include.is_empty() && wanted.follow.is_empty();
        let include = match is_all {
            true => None,
            false => {
                let patterns = compile(wanted.include.iter().chain(&patterns))?;
                Some(Include { paths, patterns })
            }
        };
        Ok(Self { include, exclude: compile(&wanted.exclude)? })
    }

    /// Paths that are wanted by name.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.include.iter().flat_map(|include| include.paths.iter().map(String::as_str))
    }

    /// Whether something at `path` would be sent. For single questions; see [`Self::choose`].
    pub(super) fn takes(&self, path: &str) -> bool {
        let is_included = self.include.as_ref().is_none_or(|include| {
            let mut above = path.match_indices('/').filter_map(|(at, _)| path.get(..at)).chain([path]);
            above.any(|path| include.paths.contains(path)) || include.patterns.matches(path)
        });
        is_included && !self.exclude.matches(path)
    }

    /// Numbers of the entries that are sent, in the order in which they are: see [`walk_order`]. A directory is sent if
    /// it is chosen, or anything below it.
    pub(super) fn choose(&self, entries: &[Entry]) -> Vec<usize> {
        // The root itself is not sent.
        let mut order: Vec<usize> =
            (0..entries.len()).filter(|index| !entries[*index].path.is_empty()).collect();
        order.sort_by(|a, b| walk_order(&entries[*a].path, &entries[*b].path));
        if self.include.is_none() && self.exclude.is_empty() {
            return order;
        }
        let mut chosen = Vec::new();
        let mut above: Vec<Above<'_>> = Vec::new();
        for index in order {
            let entry = &entries[index];
            above.truncate(above.iter().take_while(|directory| directory.holds(&entry.path)).count());
            let mut now = self.judge(index, &entry.path, above.last());
            if now.is_taken {
                for directory in above.iter_mut().filter(|directory| !directory.is_taken) {
                    directory.is_taken = true;
                    chosen.push(directory.index);
                }
                chosen.push(index);
            }
            if entry.is_directory() {
                now.path = &entry.path;
                above.push(now);
            }
        }
        chosen
    }

    fn judge<'a>(&self, index: usize, path: &'a str, parent: Option<&Above<'_>>) -> Above<'a> {
        let (mut is_named, mut included) = (false, None);
        let mut is_included = true;
        if let Some(include) = &self.include {
            is_named = parent.is_some_and(|parent| parent.is_named) || include.paths.contains(path);
            let verdict = (!include.patterns.is_empty())
                .then(|| include.patterns.verdict(path, parent.and_then(|parent| parent.included.as_ref())));
            is_included = is_named || verdict.as_ref().is_some_and(Verdict::ignored);
            included = verdict;
        }
        let excluded = (!self.exclude.is_empty())
            .then(|| self.exclude.verdict(path, parent.and_then(|parent| parent.excluded.as_ref())));
        let is_taken = is_included && !excluded.as_ref().is_some_and(Verdict::ignored);
        Above { index, path, is_named, included, excluded, is_taken }
    }
}

/// A directory on the way to an entry.
struct Above<'a> {
    index: usize,
    path: &'a str,
    /// Whether it, or a directory above, is among the paths that are included.
    is_named: bool,
    included: Option<Verdict>,
    excluded: Option<Verdict>,
    /// Whether it is sent.
    is_taken: bool,
}

impl Above<'_> {
    fn holds(&self, path: &str) -> bool {
        path.strip_prefix(self.path).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// A path never begins with a slash, and so nothing matches a pattern that does.
fn compile<'a>(patterns: impl IntoIterator<Item = &'a String>) -> Result<IgnorePatterns, IgnoreError> {
    let patterns = patterns.into_iter().map(String::as_str);
    IgnorePatterns::from_patterns(patterns.filter(|pattern| !is_rooted(pattern)))
}

/// The order in which a walk through directories meets paths, which receivers insist on: names bytewise, and what is
/// in a directory right behind it. (Bytewise, `a-b` is between `a` and `a/b`.)
pub(super) fn walk_order(a: &str, b: &str) -> Ordering {
    let lowest = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let differ = a.bytes().zip(b.bytes()).position(|(a, b)| a != b);
    match differ {
        Some(at) => a.as_bytes().get(at).map(lowest).cmp(&b.as_bytes().get(at).map(lowest)),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::entries, *};

    const TREE: [&str; 11] = [
        "a/",
        "a-b",
        "a.b/",
        "a.b/y",
        "a/b/",
        "a/b/x.go",
        "a/b/x.txt",
        "a/c/",
        "a/c/x.go",
        "link>a/c",
        "top.txt",
    ];

    fn wanted(include: &[&str], exclude: &[&str], follow: &[&str]) -> Wanted {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Wanted {
            directory: String::new(),
            include: owned(include),
            exclude: owned(exclude),
            follow: owned(follow),
        }
    }

    fn chosen(wanted: &Wanted) -> String {
        let entries = entries(&TREE);
        let choice = Choice::of(wanted, &entries).unwrap();
        let chosen = choice.choose(&entries);
        for entry in entries.iter().filter(|entry| !entry.is_directory()) {
            let is_chosen = chosen.iter().any(|index| entries[*index].path == entry.path);
            assert_eq!(choice.takes(&entry.path), is_chosen, "{} {wanted:?}", entry.path);
        }
        let paths: Vec<&str> = chosen.iter().map(|index| entries[*index].path.as_str()).collect();
        paths.join(" ")
    }

    #[test]
    fn everything_is_sent_in_the_order_of_a_walk() {
        let all = "a a/b a/b/x.go a/b/x.txt a/c a/c/x.go a-b a.b a.b/y link top.txt";
        assert_eq!(chosen(&wanted(&[], &[], &[])), all);
        assert_eq!(chosen(&wanted(&[], &[], &["/"])), all);
        assert_eq!(chosen(&wanted(&[], &["/a"], &[])), all, "no path begins with a slash");
    }

    #[test]
    fn what_is_chosen_brings_the_directories_above() {
        for (include, exclude, follow, expected) in [
            (&["a/b"][..], &[][..], &[][..], "a a/b a/b/x.go a/b/x.txt"),
            (&["**/x.txt"], &[], &[], "a a/b a/b/x.txt"),
            (&["a"], &["**/*.go"], &[], "a a/b a/b/x.txt a/c"),
            (&[], &["a/*", "!a/c"], &[], "a a/c a/c/x.go a-b a.b a.b/y link top.txt"),
            (&[], &["*", "!a/b/x.go"], &[], "a a/b a/b/x.go"),
            (&["a", "!a/b"], &[], &[], "a a/c a/c/x.go"),
            (&["."], &[], &[], ""),
            (&[], &[], &["link/x.go"], "a a/c a/c/x.go link"),
            (&[], &["a/c"], &["link", "top.txt"], "link top.txt"),
            (&["top.txt"], &[], &["a-b"], "a-b top.txt"),
            (&[], &[], &["a/*/x.txt"], "a a/b a/b/x.txt"),
            (&[], &[], &["missing"], ""),
        ] {
            assert_eq!(
                chosen(&wanted(include, exclude, follow)),
                expected,
                "{include:?} {exclude:?} {follow:?}"
            );
        }
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        for wanted in [wanted(&["[a"], &[], &[]), wanted(&[], &["[a"], &[]), wanted(&[], &[], &["[a"])] {
            assert!(Choice::of(&wanted, &entries(&TREE)).is_err(), "{wanted:?}");
        }
    }
}
