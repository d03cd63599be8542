//! Which files the sources of a COPY or ADD mean (BuildKit's rules).

use std::collections::BTreeSet;

use archway_dockerfile::{
    glob::{Glob, has_wildcards},
    keep::{Keep, Kept},
};
use rustix::fs::{AtFlags, statat};

use crate::{
    Entry, Snapshot, SourceError,
    resolve::{Resolved, clean, resolve},
    similar,
};

/// The files that the sources of one COPY mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// In the order of the sources, and by path for each.
    pub matches: Vec<Match>,
    /// Sources with wildcards that match nothing. That is no error, but seldom meant.
    pub unmatched: Vec<String>,
}

/// A source of which, where it is a directory, only a part is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As for [`Snapshot::select`].
    pub source: String,
    /// What is taken of it.
    pub keep: Keep,
    /// The pattern that `keep` includes, if it does not include everything.
    pub pattern: Option<String>,
    /// Whether something must match that pattern.
    pub required: bool,
}

/// One thing that a source means. It has a meaning only for the snapshot that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Last component of the path it was found by, which is not the entry's if links were followed;
    /// empty for the context itself.
    pub name: String,
    pub(crate) entry: usize,
    /// Ascending.
    pub(crate) below: Vec<usize>,
    /// Directories among `below` that are there only for something in them.
    pub(crate) implied: BTreeSet<usize>,
}

impl Match {
    /// Whether it is a directory with something in it that was asked for.
    fn takes_something(&self) -> bool {
        self.below.len() > self.implied.len()
    }
}

/// An entry of a matched directory.
#[derive(Debug, Clone, Copy)]
pub struct Below<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// Its path, relative to the matched directory.
    pub path: &'a str,
    /// Whether it is a directory that is there only for something in it.
    pub implied: bool,
    pub(crate) index: usize,
}

impl Snapshot {
    /// Finds what `sources` mean.
    ///
    /// A source is a path below the context; a leading `/` means nothing, and the context is its own
    /// parent, so `../x` means `x`. Components may hold wildcards (Go's `filepath.Match`); from the
    /// first that does, links are matched and not followed. What is matched is followed, inside the
    /// context only. A path without wildcards must exist.
    pub fn select<S: AsRef<str>>(&self, sources: &[S]) -> Result<Selection, SourceError> {
        let mut selection = Selection::default();
        for source in sources {
            self.select_source(source.as_ref(), &Keep::default(), &mut selection)?;
        }
        Ok(selection)
    }

    /// As [`Self::select`]; of each directory that is found only a part.
    pub fn select_parts(&self, parts: &[Part]) -> Result<Selection, SourceError> {
        let mut selection = Selection::default();
        for part in parts {
            let before = selection.matches.len();
            self.select_source(&part.source, &part.keep, &mut selection)?;
            let Some(pattern) = part.pattern.as_deref() else { continue };
            let found = selection.matches.split_off(before);
            let Some(first) = found.first() else { continue };
            let path = join(self.matched(first), pattern);
            let takes_something = found.iter().any(Match::takes_something);
            if !takes_something && part.required {
                return Err(self.missing(&path, path.clone(), None, false));
            }
            if !takes_something {
                selection.unmatched.push(path);
            }
            // A file has nothing in it that could match; a directory that was named is there all the same.
            let is_named = !has_wildcards(&part.source) && self.matched(&found[0]).is_directory();
            let taken = found.into_iter().filter(|found| is_named || found.takes_something());
            selection.matches.extend(taken);
        }
        Ok(selection)
    }

    /// What a match is: never a link.
    pub fn matched(&self, found: &Match) -> &Entry {
        &self.entries[found.entry]
    }

    /// Everything that is taken of a matched directory, by path (bytewise, so parents come first).
    pub fn matched_below<'a>(&'a self, found: &'a Match) -> impl ExactSizeIterator<Item = Below<'a>> {
        let root = &self.matched(found).path;
        found.below.iter().map(move |index| {
            let entry = &self.entries[*index];
            let path = entry.path.strip_prefix(root.as_str()).unwrap_or(&entry.path).trim_start_matches('/');
            Below { entry, path, implied: found.implied.contains(index), index: *index }
        })
    }

    fn select_source(&self, source: &str, keep: &Keep, selection: &mut Selection) -> Result<(), SourceError> {
        let cleaned = clean(source);
        let wild = cleaned.components.iter().position(|component| has_wildcards(component));
        let (plain, wild) = cleaned.components.split_at(wild.unwrap_or(cleaned.components.len()));
        let start = self.follow(source, plain, cleaned.escaped)?;
        if wild.is_empty() {
            let name = plain.last().copied().unwrap_or_default();
            selection.matches.push(self.matching(name, start, keep)?);
            return Ok(());
        }
        let found = self.find(source, start, wild)?;
        if found.is_empty() {
            selection.unmatched.push(source.to_owned());
        }
        for path in found {
            let components: Vec<&str> = path.split('/').collect();
            let entry = self.follow(source, &components, false)?;
            let name = components.last().copied().unwrap_or_default();
            selection.matches.push(self.matching(name, entry, keep)?);
        }
        Ok(())
    }

