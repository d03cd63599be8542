//! In-toto statements (in-toto Attestation Framework, `statement.md` v1).

use std::collections::BTreeMap;

use archway_oci::Digest;
use serde::{Deserialize, Serialize};

/// The type of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The media type of a statement that is not signed.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// Something that is said of an image: a document and its type. Of which image, its statement says.
#[derive(Debug, Clone)]
pub struct Attestation {
    predicate_type: String,
    /// JSON, made once: a predicate may be large, and is the same in every statement.
    predicate: String,
}

impl Attestation {
    /// Says `predicate`, whose type is a URI such as `https://spdx.dev/Document`.
    ///
    /// # Panics
    /// If `predicate` is not made of what JSON has: strings, numbers, lists, and maps whose keys are strings.
    pub fn new<T: Serialize>(predicate_type: impl Into<String>, predicate: &T) -> Self {
        let predicate = serde_json::to_string(predicate).expect("predicates are plain data");
        Self { predicate_type: predicate_type.into(), predicate }
    }

    /// The type of the document.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// The document, as JSON.
    pub fn predicate(&self) -> &str {
        &self.predicate
    }

    /// The statement that this is so of `subjects`, as it is hashed and stored.
    ///
    /// # Panics
    /// Without a subject: a statement about nothing is none.
    pub fn statement(&self, subjects: &[Subject]) -> Vec<u8> {
        assert!(!subjects.is_empty(), "a statement has a subject");
        let mut statement = archway_oci::json::to_vec(&Header {
            kind: STATEMENT_TYPE,
            predicate_type: &self.predicate_type,
            subject: subjects,
        });
        // The predicate is the last member of the object.
        statement.pop();
        statement.extend_from_slice(b",\"predicate\":");
        statement.extend_from_slice(self.predicate.as_bytes());
        statement.push(b'}');
        statement
    }
}

/// A statement without its predicate.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    predicate_type: &'a str,
    subject: &'a [Subject],
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// A name, for people; the digest is what counts. `_` where there is none.
    pub name: String,
    /// What it is.
    pub digest: DigestSet,
}

impl Subject {
    /// An artifact of this name.
    pub fn new(name: impl Into<String>, digest: impl Into<DigestSet>) -> Self {
        Self { name: name.into(), digest: digest.into() }
    }

    /// An artifact without a name.
    pub fn unnamed(digest: impl Into<DigestSet>) -> Self {
        Self::new("_", digest)
    }
}

/// Digests of one artifact, by algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DigestSet(BTreeMap<String, String>);

impl DigestSet {
    /// One digest: an algorithm and hexadecimal digits.
    pub fn of(algorithm: impl Into<String>, hex: impl Into<String>) -> Self {
        Self(BTreeMap::from([(algorithm.into(), hex.into())]))
    }

    /// The commit of a git repository: 40 digits of SHA-1, or 64 of SHA-256. Named as BuildKit does.
    pub fn of_commit(commit: &str) -> Self {
        Self::of(if commit.len() == 64 { "sha256" } else { "sha1" }, commit)
    }

    /// The directory hash of files: SHA-256 of what `sha256sum` prints of all of them, sorted by name.
    pub fn of_directory(hash: &Digest) -> Self {
        Self::of("dirHash", hash.hex())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&Digest> for DigestSet {
    fn from(digest: &Digest) -> Self {
        Self::of(digest.algorithm(), digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bytes_of_a_statement_never_change() {
        let attestation = Attestation::new("https://example.com/said", &json!({"z": 1, "a": ["b"]}));
        let digest = Digest::sha256(b"x");
        let subjects = [Subject::new("pkg:docker/app@1", &digest), Subject::unnamed(&digest)];
        assert_eq!(
            String::from_utf8(attestation.statement(&subjects)).unwrap(),
            concat!(
                r#"{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/said","#,
                r#""subject":[{"name":"pkg:docker/app@1","digest":"#,
                r#"{"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}},"#,
                r#"{"name":"_","digest":"#,
                r#"{"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}}],"#,
                r#""predicate":{"a":["b"],"z":1}}"#,
            )
        );
    }

    #[test]
    fn a_commit_is_named_by_its_length() {
        assert_eq!(DigestSet::of_commit(&"a".repeat(40)), DigestSet::of("sha1", "a".repeat(40)));
        assert_eq!(DigestSet::of_commit(&"a".repeat(64)), DigestSet::of("sha256", "a".repeat(64)));
    }
}
