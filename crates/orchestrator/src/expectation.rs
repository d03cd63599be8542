//! What tags have to point at for a publication to move them: compare and set, as far as registries let.

use std::{collections::BTreeMap, fmt};

use archway_oci::{Digest, Reference};

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
    /// It points at something unexpected.
    Refuse,
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

    /// What is to be done with a tag that points at `current`, so that it points at `new`. A publication
    /// that is repeated finds its own work, and that is as good as what was expected.
    pub(crate) fn judge(&self, tag: &Reference, current: Option<&Digest>, new: &Digest) -> Verdict {
        match (self.of(tag), current) {
            (_, Some(current)) if current == new => Verdict::IsThere,
            (None, _) | (Some(Expected::Nothing), None) => Verdict::Move,
            (Some(Expected::Digest(expected)), Some(current)) if expected == current => Verdict::Move,
            (Some(_), _) => Verdict::Refuse,
        }
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
            (&one, Some(&old), Verdict::Move),
            (&one, Some(&other), Verdict::Refuse),
            (&one, None, Verdict::Refuse),
            (&one, Some(&new), Verdict::IsThere),
            (&two, None, Verdict::Move),
            (&two, Some(&old), Verdict::Refuse),
            (&two, Some(&new), Verdict::IsThere),
        ];
        for (tag, current, verdict) in table {
            assert_eq!(expectations.judge(tag, current, &new), verdict, "{tag} {current:?}");
        }
        let none = Expectations::default();
        assert_eq!(none.judge(&one, Some(&other), &new), Verdict::Move);
        assert_eq!(none.judge(&one, Some(&new), &new), Verdict::IsThere);
    }
}
