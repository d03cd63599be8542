//! Paths that are needed to follow other paths through symbolic links.

use std::collections::{BTreeSet, HashSet};

use archway_dockerfile::glob::{Glob, has_wildcards, literal};
use archway_source::{Entry, Kind};

/// Links on one way before it counts as a loop.
const MAX_LINKS: usize = 255;

/// What is needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Followed {
    /// Whether it is the whole directory.
    pub(super) everything: bool,
    /// Paths, each with all below it.
    pub(super) paths: BTreeSet<String>,
    /// Patterns of such paths.
    pub(super) patterns: Vec<String>,
}

/// What is needed to find `paths`: those themselves, the links on the way, and what those lead to. `entries` are all
/// there are, by path (bytewise). Links are followed inside the directory: its root is its own parent.
pub(super) fn follow(entries: &[Entry], paths: &[String]) -> Followed {
    let mut follower = Follower { entries, found: Followed::default(), seen: HashSet::new() };
    for path in paths {
        let mut parts: Vec<Part> = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                // Lexically, as it is written: BuildKit cleans paths before it follows them.
                ".." => drop(parts.pop()),
                name if has_wildcards(name) => parts.push(Part::Wild(name.to_owned())),
                name => parts.push(Part::Name(name.to_owned())),
            }
        }
        parts.reverse();
        follower.walk(Way { at: String::new(), rest: parts, covered: false, links: 0 });
    }
    follower.found
}

/// A component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Name(String),
    Wild(String),
}

/// Where one is, and where to go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Way {
    /// A path without links.
    at: String,
    /// What follows, the last component first.
    rest: Vec<Part>,
    /// Whether a pattern stands for all that comes up to the next link.
    covered: bool,
    /// Links that were followed.
    links: usize,
}

struct Follower<'a> {
    entries: &'a [Entry],
    found: Followed,
    seen: HashSet<Way>,
}

impl Follower<'_> {
    fn walk(&mut self, mut way: Way) {
        while let Some(part) = way.rest.pop() {
            match part {
                Part::Name(name) if name == ".." => way.at.truncate(way.at.rfind('/').unwrap_or(0)),
                Part::Name(name) => {
                    let path = join(&way.at, &name);
                    match self.target(&path) {
                        Some(target) => return self.follow(path, &target, &way),
                        None => way.at = path,
                    }
                }
                Part::Wild(pattern) => return self.expand(&pattern, &way),
            }
        }
        if !way.covered {
            self.take(way.at);
        }
    }

    /// Goes on where a link leads.
    fn follow(&mut self, link: String, target: &str, way: &Way) {
        let at = match target.starts_with('/') {
            true => String::new(),
            false => link.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned(),
        };
        let names = target.split('/').filter(|name| !matches!(*name, "" | "."));
        let mut rest = way.rest.clone();
        rest.extend(names.rev().map(|name| Part::Name(name.to_owned())));
        self.take(link);
        let next = Way { at, rest, covered: false, links: way.links + 1 };
        if next.links <= MAX_LINKS && self.seen.insert(Way { links: 0, ..next.clone() }) {
            self.walk(next);
        }
    }

    /// Goes on at every entry that a component with wildcards matches.
    fn expand(&mut self, pattern: &str, way: &Way) {
        if !way.covered {
            let rest = way.rest.iter().rev().map(|part| match part {
                Part::Name(name) => literal(name),
                Part::Wild(pattern) => pattern.clone(),
            });
            let whole = rest.fold(join(&literal(&way.at), pattern), |path, part| join(&path, &part));
            // Such a name is no exception.
            let mark = if whole.starts_with('!') { "\\" } else { "" };
            self.found.patterns.push(format!("{mark}{whole}"));
        }
        // A malformed one is refused with the other patterns.
        let Ok(glob) = Glob::parse(pattern) else { return };
        for entry in members(self.entries, &way.at).filter(|entry| glob.matches(entry.name())) {
            match &entry.kind {
                Kind::Symlink { target } => self.follow(entry.path.clone(), target, way),
                Kind::Directory if !way.rest.is_empty() => {
                    self.walk(Way { at: entry.path.clone(), covered: true, ..way.clone() });
                }
                Kind::Directory | Kind::File | Kind::Fifo => {}
            }
        }
    }

    fn take(&mut self, path: String) {
        match path.is_empty() {
            true => self.found.everything = true,
            false => drop(self.found.paths.insert(path)),
        }
    }

    /// What a link says; `None` for what is none.
    fn target(&self, path: &str) -> Option<String> {
        let index = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        match &self.entries.get(index)?.kind {
            Kind::Symlink { target } => Some(target.clone()),
            _ => None,
        }
    }
}

