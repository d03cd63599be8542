//! Whether an image in a registry, a layout or an archive is what it says it is.
//!
//! ```text
//! location ──► structure ──► layers ──────► files ──► Verification
//!              documents     one pass each  audit, drift
//! ```
//! Everything is read from where it is, also what the local store has already: a verification is about what
//! others will get. What is wrong with the image is a [`Finding`]; what keeps us from knowing is an error.

mod built;
mod files;
mod finding;
mod structure;

use std::sync::Arc;

use archway_audit::{Audited, Policy};
use archway_dockerfile::ignore::IgnorePatterns;
use archway_oci::{Digest, Platform, platform::best_match, reference::ImageLocation};
use serde::Serialize;

use crate::{
    Context, Error,
    contents::{Layers, Selectors, Wanted, check_blob, layout},
    index_tools::NoSuchPlatforms,
    origin::{Found, describe},
};
pub use archway_audit::Severity;
pub use built::{BuiltAudit, ForeignFiles};
pub(crate) use built::{audit_built, may_be_published};
pub use finding::{Finding, Problem};
use structure::Structure;

/// What is verified, and how.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The image.
    pub location: ImageLocation,
    /// Only these platforms; empty: all.
    pub platforms: Vec<Platform>,
    /// What to make of files for other machines.
    pub audit: AuditSettings,
}

/// What to make of files for other machines.
#[derive(Debug, Clone, Default)]
pub struct AuditSettings {
    /// Whether to look for them, and what they are.
    pub policy: Policy,
    /// Files that may be for any machine, as patterns of `.dockerignore`.
    pub allowed: IgnorePatterns,
}

/// What a verification came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What was verified.
    pub name: String,
    /// Media type of the topmost document.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// The images that were looked at, in the order of the index.
    pub platforms: Vec<VerifiedImage>,
    /// What was found, the worst first within each platform; what is about all of them comes last.
    pub findings: Vec<Finding>,
    /// Distinct layers that were read.
    pub layers: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// The image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedImage {
    /// As the index says.
    pub platform: Platform,
    /// Digest of its manifest.
    pub digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// Programs and libraries whose machine was looked at.
    pub programs: usize,
    /// Scripts whose interpreter was looked for.
    pub scripts: usize,
    /// Files for other machines that were allowed.
    pub allowed: usize,
}

impl Verification {
    /// Whether the image is what it says it is.
    pub fn is_success(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Verifies an image.
///
/// # Errors
/// [`Error`] if it cannot be told what the image is.
pub async fn verify(context: &Context, request: &VerifyRequest) -> Result<Verification, Error> {
    let found = Arc::new(Found::at(context, &request.location, true).await?);
    let name = describe(&request.location);
    let mut structure = Structure::read(context, &found).await?;
    structure.keep(&wanted(&name, &structure, &request.platforms)?);
    let Structure { children, attached, mut findings } = structure;

    let selectors: Selectors = match request.audit.policy {
        Policy::Off => Arc::new([]),
        Policy::Warn | Policy::Fail => Arc::new([Arc::new(Audited)]),
    };
    let wanted = children.iter().flat_map(|child| {
        let layout = layout(&child.platform);
        child.manifest.layers.iter().map(move |layer| Wanted { descriptor: layer.clone(), layout })
    });
    let layers = Layers::read(context, &found, wanted, &selectors).await?;
    for (owner, blob) in &attached {
        if let Err(fault) = check_blob(context, &found, blob).await? {
            findings.push(Finding::of_manifest(owner, Severity::Error, Problem::Blob(Arc::new(fault))));
        }
    }
    let mut platforms = Vec::with_capacity(children.len());
    for child in &children {
        let (image, found) = files::of_child(child, &layers, &request.audit);
        platforms.push(image);
        findings.extend(found);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if request.audit.policy != Policy::Off {
        findings.extend(files::drift(&children, &layers));
    }
    Ok(Verification {
        name,
        media_type: found.top.media_type.clone(),
        digest: found.top.digest.clone(),
        platforms,
        findings,
        layers: layers.len(),
        bytes: layers.bytes(),
    })
}

/// Places of the children that `platforms` name; all if there are none.
fn wanted(name: &str, structure: &Structure, platforms: &[Platform]) -> Result<Vec<usize>, Error> {
    if platforms.is_empty() {
        return Ok((0..structure.children.len()).collect());
    }
    let offered: Vec<Platform> = structure.children.iter().map(|child| child.platform.clone()).collect();
    let found: Vec<Option<usize>> =
        platforms.iter().map(|platform| best_match(platform, offered.iter())).collect();
    let missing: Vec<Platform> = platforms
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|(platform, _)| platform.clone())
        .collect();
    match missing.as_slice() {
        [] => {
            let mut places: Vec<usize> = found.into_iter().flatten().collect();
            places.sort_unstable();
            places.dedup();
            Ok(places)
        }
        [only] => {
            let platform = only.clone();
            Err(Error::NoSuchPlatform { name: name.to_owned(), platform, offered })
        }
        _ => Err(NoSuchPlatforms { missing, offered }.into()),
    }
}
