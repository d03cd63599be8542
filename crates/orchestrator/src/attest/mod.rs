//! What is said of the images of a build.
//!
//! After all images are verified and before anything is published, each producer says something of each
//! platform's image. All that is said of an image becomes one manifest beside it in the index
//! (`archway_attest::manifest`); for outputs that are files, it becomes files.
//!
//! | module | says |
//! |---|---|
//! | `provenance` | how the image came to be |
//! | `crate::bom` | which packages it has |

mod provenance;
mod url;

use archway_attest::{Attached, Attestation, attach, provenance::Options, purl, sbom::Format};
use archway_engine::{Built, BuiltImage};
use archway_oci::Reference;
use serde_json::Value;

use crate::{Context, Error, Prepared, bom::Cataloged, output::Target, request::BuildRequest};

/// What is to be said: `--attest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttestSpec {
    /// How the image came to be.
    pub provenance: Option<ProvenanceSpec>,
    /// Which packages it has.
    pub sbom: Option<SbomSpec>,
}

/// `--attest type=sbom`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbomSpec {
    /// In which form.
    pub format: Format,
    /// What the file is called where outputs are files; `None`: there is no such file.
    pub filename: Option<String>,
}

impl SbomSpec {
    /// What the file is called if nobody says.
    pub fn filename_of(format: Format) -> &'static str {
        match format {
            Format::Spdx => "sbom.spdx.json",
            Format::CycloneDx => "sbom.cdx.json",
        }
    }
}

/// `--attest type=provenance`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceSpec {
    /// In which form.
    pub options: Options,
    /// Whether it says when the build ran. An index that says so is another one each time.
    pub timestamps: bool,
    /// What the file is called where outputs are files.
    pub filename: String,
    /// Whether there is no such file.
    pub inline_only: bool,
}

impl Default for ProvenanceSpec {
    fn default() -> Self {
        Self {
            options: Options::default(),
            timestamps: false,
            filename: "provenance.json".to_owned(),
            inline_only: false,
        }
    }
}

impl AttestSpec {
    /// Whether nothing is to be said.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }
}

/// Something that is said of a platform's image.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) attestation: Attestation,
    /// The name of its file where outputs are files; `None`: it is for images only.
    pub(crate) filename: Option<String>,
    /// What whoever asked for the build is told of it.
    pub(crate) summary: Option<Value>,
}

/// Whether a target can hold what is said.
pub(crate) fn can_hold(target: &Target) -> bool {
    target.needs_index() || matches!(target, Target::Local { .. } | Target::Tar { .. })
}

/// All that is to be said of each platform, in request order. `cataloged` has their packages, if a bill of materials is wanted.
pub(crate) async fn say(
    context: &Context,
    request: &BuildRequest,
    prepared: &Prepared,
    platforms: &[Built],
    cataloged: &[Cataloged],
) -> Result<Vec<Vec<Said>>, Error> {
    let mut said = vec![Vec::new(); platforms.len()];
    if let Some(spec) = &request.attestations.provenance {
        for (said, built) in said.iter_mut().zip(platforms) {
            let facts = provenance::facts(context, request, prepared, built, spec.timestamps).await?;
            said.push(Said {
                attestation: archway_attest::provenance::attestation(&facts, &spec.options),
                filename: (!spec.inline_only).then(|| spec.filename.clone()),
                summary: Some(archway_attest::provenance::summary(&facts, &spec.options)),
            });
        }
    }
    if let Some(spec) = &request.attestations.sbom {
        for (said, image) in said.iter_mut().zip(cataloged) {
            let (attestation, filename) = (image.document(spec.format), spec.filename.clone());
            said.push(Said { attestation, filename, summary: None });
        }
    }
    Ok(said)
}

/// Attaches what is said to the images, under all the names that they get. All blobs and manifests are in
/// the store then.
pub(crate) async fn attach_all(
    context: &Context,
    targets: &[Target],
    images: &[BuiltImage],
    said: &[Vec<Said>],
) -> Result<Vec<Attached>, Error> {
    let names = names(targets);
    let attached: Vec<Attached> = images
        .iter()
        .zip(said)
        .filter_map(|(image, said)| {
            let named = |(reference, tagged): &(Reference, bool)| name(reference, *tagged, image);
            let names: Vec<String> = names.iter().map(named).collect();
            let attestations: Vec<Attestation> = said.iter().map(|said| said.attestation.clone()).collect();
            attach(&image.descriptor, &names, &attestations)
        })
        .collect();
    let (store, stored) = (context.store().clone(), attached.clone());
    let stored = tokio::task::spawn_blocking(move || {
        for one in &stored {
            for blob in &one.blobs {
                store.blobs().put(&blob.bytes)?;
            }
            store.blobs().put(&one.bytes)?;
        }
        Ok::<_, Error>(())
    });
    stored.await.expect("storing does not panic")?;
    Ok(attached)
}

/// Each name that an image gets, once, and whether its tag counts.
fn names(targets: &[Target]) -> Vec<(Reference, bool)> {
    let mut names: Vec<(Reference, bool)> = Vec::new();
    for target in targets {
        let (references, tagged) = match target {
            Target::Registry { references, by_digest } => (references, !by_digest),
            Target::Store { references } | Target::Oci { references, .. } => (references, true),
            Target::Docker { .. } | Target::Local { .. } | Target::Tar { .. } => continue,
        };
        for reference in references {
            if !names.iter().any(|(known, _)| known == reference) {
                names.push((reference.clone(), tagged));
            }
        }
    }
    names
}

fn name(reference: &Reference, tagged: bool, image: &BuiltImage) -> String {
    let tag = reference.tag.clone().filter(|_| tagged);
    let reference = Reference { tag, digest: None, ..reference.clone() };
    purl::image(purl::ImageSource::Registry, &reference, &image.platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_one_subject() {
        let reference = |name: &str| name.parse::<Reference>().unwrap();
        let targets = [
            Target::Local { directory: "x".into(), split: false },
            Target::Store { references: vec![reference("a:1"), reference("b:1")] },
            Target::Registry { references: vec![reference("b:1"), reference("c:1")], by_digest: true },
        ];
        let names: Vec<(String, bool)> =
            names(&targets).into_iter().map(|(name, tagged)| (name.familiar(), tagged)).collect();
        let want = [("a:1", true), ("b:1", true), ("c:1", false)];
        assert_eq!(names, want.map(|(name, tagged)| (name.to_owned(), tagged)));
    }
}
