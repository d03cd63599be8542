//! How tags move: `--lease-tags`, `--expect-digest`.

use std::path::PathBuf;

use archway_orchestrator::{
    expectation::{Expectations, Expected},
    request::PublicationRules,
};
use clap::Args;

use super::{ProgressMode, value};
use crate::error::CliError;

const EXPECT: &str = "--expect-digest";
const NOTHING: &str = "none";

/// The publication in registries.
#[derive(Debug, Args)]
pub(crate) struct PublicationArgs {
    /// Keep manifests under tags of their own until the tag leads to them, for registries that remove what has no
    /// tag
    #[arg(long)]
    lease_tags: bool,

    /// Move tags, or only the one named, if they point at this digest, or at nothing (none); repeatable
    #[arg(long, value_name = "[NAME=]DIGEST|none")]
    expect_digest: Vec<String>,
}

impl PublicationArgs {
    /// The rules these arguments make.
    pub(super) fn rules(&self) -> Result<PublicationRules, CliError> {
        Ok(PublicationRules { lease_tags: self.lease_tags, expected: expectations(&self.expect_digest)? })
    }
}

/// What commands have in common that publish images which exist already.
#[derive(Debug, Args)]
pub(crate) struct PublishingArgs {
    #[command(flatten)]
    pub(super) publication: PublicationArgs,

    /// Write digest, descriptor and names as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// How progress is shown
    #[arg(long, value_name = "MODE", default_value = "auto", env = "ARCHWAY_PROGRESS")]
    pub(crate) progress: ProgressMode,
}

/// `[NAME=]sha256:…|none`, repeated; two of one name that differ are an error.
fn expectations(given: &[String]) -> Result<Expectations, CliError> {
    let mut expectations = Expectations::default();
    for text in given {
        let (name, expected) = match text.rsplit_once('=') {
            Some((name, expected)) => (Some(value::name(EXPECT, name)?), expected),
            None => (None, text.as_str()),
        };
        let expected = expected_digest(expected)?;
        let before = match name {
            Some(name) => expectations.tags.insert(name, expected.clone()),
            None => expectations.all.replace(expected.clone()),
        };
        if before.is_some_and(|before| before != expected) {
            return Err(CliError::usage(EXPECT, format!("`{text}` contradicts an earlier one")));
        }
    }
    Ok(expectations)
}

fn expected_digest(text: &str) -> Result<Expected, CliError> {
    if text == NOTHING {
        return Ok(Expected::Nothing);
    }
    text.parse().map(Expected::Digest).map_err(|error| CliError::Usage {
        flag: EXPECT,
        message: format!("`{text}` is neither a digest nor `{NOTHING}`: {error}"),
        hint: Some("the digest a tag points at now is in `archway inspect NAME`".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use archway_oci::{Digest, Reference};

    use super::*;

    fn parse(texts: &[&str]) -> Option<Expectations> {
        expectations(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn digests_are_expected_of_all_tags_or_of_one() {
        let digest = Digest::sha256(b"x");
        let tag: Reference = "localhost:5000/app:1".parse().unwrap();
        let named = format!("localhost:5000/app:1={digest}");
        let found = parse(&["none", &named]).unwrap();
        assert_eq!(found.all, Some(Expected::Nothing));
        assert_eq!(found.tags, [(tag, Expected::Digest(digest.clone()))].into());
        assert!(parse(&[]).unwrap().is_empty());
        assert!(parse(&["app=none"]).unwrap().of(&"app:latest".parse().unwrap()).is_some());
        assert!(parse(&["none", "none"]).is_some());
    }

    #[test]
    fn what_cannot_be_expected_is_refused() {
        let digest = Digest::sha256(b"x").to_string();
        let with_digest = format!("app@{digest}=none");
        for wrong in [
            &["nothing"][..],
            &[""],
            &["sha256:12"],
            &["UPPER=none"],
            &["app="],
            &[&with_digest],
            &["none", &digest],
            &["app=none", "app:latest=sha256:12"],
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
