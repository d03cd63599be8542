//! What a ref means at a remote: reading the answer of `git ls-remote`.

use crate::git_url::is_commit;

/// A ref, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// In full, `refs/heads/main`; the commit itself where no ref was named.
    pub name: String,
    /// The commit or annotated tag it points at.
    pub object: String,
    /// The commit an annotated tag is of.
    pub peeled: Option<String>,
}

impl Revision {
    /// A commit that was named as such.
    pub(crate) fn commit_only(commit: &str) -> Self {
        Self { name: commit.to_owned(), object: commit.to_owned(), peeled: None }
    }

    /// The commit, as far as it is known without fetching it.
    pub fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.object)
    }

    /// Whether it is the commit that begins with these digits, or a tag of it.
    pub(crate) fn is(&self, checksum: &str) -> bool {
        let begins = |object: &str| object.starts_with(&checksum.to_ascii_lowercase());
        begins(&self.object) || self.peeled.as_deref().is_some_and(begins)
    }
}

/// One line: object and ref.
fn lines(answer: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = answer.lines().filter_map(|line| line.split_once('\t'));
    lines.filter(|(object, _)| is_commit(object))
}

/// What `reference` means: the ref of just this name, else a branch, else a tag, as git's own checkout
/// prefers them.
pub(crate) fn choose(answer: &str, reference: &str) -> Option<Revision> {
    let find = |name: &str| lines(answer).find(|(_, known)| *known == name).map(|(object, _)| object);
    let below =
        |directory: &str| format!("{directory}{}", reference.strip_prefix(directory).unwrap_or(reference));
    let names = [below("refs/"), below("refs/heads/"), below("refs/tags/")];
    let (name, object) = names.iter().find_map(|name| Some((name, find(name)?)))?;
    let peeled = find(&format!("{name}^{{}}")).map(str::to_owned);
    Some(Revision { name: name.clone(), object: object.to_owned(), peeled })
}

/// What the default branch is; the answer is that of `ls-remote --symref … HEAD`.
pub(crate) fn default_branch(answer: &str) -> Option<Revision> {
    let symbolic = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
    let (object, _) = lines(answer).find(|(_, name)| *name == "HEAD")?;
    let name = symbolic.filter(|name| name.starts_with("refs/"))?;
    Some(Revision { name: name.to_owned(), object: object.to_owned(), peeled: None })
}

/// Existing branches and tags whose names are like `reference`, best first.
pub(crate) fn nearest(answer: &str, reference: &str) -> Vec<String> {
    const MOST: usize = 3;
    let short = |name: &str| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
        name.filter(|name| !name.ends_with("^{}")).map(str::to_owned)
    };
    let wanted = reference.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
    let tolerance = (wanted.chars().count() / 3).max(2);
    let mut ranked: Vec<(usize, String)> = lines(answer)
        .filter_map(|(_, name)| short(name))
        .filter(|name| name.len().abs_diff(wanted.len()) <= tolerance.max(8))
        .map(|name| {
            // `1.2` may well mean `v1.2`, and `feature` `me/feature`.
            let inside = name.strip_prefix('v') == Some(wanted) || name.ends_with(&format!("/{wanted}"));
            (if inside { 1 } else { strsim::damerau_levenshtein(&name, wanted) }, name)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .collect();
    ranked.sort();
    ranked.dedup();
    ranked.into_iter().take(MOST).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    fn answer(refs: &[(char, &str)]) -> String {
        refs.iter().map(|(digit, name)| format!("{}\t{name}\n", object(*digit))).collect()
    }

    #[test]
    fn the_full_name_wins_then_branches_then_tags() {
        let all = answer(&[
            ('1', "refs/heads/a"),
            ('2', "refs/heads/x/a"),
            ('3', "refs/tags/a"),
            ('4', "refs/tags/a^{}"),
            ('5', "refs/pull/1/head"),
            ('6', "refs/tags/b"),
            ('7', "refs/tags/b^{}"),
            ('8', "refs/heads/tags/a"),
        ]);
        let table = [
            ("a", Some(("refs/heads/a", '1', None))),
            ("refs/heads/a", Some(("refs/heads/a", '1', None))),
            ("heads/a", Some(("refs/heads/a", '1', None))),
            ("tags/a", Some(("refs/tags/a", '3', Some('4')))),
            ("refs/tags/a", Some(("refs/tags/a", '3', Some('4')))),
            ("b", Some(("refs/tags/b", '6', Some('7')))),
            ("refs/pull/1/head", Some(("refs/pull/1/head", '5', None))),
            ("x", None),
            ("refs/heads/b", None),
        ];
        for (reference, expected) in table {
            let expected = expected.map(|(name, own, peeled): (&str, char, Option<char>)| Revision {
                name: name.to_owned(),
                object: object(own),
                peeled: peeled.map(object),
            });
            assert_eq!(choose(&all, reference), expected, "{reference}");
        }
        assert_eq!(choose("warning: x\nzz\trefs/heads/a\n", "a"), None);
    }

    #[test]
    fn the_default_branch_is_where_head_points() {
        let text = format!("ref: refs/heads/trunk\tHEAD\n{}\tHEAD\n", object('1'));
        let found = default_branch(&text).unwrap();
        assert_eq!((found.name.as_str(), found.object), ("refs/heads/trunk", object('1')));
        assert_eq!(default_branch(""), None);
        assert_eq!(default_branch(&answer(&[('1', "HEAD")])), None);
    }

    #[test]
    fn checksums_are_prefixes_of_the_tag_or_its_commit() {
        let tag = Revision { name: "refs/tags/a".into(), object: object('a'), peeled: Some(object('b')) };
        for (checksum, expected) in [("aaa", true), ("AAA", true), ("bb", true), ("ab", false)] {
            assert_eq!(tag.is(checksum), expected, "{checksum}");
        }
    }

    #[test]
    fn similar_refs_are_found() {
        let all = answer(&[
            ('1', "refs/heads/main"),
            ('2', "refs/heads/me/feature"),
            ('3', "refs/tags/v1.2.0"),
            ('4', "refs/tags/v1.2.0^{}"),
        ]);
        let table =
            [("mian", "main"), ("1.2.0", "v1.2.0"), ("feature", "me/feature"), ("refs/heads/man", "main")];
        for (wanted, expected) in table {
            assert_eq!(nearest(&all, wanted).first().map(String::as_str), Some(expected), "{wanted}");
        }
        assert!(nearest(&all, "completely-different").is_empty());
    }
}
