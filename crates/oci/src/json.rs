//! How documents are read and written as JSON.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The largest manifest, index or config that is read, in bytes. Registries refuse larger
/// manifests too; the bound also limits the number of entries a hostile document can have.
pub const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;

/// A document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is larger than [`MAX_DOCUMENT`].
    #[error("the {document} is {size} bytes long, more than the {MAX_DOCUMENT} that are allowed")]
    TooLarge {
        /// `image manifest`, `image index` or `image config`.
        document: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// It is not the JSON its specification asks for.
    #[error("the {document} is malformed")]
    Malformed {
        /// `image manifest`, `image index` or `image config`.
        document: &'static str,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
    /// Its `schemaVersion` is not 2; Docker's schema 1 is not supported.
    #[error("the {document} has schema version {found}; only version 2 is supported")]
    SchemaVersion {
        /// `image manifest` or `image index`.
        document: &'static str,
        /// The version found, 0 if none.
        found: u64,
    },
    /// A property is spelled in a way that some tools read and others do not.
    #[error("the {document} has a property `{property}`, which some tools take for `{meant}`")]
    Spelling {
        /// `image manifest` or `image index`.
        document: &'static str,
        /// As it stands there.
        property: String,
        /// The property that the specification knows.
        meant: &'static str,
    },
    /// It says, by media type or by its properties, that it is something else.
    #[error("not an {document}: it has {evidence}")]
    WrongKind {
        /// What was expected: `image manifest` or `image index`.
        document: &'static str,
        /// The property that contradicts.
        evidence: String,
    },
}

/// The one way Archway writes documents that are hashed: compact, in field order.
///
/// # Panics
/// If `document` has a map whose keys are no strings; the documents of this crate have none.
pub fn to_vec<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents are made of strings, numbers, lists and string maps")
}

/// Reads a document of at most [`MAX_DOCUMENT`] bytes. Nesting is bounded by serde_json (128).
pub(crate) fn parse<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    let size = bytes.len() as u64;
    if size > MAX_DOCUMENT {
        return Err(DocumentError::TooLarge { document, size });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { document, source })
}

/// The properties that manifests and indexes have, at any depth but in annotations.
const PROPERTIES: [&str; 18] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
];

/// Refuses a manifest or index with a property such as `Layers`. Go takes it for `layers`, whatever the case
/// of its letters; others do not know it, so that one digest would mean two images.
pub(crate) fn check_spelling(document: &'static str, bytes: &[u8]) -> Result<(), DocumentError> {
    let Misspelled(found) = parse(document, bytes)?;
    match found {
        None => Ok(()),
        Some((property, meant)) => Err(DocumentError::Spelling { document, property, meant }),
    }
}

/// The first property that is another spelling of one of [`PROPERTIES`], and that one.
struct Misspelled(Option<(String, &'static str)>);

impl Misspelled {
    fn of(property: &str) -> Option<(String, &'static str)> {
        if PROPERTIES.contains(&property) {
            return None;
        }
        let meant = PROPERTIES.into_iter().find(|known| folded(known).eq(folded(property)))?;
        Some((property.to_owned(), meant))
    }
}

/// Letters as Go compares them: `ſ` is an `s`, and the sign of the kelvin a `k`.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

impl<'de> Deserialize<'de> for Misspelled {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Spelling)
    }
}

struct Spelling;

impl<'de> Visitor<'de> for Spelling {
    type Value = Misspelled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Misspelled, A::Error> {
        let mut found = None;
        while let Some(property) = map.next_key::<String>()? {
            found = found.or_else(|| Misspelled::of(&property));
            if property == "annotations" {
                map.next_value::<IgnoredAny>()?;
            } else {
                let Misspelled(below) = map.next_value()?;
                found = found.or(below);
            }
        }
        Ok(Misspelled(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Misspelled, A::Error> {
        let mut found = None;
        while let Some(Misspelled(below)) = list.next_element()? {
            found = found.or(below);
        }
        Ok(Misspelled(found))
    }

    fn visit_unit<E>(self) -> Result<Misspelled, E> {
        Ok(Misspelled(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Misspelled, E> {
        Ok(Misspelled(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Misspelled, E> {
        Ok(Misspelled(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Misspelled, E> {
        Ok(Misspelled(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Misspelled, E> {
        Ok(Misspelled(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Misspelled, E> {
        Ok(Misspelled(None))
    }
}

/// Go writes the empty slice or map as `null`, and reads `null` as the zero value of any type.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
