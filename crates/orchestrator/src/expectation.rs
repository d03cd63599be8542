//! What tags have to point at for a publication to move them: compare and set, as far as registries let.

use std::{collections::BTreeMap, fmt};

use archway_oci::{Digest, Reference};

use crate::Error;

/// What a tag has to point at before it is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// At this.
    Digest(Digest),
    /// At nothing: it must not exist.
    Nothing,
}

/// `--expect-digest`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expectations {
    /// For every tag that has none of its own.
    pub all: Option<Expected>,
    /// For single tags, named without digests.
    pub tags: BTreeMap<Reference, Expected>,
}

/// What is to be done with a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It points at the new index already.
    IsThere,
    /// It may be moved.
    Move,
}

impl Expectations {
    /// Whether nothing is expected of any tag.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.tags.is_empty()
    }

    /// What is expected of a tag.
    pub fn of(&self, tag: &Reference) -> Option<&Expected> {
        self.tags.get(tag).or(self.all.as_ref())
    }

    /// What is to be done with a tag that points at `current`, so that it points at `new`.
    ///
    /// # Errors
    /// As [`judge`].
    pub(crate) fn judge(
        &self,
        tag: &Reference,
        current: Option<&Digest>,
        new: &Digest,
    ) -> Result<Verdict, Error> {
        judge(&tag.familiar(), self.of(tag), current, new)
    }

    /// Whether all that is said is about tags that are moved, which are `moved`; what to do if not is
    /// `hint`.
    ///
    /// # Errors
    /// [`Error::Output`]: what was said would be ignored.
    pub(crate) fn check_tags(&self, moved: &[&Reference], hint: &str) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::Output { message, hint: Some(hint.to_owned()) });
        if self.all.is_some() && moved.is_empty() {
            return refuse("--expect-digest is about tags in registries, and none is moved".to_owned());
        }
        match self.tags.keys().find(|tag| !moved.contains(tag)) {
            Some(tag) => refuse(format!("--expect-digest names {}, and that is not pushed", tag.familiar())),
            None => Ok(()),
        }
    }
}

/// What is to be done with a name that points at `current`, so that it points at `new`. A publication that is
/// repeated finds its own work, and that is as good as what was expected.
///
/// # Errors
/// [`Error::TagMoved`]: it points at something unexpected.
pub(crate) fn judge(
    name: &str,
    expected: Option<&Expected>,
    current: Option<&Digest>,
    new: &Digest,
) -> Result<Verdict, Error> {
    match current == Some(new) {
        true => Ok(Verdict::IsThere),
        false => check(name, expected, current).map(|()| Verdict::Move),
    }
}

/// Whether a name is where it is expected to be.
///
/// # Errors
/// [`Error::TagMoved`]: it is elsewhere.
pub(crate) fn check(name: &str, expected: Option<&Expected>, current: Option<&Digest>) -> Result<(), Error> {
    let found = Expected::from(current.cloned());
    match expected {
        Some(expected) if *expected != found => {
            Err(Error::TagMoved { tag: name.to_owned(), expected: expected.clone(), found })
        }
        _ => Ok(()),
    }
}

impl From<Option<Digest>> for Expected {
    fn from(digest: Option<Digest>) -> Self {
        digest.map_or(Self::Nothing, Self::Digest)
    }
}

/// As the object of "points at".
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_moves_only_from_where_it_is_expected_to_be() {
        let [old, new, other] = ["old", "new", "other"].map(|text| Digest::sha256(text.as_bytes()));
        let (one, two): (Reference, Reference) = ("r.io/a:1".parse().unwrap(), "r.io/a:2".parse().unwrap());
        let expectations = Expectations {
            all: Some(Expected::Digest(old.clone())),
            tags: [(two.clone(), Expected::Nothing)].into(),
        };
        let table = [
            (&one, Some(&old), Some(Verdict::Move)),
            (&one, Some(&other), None),
            (&one, None, None),
            (&one, Some(&new), Some(Verdict::IsThere)),
            (&two, None, Some(Verdict::Move)),
            (&two, Some(&old), None),
            (&two, Some(&new), Some(Verdict::IsThere)),
        ];
        for (tag, current, verdict) in table {
            assert_eq!(expectations.judge(tag, current, &new).ok(), verdict, "{tag} {current:?}");
        }
        let none = Expectations::default();
        assert_eq!(none.judge(&one, Some(&other), &new).ok(), Some(Verdict::Move));
        assert_eq!(none.judge(&one, Some(&new), &new).ok(), Some(Verdict::IsThere));
    }

    #[test]
    fn what_is_said_of_tags_that_are_not_moved_is_refused() {
        let (one, two): (Reference, Reference) = ("r.io/a:1".parse().unwrap(), "r.io/a:2".parse().unwrap());
        let all = Expectations { all: Some(Expected::Nothing), ..Expectations::default() };
        let of_two =
            Expectations { tags: [(two.clone(), Expected::Nothing)].into(), ..Expectations::default() };
        let is_ok = |expectations: &Expectations, moved: &[&Reference]| {
            expectations.check_tags(moved, "leave it out").is_ok()
        };
        assert!(is_ok(&all, &[&one]) && !is_ok(&all, &[]));
        assert!(is_ok(&of_two, &[&one, &two]) && !is_ok(&of_two, &[&one]));
        assert!(is_ok(&Expectations::default(), &[]));
    }
}