    /// Paths below the directory at `start` that match `wild`, component by component.
    fn find(&self, source: &str, start: usize, wild: &[&str]) -> Result<Vec<&str>, SourceError> {
        let invalid = |error| SourceError::Pattern { pattern: source.to_owned(), source: error };
        let globs: Vec<Glob> =
            wild.iter().map(|component| Glob::parse(component)).collect::<Result<_, _>>().map_err(invalid)?;
        let base = self.entries[start].path.len();
        let mut found: Vec<&str> = self.entries[self.below(start)]
            .iter()
            .map(|entry| entry.path.as_str())
            .filter(|path| {
                let relative = path.get(base..).unwrap_or_default().trim_start_matches('/');
                relative.split('/').count() == globs.len()
                    && relative.split('/').zip(&globs).all(|(name, glob)| glob.matches(name))
            })
            .collect();
        // Directory by directory: where two matches have the same destination, the last one wins.
        found.sort_unstable_by(|a, b| a.split('/').cmp(b.split('/')));
        Ok(found)
    }

    fn follow(&self, source: &str, components: &[&str], escaped: bool) -> Result<usize, SourceError> {
        match resolve(self, components) {
            Resolved::Found(index) => Ok(index),
            Resolved::Loop => Err(SourceError::LinkLoop { pattern: source.to_owned() }),
            Resolved::Missing { path, escape } => Err(self.missing(source, path, escape, escaped)),
        }
    }

    fn matching(&self, name: &str, entry: usize, keep: &Keep) -> Result<Match, SourceError> {
        let below = if self.entries[entry].is_directory() { self.below(entry) } else { 0..0 };
        let mut found =
            Match { name: name.to_owned(), entry, below: below.collect(), implied: BTreeSet::new() };
        self.refuse_obstacles(&found, keep)?;
        if !keep.is_everything() {
            let chosen =
                keep.choose(self.matched_below(&found).map(|below| (below.path, below.entry.is_directory())));
            let (mut taken, mut implied) = (Vec::new(), BTreeSet::new());
            for (index, kept) in found.below.into_iter().zip(chosen) {
                match kept {
                    Kept::No => continue,
                    Kept::Parent => drop(implied.insert(index)),
                    Kept::Whole => {}
                }
                taken.push(index);
            }
            (found.below, found.implied) = (taken, implied);
        }
        Ok(found)
    }

    /// An error if something in the match could not be looked at.
    fn refuse_obstacles(&self, found: &Match, keep: &Keep) -> Result<(), SourceError> {
        let root = &self.matched(found).path;
        let inside = |path: &str| {
            let below = if root.is_empty() { Some(path) } else { path.strip_prefix(root.as_str()) };
            match below {
                Some("") => true,
                Some(below) if root.is_empty() || below.starts_with('/') => {
                    keep.may_take(below.trim_start_matches('/'))
                }
                _ => false,
            }
        };
        match self.obstacles.iter().find(|(path, _)| inside(path)) {
            Some((path, obstacle)) => {
                Err(SourceError::Unreadable { path: path.clone(), source: obstacle.clone() })
            }
            None => Ok(()),
        }
    }

    /// Says why nothing is at `path`.
    fn missing(
        &self,
        source: &str,
        path: String,
        escape: Option<(String, String)>,
        escaped: bool,
    ) -> SourceError {
        let pattern = source.to_owned();
        if let Some(kind) = self.special.get(&path) {
            return SourceError::NotCopyable { path, kind: *kind };
        }
        if let Some(obstacle) = self.obstacles.get(&path) {
            return SourceError::Unreadable { path, source: obstacle.clone() };
        }
        if let Some((link, target)) = escape {
            return SourceError::LinkEscapes { pattern, link, target };
        }
        if escaped {
            return SourceError::SourceEscapes { pattern, inside: path };
        }
        let exists = statat(&self.root, path.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if exists && self.ignore.matches(&path) {
            return SourceError::SourceIgnored { pattern };
        }
        SourceError::SourceMissing { pattern, similar: similar::paths(&self.entries, &path) }
    }
}

fn join(directory: &Entry, below: &str) -> String {
    if directory.path.is_empty() { below.to_owned() } else { format!("{}/{below}", directory.path) }
}
