//! Which files a daemon asks for: the metadata of a call.

use percent_encoding::percent_decode;
use tonic::{Status, metadata::MetadataMap};

/// What a daemon wants of a directory. Patterns have the meaning of BuildKit's `patternmatcher`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    /// Name of the directory.
    pub(super) directory: String,
    /// If there are any of these or of `follow`: nothing but what they match, and all below it.
    pub(super) include: Vec<String>,
    /// What is left out.
    pub(super) exclude: Vec<String>,
    /// Like `include`, with the links on the way and what they lead to. Wildcards stop at slashes.
    pub(super) follow: Vec<String>,
}

impl Wanted {
    /// Reads the metadata of a call (BuildKit's `session/filesync`).
    ///
    /// # Errors
    /// Text that is not UTF-8.
    pub(super) fn of(metadata: &MetadataMap) -> Result<Self, Status> {
        Ok(Self {
            directory: values(metadata, "dir-name")?.into_iter().next().unwrap_or_default(),
            include: values(metadata, "include-patterns")?,
            exclude: values(metadata, "exclude-patterns")?,
            follow: values(metadata, "followpaths")?,
        })
    }
}

/// The values of a key. What is not ASCII comes encoded as in the query of a URL, and a second key says so.
fn values(metadata: &MetadataMap, key: &str) -> Result<Vec<String>, Status> {
    let is_encoded = metadata.get(format!("{key}-encoded")).is_some_and(|flag| flag == "1");
    let value = |value: &tonic::metadata::AsciiMetadataValue| {
        let mut bytes = value.as_encoded_bytes().to_vec();
        if is_encoded {
            let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            bytes = percent_decode(&spaced).collect();
        }
        let wrong = |_| Status::invalid_argument(format!("a value of `{key}` is not UTF-8"));
        String::from_utf8(bytes).map_err(wrong)
    };
    metadata.get_all(key).iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.append(*key, value.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn lists_are_keys_that_come_several_times() {
        let wanted = Wanted::of(&metadata(&[
            ("dir-name", "context"),
            ("exclude-patterns", "*.o"),
            ("exclude-patterns", "!keep+this%20.o"),
            ("followpaths", "src"),
        ]));
        let expected = Wanted {
            directory: "context".into(),
            exclude: vec!["*.o".into(), "!keep+this%20.o".into()],
            follow: vec!["src".into()],
            ..Wanted::default()
        };
        assert_eq!(wanted.unwrap(), expected);
    }

    #[test]
    fn other_letters_than_ascii_come_encoded() {
        let wanted = Wanted::of(&metadata(&[
            ("followpaths", "caf%C3%A9+au+lait"),
            ("followpaths", "a%2Bb"),
            ("followpaths-encoded", "1"),
            ("include-patterns", "x%2By"),
        ]));
        let wanted = wanted.unwrap();
        assert_eq!(wanted.follow, ["café au lait", "a+b"]);
        assert_eq!(wanted.include, ["x%2By"]);
        let wrong = Wanted::of(&metadata(&[("followpaths", "%FF"), ("followpaths-encoded", "1")]));
        assert!(wrong.unwrap_err().message().contains("followpaths"));
    }
}
