//! `archway index`

use std::path::{Path, PathBuf};

use archway_oci::{
    Descriptor, Digest, Reference,
    annotations::{Annotations, Scope},
};
use archway_orchestrator::index_tools::{AnnotateRequest, CreateRequest, Source};
use clap::{ArgAction, Args, Subcommand};

use super::{IndexVerifyArgs, InspectArgs, annotation, build, publication::PublishingArgs, value};
use crate::error::CliError;

/// A descriptor is small; what is longer is something else.
const MAX_DESCRIPTOR: usize = 64 << 10;

/// `archway index`
#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Make an index of images that exist already, and point tags at it
    Create(Box<IndexCreateArgs>),
    /// Show an image: its platforms with sizes, layers and attestations, and what refers to it
    Inspect(InspectArgs),
    /// Change the annotations of an index; its images stay as they are
    Annotate(Box<IndexAnnotateArgs>),
    /// Check that an image is what it says it is: blobs, layers, and the machine its files are for
    Verify(IndexVerifyArgs),
}

/// `archway index create`
#[derive(Debug, Args)]
pub(crate) struct IndexCreateArgs {
    /// Images and indexes: references, digests, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE,
    /// or descriptors as JSON
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,

    /// Name of the index; repeat for several
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,

    /// Read a source, such as a descriptor, from a file
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Add the sources to what the first tag points at; an image takes the place of the one for its platform
    #[arg(long, requires = "tag")]
    append: bool,

    /// Platforms that the index is to have, comma-separated or repeated [default: all there are]
    #[arg(short, long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// Set an annotation on the index, or where SCOPE says: index, manifest-descriptor[PLATFORM]
    #[arg(long, value_name = "[SCOPE:]KEY=VALUE")]
    annotation: Vec<String>,

    /// Print the index and publish nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Whether a single image becomes an index; false: it is copied as it is
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    prefer_index: bool,

    #[command(flatten)]
    pub(crate) publishing: PublishingArgs,
}

impl IndexCreateArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<CreateRequest, CliError> {
        let files = self.file.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let named =
            files.iter().map(|text| ("--file", text)).chain(self.sources.iter().map(|text| ("SOURCE", text)));
        let sources: Vec<Source> = named.map(|(flag, text)| source(flag, text)).collect::<Result<_, _>>()?;
        let tags: Vec<Reference> = self.tag.iter().map(|text| tag(text)).collect::<Result<_, _>>()?;
        if sources.is_empty() {
            return Err(CliError::usage("SOURCE", "there is nothing to make an index of"));
        }
        if tags.is_empty() && !self.dry_run {
            return Err(CliError::usage("--tag", "the index needs a name, or --dry-run to be only shown"));
        }
        Ok(CreateRequest {
            sources,
            tags,
            append: self.append,
            platforms: build::platforms(&self.platform)?,
            annotations: annotations(annotation::FLAG, &self.annotation)?,
            prefer_index: self.prefer_index,
            publication: self.publishing.publication.rules()?,
            dry_run: self.dry_run,
        })
    }
}

/// `archway index annotate`
#[derive(Debug, Args)]
pub(crate) struct IndexAnnotateArgs {
    /// Index: a reference with a tag, or oci:DIR[:TAG]
    image: String,

    /// Annotations of the index, or where SCOPE says: index, manifest-descriptor[PLATFORM]
    #[arg(value_name = "[SCOPE:]KEY=VALUE", required_unless_present = "remove")]
    annotations: Vec<String>,

    /// Remove an annotation; repeatable
    #[arg(long, value_name = "[SCOPE:]KEY")]
    remove: Vec<String>,

    /// Change nothing unless the name points at this digest
    #[arg(long, value_name = "DIGEST")]
    expect_digest: Option<String>,

    /// Print the index and publish nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Write digest, descriptor and name as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
}

impl IndexAnnotateArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<AnnotateRequest, CliError> {
        let expected = self.expect_digest.as_ref().map(|text| text.parse::<Digest>());
        let removed = self.remove.iter().map(|text| annotation::key("--remove", text, &Scope::Index));
        let remove: Vec<(Scope, String)> =
            removed.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        check_scopes("--remove", remove.iter().map(|(scope, _)| scope))?;
        Ok(AnnotateRequest {
            image: value::location("IMAGE", &self.image)?,
            set: annotations("[SCOPE:]KEY=VALUE", &self.annotations)?,
            remove,
            expected: expected.transpose().map_err(|error| CliError::usage("--expect-digest", error))?,
            dry_run: self.dry_run,
        })
    }
}

