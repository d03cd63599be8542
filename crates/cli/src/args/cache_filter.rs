//! `--filter` of `archway cache`: buildx's selectors.

use std::time::Duration;

use archway_store::{Item, ItemKind, garbage::policy::is_unused_for};
use jiff::Timestamp;

use super::value;
use crate::error::CliError;

const FLAG: &str = "--filter";

/// Selectors, all of which an item has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Selector>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Selector {
    /// `until=`, `unused-for=`
    Unused(Duration),
    /// A kind that `type=` names. BuildKit's names can mean several.
    Kind { kinds: Vec<ItemKind>, negated: bool },
    /// A text.
    Text { field: Field, test: Test },
    /// Something that is so or not.
    Flag { flag: Flag, expected: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Description,
    Platform,
    Parents,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Is(String),
    IsNot(String),
    Contains(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    InUse,
    Shared,
    Mutable,
}

const KEYS: [&str; 12] = [
    "until",
    "unused-for",
    "id",
    "type",
    "description",
    "platform",
    "parents",
    "inuse",
    "mutable",
    "immutable",
    "shared",
    "private",
];

/// Types by their names: ours, and those of BuildKit.
pub(crate) fn kinds(name: &str) -> Option<Vec<ItemKind>> {
    if let Some(kind) = ItemKind::ALL.into_iter().find(|kind| kind.name() == name) {
        return Some(vec![kind]);
    }
    Some(match name {
        "regular" => vec![ItemKind::Step, ItemKind::BaseLayer, ItemKind::Download],
        "exec.cachemount" => vec![ItemKind::CacheMount],
        "source.git.checkout" => vec![ItemKind::GitCheckout, ItemKind::GitRepository],
        "source.local" => vec![ItemKind::FileHashes],
        "internal" => vec![ItemKind::Blob],
        // Frontends are part of the program here.
        "frontend" => Vec::new(),
        _ => return None,
    })
}

/// The same, or what to write instead.
pub(crate) fn known_kinds(flag: &'static str, name: &str) -> Result<Vec<ItemKind>, CliError> {
    kinds(name).ok_or_else(|| value::unknown(flag, "type", name, &ItemKind::ALL.map(ItemKind::name)))
}

impl Filter {
    /// The values of the flag.
    pub(crate) fn parse(given: &[String]) -> Result<Self, CliError> {
        given.iter().map(|text| Selector::parse(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `item` fits all selectors.
    pub(crate) fn takes(&self, item: &Item, now: Timestamp) -> bool {
        self.0.iter().all(|selector| selector.takes(item, now))
    }

    /// Whether everything fits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Selector {
    fn parse(text: &str) -> Result<Self, CliError> {
        let (key, test) = match text.split_once('=') {
            None => (text, None),
            Some((key, value)) => match key.strip_suffix(['!', '~']) {
                Some(bare) if key.ends_with('!') => (bare, Some(Test::IsNot(value.to_owned()))),
                Some(bare) => (bare, Some(Test::Contains(plain(text, value)?))),
                // `==` is `=`, as in containerd's filters.
                None => (key, Some(Test::Is(value.strip_prefix('=').unwrap_or(value).to_owned()))),
            },
        };
        let field = match key {
            "id" => Field::Id,
            "description" => Field::Description,
            "platform" => Field::Platform,
            "parents" => Field::Parents,
            "until" | "unused-for" => return Self::unused(text, test),
            "type" => return Self::kind(text, test),
            "inuse" | "mutable" | "immutable" | "shared" | "private" => return Self::flag(key, text, test),
            other => return Err(value::unknown(FLAG, "key", other, &KEYS)),
        };
        let test = test.ok_or_else(|| CliError::usage(FLAG, format!("`{text}` has no value")))?;
        Ok(Self::Text { field, test })
    }

    fn unused(text: &str, test: Option<Test>) -> Result<Self, CliError> {
        let Some(Test::Is(age)) = test else {
            return Err(CliError::usage(FLAG, format!("`{text}`: want until=DURATION, such as until=24h")));
        };
        value::duration(&age).map(Self::Unused).map_err(|message| CliError::usage(FLAG, message))
    }

    fn kind(text: &str, test: Option<Test>) -> Result<Self, CliError> {
        let (name, negated) = match test {
            Some(Test::Is(name)) => (name, false),
            Some(Test::IsNot(name)) => (name, true),
            Some(Test::Contains(part)) => {
                let kinds = ItemKind::ALL.into_iter().filter(|kind| kind.name().contains(&part)).collect();
                return Ok(Self::Kind { kinds, negated: false });
            }
            None => return Err(CliError::usage(FLAG, format!("`{text}` has no value"))),
        };
        Ok(Self::Kind { kinds: known_kinds(FLAG, &name)?, negated })
    }

    fn flag(key: &str, text: &str, test: Option<Test>) -> Result<Self, CliError> {
        let expected = match &test {
            None => true,
            Some(Test::Is(value)) if value == "true" => true,
            Some(Test::Is(value)) if value == "false" => false,
            Some(_) => return Err(CliError::usage(FLAG, format!("`{text}`: `{key}` is true or false"))),
        };
        let (flag, expected) = match key {
            "inuse" => (Flag::InUse, expected),
            "shared" => (Flag::Shared, expected),
            "private" => (Flag::Shared, !expected),
            "immutable" => (Flag::Mutable, !expected),
            _ => (Flag::Mutable, expected),
        };
        Ok(Self::Flag { flag, expected })
    }

    fn takes(&self, item: &Item, now: Timestamp) -> bool {
        match self {
            Self::Unused(age) => is_unused_for(item, *age, now),
            Self::Kind { kinds, negated } => kinds.contains(&item.kind) != *negated,
            Self::Flag { flag, expected } => {
                *expected
                    == match flag {
                        Flag::InUse => item.in_use,
                        Flag::Shared => item.shared,
                        Flag::Mutable => is_mutable(item.kind),
                    }
            }
            Self::Text { field, test } => match field {
                // The beginning is enough, as everywhere.
                Field::Id => match test {
                    Test::Is(id) => item.id.starts_with(id.as_str()),
                    test => test.takes(&item.id),
                },
                Field::Description => test.takes(&item.description),
                Field::Platform => test.takes(item.platform.as_deref().unwrap_or_default()),
                // The ids of several are separated by semicolons: what was made on any of them.
                Field::Parents => match (test, item.parent) {
                    (Test::Is(ids), Some(parent)) => {
                        ids.split(';').any(|id| !id.is_empty() && parent.to_string().starts_with(id))
                    }
                    (test, parent) => test.takes(&parent.map(|key| key.to_string()).unwrap_or_default()),
                },
            },
        }
    }
}

impl Test {
    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Is(expected) => text == expected,
            Self::IsNot(other) => text != other,
            Self::Contains(part) => text.contains(part.as_str()),
        }
    }
}

fn is_mutable(kind: ItemKind) -> bool {
    matches!(kind, ItemKind::CacheMount | ItemKind::GitRepository | ItemKind::FileHashes)
}

/// The text that `~=` looks for. buildx takes a regular expression; one that is no plain text would match nothing.
fn plain(text: &str, value: &str) -> Result<String, CliError> {
    match value.contains(['^', '$', '*', '+', '?', '[', ']', '(', ')', '{', '}', '|', '\\']) {
        true => Err(CliError::Usage {
            flag: FLAG,
            message: format!("`{text}` has a regular expression"),
            hint: Some("`~=` takes text that occurs anywhere, such as description~=golang".to_owned()),
        }),
        false => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: ItemKind) -> Item {
        Item {
            kind,
            id: "abcdef".into(),
            description: "[build 2/3] RUN make".into(),
            platform: Some("linux/arm64".into()),
            size: 1,
            last_used: Timestamp::from_second(1_000_000).unwrap(),
            in_use: false,
            shared: true,
            parent: None,
        }
    }

    #[test]
    fn selectors_are_those_of_buildx() {
        let now = Timestamp::from_second(1_000_000 + 7200).unwrap();
        let table = [
            ("until=1h", true),
            ("until=3h", false),
            ("unused-for=2h", true),
            ("id=abc", true),
            ("id=bcd", false),
            ("id!=abcdef", false),
            ("id~=bcd", true),
            ("type=step", true),
            ("type==step", true),
            ("type=regular", true),
            ("type!=exec.cachemount", true),
            ("type=frontend", false),
            ("type~=ste", true),
            ("description~=make", true),
            ("description=make", false),
            ("platform=linux/arm64", true),
            ("platform!=linux/arm64", false),
            ("parents=abc", false),
            ("inuse", false),
            ("inuse=false", true),
            ("shared", true),
            ("private", false),
            ("mutable", false),
            ("immutable", true),
        ];
        for (text, expected) in table {
            let filter = Filter::parse(&[text.to_owned()]).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.takes(&item(ItemKind::Step), now), expected, "{text}");
        }
        let both = Filter::parse(&["type=step".into(), "until=3h".into()]).unwrap();
        assert!(!both.takes(&item(ItemKind::Step), now));
        assert!(Filter::parse(&[]).unwrap().takes(&item(ItemKind::Blob), now));
    }

    #[test]
    fn what_would_select_nothing_is_refused() {
        for text in [
            "typ=step",
            "type=stepp",
            "until",
            "until=soon",
            "until!=1h",
            "id",
            "shared=maybe",
            "description~=go.*lang",
        ] {
            assert!(Filter::parse(&[text.to_owned()]).is_err(), "{text}");
        }
        let CliError::Usage { hint, .. } = Filter::parse(&["type=cache-mounts".into()]).unwrap_err() else {
            panic!()
        };
        assert_eq!(hint.as_deref(), Some("did you mean `cache-mount`?"));
    }
}
