//! Vulnerabilities of images, for `archway scan` and as a gate before publication.
//!
//! Packages are catalogued as for a bill of materials (`bom.rs`); a database directory is matched here, an installed scanner is
//! handed a bill of materials. What counts is decided by `archway_attest::vulnerability`.

use std::{collections::BTreeMap, io, path::PathBuf, process::ExitStatus};

use archway_attest::{
    packages::Catalog,
    vulnerability::{
        Policy, Severity, Vulnerability,
        osv::NotARecord,
        scanner::{Scanner, UnexpectedOutput},
        union,
    },
};
use archway_oci::{Digest, Platform};
use serde::Serialize;

use crate::bom::Cataloged;

mod database;
mod program;
mod records;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSpec {
    /// Who knows the vulnerabilities.
    pub with: ScanWith,
    /// What is let pass.
    pub policy: Policy,
}

/// Who knows the vulnerabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanWith {
    /// A directory of OSV records, or an archive of them.
    Osv(PathBuf),
    /// An installed program.
    Scanner(Scanner),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScanReport {
    /// `osv`, `trivy` or `grype`.
    pub scanner: &'static str,
    /// From this severity on, a vulnerability stops the publication.
    pub threshold: Severity,
    /// One for each platform.
    pub platforms: Vec<ScannedPlatform>,
    /// The vulnerabilities of all platforms, each once, the worst first; without those that are ignored.
    pub vulnerabilities: Vec<Vulnerability>,
    /// How many were left out on purpose.
    pub ignored: usize,
    /// Records of the database, if it is read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

/// A database of OSV records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// How many it has.
    pub records: usize,
    /// When the newest was last modified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
}

/// The image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScannedPlatform {
    /// Its platform.
    #[serde(serialize_with = "as_name")]
    pub platform: Platform,
    /// Digest of its manifest.
    pub digest: Digest,
    /// How many packages it has.
    pub packages: usize,
    /// How many vulnerabilities of each severity.
    pub vulnerabilities: BTreeMap<Severity, usize>,
}

/// An image could not be scanned, which is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A directory or file of the database.
    #[error("cannot read the vulnerability database `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the database is too large for a record.
    #[error("`{path}` has {size} bytes, more than an OSV record may have")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// In bytes.
        size: u64,
    },
    /// A JSON file of the database is something else.
    #[error("`{path}` in the vulnerability database cannot be used")]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        source: NotARecord,
    },
    /// The database has no records.
    #[error("the vulnerability database `{path}` has no records")]
    Empty {
        /// Where it was sought.
        path: PathBuf,
    },
    /// The scanner could not be started.
    #[error("cannot run `{program}`")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The scanner failed.
    #[error("`{program}` failed for {platform} ({status}){}", said(message))]
    Failed {
        /// Its name.
        program: &'static str,
        /// Whose packages it was to look at.
        platform: Platform,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// The scanner said something else.
    #[error(transparent)]
    Output(#[from] UnexpectedOutput),
    /// The bill of materials for the scanner could not be written.
    #[error("cannot write the bill of materials for `{program}`")]
    Bill {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn as_name<S: serde::Serializer>(platform: &Platform, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(platform)
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl ScanReport {
    /// What stops the publication.
    pub fn offending(&self) -> Vec<&Vulnerability> {
        self.vulnerabilities.iter().filter(|one| one.severity >= self.threshold).collect()
    }

    /// Why the images do not pass, if they do not.
    pub fn verdict(&self) -> Option<String> {
        let count = self.offending().len();
        let vulnerabilities = if count == 1 { "vulnerability" } else { "vulnerabilities" };
        (count > 0).then(|| format!("{count} {vulnerabilities} of severity {} or above", self.threshold))
    }
}

/// Looks for vulnerabilities of `images`.
pub(crate) async fn scan(spec: &ScanSpec, images: &[Cataloged]) -> Result<ScanReport, ScanError> {
    let (scanner, mut found, database, mut gaps) = match &spec.with {
        ScanWith::Osv(path) => {
            let catalogs: Vec<Catalog> = images.iter().map(|image| image.catalog.clone()).collect();
            let path = path.clone();
            let matching = tokio::task::spawn_blocking(move || database::look_up(&path, &catalogs));
            let outcome = matching.await.expect("matching does not panic")?;
            let database = Database { records: outcome.records, newest: outcome.newest };
            ("osv", outcome.vulnerabilities, Some(database), outcome.gaps)
        }
        ScanWith::Scanner(scanner) => {
            let mut found = Vec::with_capacity(images.len());
            for image in images {
                found.push(program::scan(*scanner, image).await?);
            }
            (scanner.program(), found, None, Vec::new())
        }
    };
    gaps.extend(unread(images));
    let all: usize = found.iter().map(Vec::len).sum();
    for one in &mut found {
        one.retain(|vulnerability| !spec.policy.ignore.covers(vulnerability));
    }
    let ignored = all - found.iter().map(Vec::len).sum::<usize>();
    let platforms = images.iter().zip(&found).map(|(image, found)| scanned(image, found)).collect();
    let by_platform = images.iter().zip(&found).map(|(image, found)| (&image.platform, found.as_slice()));
    Ok(ScanReport {
        scanner,
        threshold: spec.policy.threshold,
        platforms,
        vulnerabilities: union(by_platform),
        ignored,
        database,
        gaps,
    })
}

/// Databases of packages that were not read, each once.
fn unread(images: &[Cataloged]) -> Vec<String> {
    let all = images.iter().flat_map(|image| &image.catalog.unread);
    let mut unread: Vec<String> =
        all.map(|unread| format!("packages of `{}` are not known: {}", unread.path, unread.reason)).collect();
    unread.sort();
    unread.dedup();
    unread
}

fn scanned(image: &Cataloged, found: &[Vulnerability]) -> ScannedPlatform {
    let mut vulnerabilities = BTreeMap::new();
    for one in found {
        *vulnerabilities.entry(one.severity).or_default() += 1;
    }
    ScannedPlatform {
        platform: image.platform.clone(),
        digest: image.digest.clone(),
        packages: image.catalog.packages.len(),
        vulnerabilities,
    }
}