fn read(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.display().to_string(), source };
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(failed)
}

/// A digest, a descriptor, or a place.
fn source(flag: &'static str, text: &str) -> Result<Source, CliError> {
    if let Ok(digest) = text.parse::<Digest>() {
        return Ok(Source::Digest(digest));
    }
    if text.starts_with('{') {
        return descriptor(flag, text);
    }
    value::location(flag, text).map(Source::Location)
}

fn descriptor(flag: &'static str, text: &str) -> Result<Source, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        schema_version: Option<u32>,
    }
    if text.len() > MAX_DESCRIPTOR {
        return Err(CliError::usage(flag, "this is too long for a descriptor"));
    }
    if serde_json::from_str(text).is_ok_and(|document: Document| document.schema_version.is_some()) {
        return Err(CliError::usage(flag, "this is a manifest or an index, and not the descriptor of one"));
    }
    let descriptor: Descriptor = serde_json::from_str(text)
        .map_err(|error| CliError::usage(flag, format!("no descriptor: {error}")))?;
    Ok(Source::Descriptor(Box::new(descriptor)))
}

fn tag(text: &str) -> Result<Reference, CliError> {
    let reference: Reference = text.parse().map_err(|error| CliError::usage("--tag", error))?;
    match &reference.digest {
        Some(_) => Err(CliError::usage("--tag", format!("`{text}` has a digest, which is not known before"))),
        None => Ok(reference),
    }
}

/// Without a scope they are the index's: nothing else is made here.
fn annotations(flag: &'static str, given: &[String]) -> Result<Annotations, CliError> {
    let annotations = annotation::parse(flag, given, &Scope::Index, None)?;
    check_scopes(flag, annotations.scopes())?;
    Ok(annotations)
}

fn check_scopes<'a>(flag: &'static str, mut scopes: impl Iterator<Item = &'a Scope>) -> Result<(), CliError> {
    let reason = scopes.find_map(|scope| match scope {
        Scope::Index | Scope::ManifestDescriptor(_) => None,
        Scope::Manifest(_) => Some("manifests stay as they are: use `manifest-descriptor:` or `index:`"),
        Scope::IndexDescriptor => Some("nothing holds a descriptor of the index: use `index:`"),
    });
    reason.map_or(Ok(()), |reason| Err(CliError::usage(flag, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

    #[test]
    fn sources_are_told_by_their_form() {
        let parsed = |text: &str| source("SOURCE", text);
        assert_eq!(parsed(DIGEST).unwrap(), Source::Digest(DIGEST.parse().unwrap()));
        for text in ["app:arm", "r.example/app@", "oci:dir:tag", "oci-archive:x.tar"] {
            let location = text.parse().map(Source::Location).ok();
            assert_eq!(parsed(text).ok(), location, "{text}");
        }
        let text = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{DIGEST}","size":2,
                "platform":{{"os":"linux","architecture":"arm64"}}}}"#
        );
        match parsed(&text).unwrap() {
            Source::Descriptor(descriptor) => {
                assert_eq!(descriptor.platform, Some("linux/arm64".parse().unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_document_is_no_descriptor() {
        for text in [r#"{"schemaVersion":2,"manifests":[]}"#, "{}", "{"] {
            assert!(matches!(source("SOURCE", text), Err(CliError::Usage { .. })), "{text}");
        }
    }

    #[test]
    fn annotations_are_for_what_is_made() {
        let scopes = |text: &str| {
            annotations(annotation::FLAG, &[text.to_owned()])
                .map(|set| set.scopes().cloned().collect::<Vec<_>>())
                .ok()
        };
        let arm = Some("linux/arm64".parse().unwrap());
        assert_eq!(scopes("a=b"), Some(vec![Scope::Index]));
        assert_eq!(scopes("index:a=b"), Some(vec![Scope::Index]));
        assert_eq!(
            scopes("manifest-descriptor[linux/arm64]:a=b"),
            Some(vec![Scope::ManifestDescriptor(arm)])
        );
        assert_eq!(scopes("manifest:a=b"), None);
        assert_eq!(scopes("index-descriptor:a=b"), None);
    }
}