/// What is directly in a directory.
fn members<'a>(entries: &'a [Entry], directory: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let from = entries.partition_point(|entry| entry.path < prefix);
    let below = entries.iter().skip(from);
    let length = prefix.len();
    below.take_while(move |entry| entry.path.starts_with(&prefix)).filter(move |entry| {
        entry.path.get(length..).is_some_and(|name| !name.is_empty() && !name.contains('/'))
    })
}

/// `directory` + `/` + `name`; the root is empty.
fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::entries, *};

    fn followed(tree: &[&str], paths: &[&str]) -> String {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let Followed { everything, paths, patterns } = follow(&entries(tree), &paths);
        let all = everything.then(|| ".".to_owned());
        let patterns = patterns.into_iter().map(|pattern| format!("({pattern})"));
        all.into_iter().chain(paths).chain(patterns).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn links_are_followed_wherever_they_are() {
        let tree = [
            "current>v1",
            "dir/",
            "dir/up>../real",
            "dir/rooted>/real/x",
            "file",
            "out>../../elsewhere",
            "real/",
            "real/back>../file",
            "real/x",
            "v1/",
            "v1/a",
            "v1/b>a",
        ];
        for (path, expected) in [
            ("file", "file"),
            ("/file", "file"),
            ("dir/../file", "file"),
            ("../../file", "file"),
            ("missing/x", "missing/x"),
            ("current", "current v1"),
            ("current/a", "current v1/a"),
            ("current/b", "current v1/a v1/b"),
            ("dir/up/back", "dir/up file real/back"),
            ("dir/rooted", "dir/rooted real/x"),
            ("out", "elsewhere out"),
            ("/", "."),
            (".", "."),
        ] {
            assert_eq!(followed(&tree, &[path]), expected, "{path}");
        }
        assert_eq!(followed(&tree, &["current/a", "current/b"]), "current v1/a v1/b", "not the first only");
    }

    #[test]
    fn wildcards_stay_patterns_until_a_link() {
        let tree = [
            "!odd",
            "a1/",
            "a1/l>../t",
            "a1/x",
            "a2>t",
            "b",
            "c/",
            "c[1]/",
            "c[1]/l>/t",
            "l1>b",
            "l2>t/x",
            "t/",
            "t/x",
        ];
        for (path, expected) in [
            ("b*", "(b*)"),
            ("l*", "b l1 l2 t/x (l*)"),
            ("a*/x", "a2 t/x (a*/x)"),
            ("a?/l", "a1/l a2 t t/l (a?/l)"),
            ("a1/*", "a1/l t (a1/*)"),
            ("c[[]1]/*", "c[1]/l t (c[[]1]/*)"),
            ("a2/*", "a2 (t/*)"),
            ("!o*", "(\\!o*)"),
            ("[a", "([a)"),
        ] {
            assert_eq!(followed(&tree, &[path]), expected, "{path}");
        }
    }

    #[test]
    fn loops_end() {
        let tree = ["a>b", "b>a", "d/", "d/again>.", "grows>grows/x", "self>self"];
        for (path, expected) in [
            ("a", "a b"),
            ("self/x", "self"),
            ("grows", "grows"),
            ("d/again/again/x", "d/again d/x"),
            ("d/*/*/*", "d d/again (d/*) (d/*/*) (d/*/*/*)"),
        ] {
            let found = followed(&tree, &[path]);
            let mut words: Vec<&str> = found.split(' ').collect();
            words.sort_unstable();
            let mut expected: Vec<&str> = expected.split(' ').collect();
            expected.sort_unstable();
            assert_eq!(words, expected, "{path}");
        }
    }
}
