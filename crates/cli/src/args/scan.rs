//! `archway scan`, and `--scan` of `archway build`: who knows vulnerabilities, and which are let pass.

use std::{env, fs, path::Path};

use archway_attest::vulnerability::{
    Ignore, Policy, Severity,
    ignore::{self, NotAnId},
    scanner::Scanner,
};
use archway_oci::Platform;
use archway_orchestrator::scan::{ScanSpec, ScanWith};
use clap::{Args, ValueEnum};

use super::{Format, build, value};
use crate::error::CliError;

/// What is taken if nobody is named: an installed scanner.
const INSTALLED: &str = "installed";

/// The gate of `archway build`.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Look for known vulnerabilities, and publish nothing if there are grave ones: osv:DIR for a directory of OSV records or
    /// their zip files, or an installed scanner [default: the one that is installed]
    #[arg(long, value_name = "osv:DIR|trivy|grype", num_args = 0..=1, require_equals = true, default_missing_value = INSTALLED)]
    scan: Option<String>,

    /// From this severity on, a vulnerability stops the publication
    #[arg(long, value_name = "SEVERITY", default_value = "high", requires = "scan")]
    scan_threshold: Threshold,

    /// Leave vulnerabilities out: an id, `unfixed`, or a file with ids; comma-separated or repeated
    #[arg(long, value_name = "ID|unfixed|FILE", value_delimiter = ',', requires = "scan")]
    scan_ignore: Vec<String>,
}

/// `archway scan`
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// Image: a reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    pub(crate) image: String,

    /// Who knows vulnerabilities: a directory of OSV records or an installed scanner [default: the one that is installed]
    #[arg(long, value_name = "osv:DIR|trivy|grype", default_value = INSTALLED, hide_default_value = true)]
    with: String,

    /// From this severity on, a vulnerability makes the command fail
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    threshold: Threshold,

    /// Leave vulnerabilities out: an id, `unfixed`, or a file with ids; comma-separated or repeated
    #[arg(long, value_name = "ID|unfixed|FILE", value_delimiter = ',')]
    ignore: Vec<String>,

    /// Platforms to scan, comma-separated or repeated [default: all that the image has]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// How the result is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// Look at the registry, even if the local store has the name
    #[arg(long)]
    pub(crate) pull: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Threshold {
    Low,
    Medium,
    High,
    Critical,
}

impl GateArgs {
    /// The gate, if there is to be one.
    pub(super) fn spec(&self) -> Result<Option<ScanSpec>, CliError> {
        let Some(with) = &self.scan else { return Ok(None) };
        spec("--scan", with, self.scan_threshold, "--scan-ignore", &self.scan_ignore).map(Some)
    }
}

impl ScanArgs {
    /// What is wanted.
    pub(crate) fn spec(&self) -> Result<ScanSpec, CliError> {
        spec("--with", &self.with, self.threshold, "--ignore", &self.ignore)
    }

    /// The platforms that are asked for; empty: all.
    pub(crate) fn platforms(&self) -> Result<Vec<Platform>, CliError> {
        build::platforms(&self.platform)
    }
}

fn spec(
    with_flag: &'static str,
    with: &str,
    threshold: Threshold,
    ignore_flag: &'static str,
    ignored: &[String],
) -> Result<ScanSpec, CliError> {
    let threshold = match threshold {
        Threshold::Low => Severity::Low,
        Threshold::Medium => Severity::Medium,
        Threshold::High => Severity::High,
        Threshold::Critical => Severity::Critical,
    };
    let policy = Policy { threshold, ignore: ignore(ignore_flag, ignored)? };
    Ok(ScanSpec { with: scanner(with_flag, with)?, policy })
}

fn scanner(flag: &'static str, text: &str) -> Result<ScanWith, CliError> {
    const KNOWN: [Scanner; 2] = [Scanner::Trivy, Scanner::Grype];
    if let Some(database) = text.strip_prefix("osv:") {
        let path = Path::new(database);
        return match path.is_dir() || (path.is_file() && path.extension().is_some_and(|name| name == "zip")) {
            true => Ok(ScanWith::Osv(path.to_owned())),
            false => {
                Err(CliError::usage(flag, format!("`{database}` is neither a directory nor a file `*.zip`")))
            }
        };
    }
    if text == INSTALLED {
        let installed = KNOWN.into_iter().find(|scanner| is_installed(scanner.program()));
        return installed.map(ScanWith::Scanner).ok_or_else(|| CliError::Usage {
            flag,
            message: "neither trivy nor grype is installed".to_owned(),
            hint: Some("install one of them, or name a directory of OSV records: osv:DIR".to_owned()),
        });
    }
    match KNOWN.into_iter().find(|scanner| scanner.program() == text) {
        Some(scanner) => Ok(ScanWith::Scanner(scanner)),
        None => Err(value::unknown(flag, "scanner", text, &["osv:DIR", "trivy", "grype"])),
    }
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn ignore(flag: &'static str, given: &[String]) -> Result<Ignore, CliError> {
    let mut ignore = Ignore::default();
    for text in given {
        match text.as_str() {
            "unfixed" => ignore.unfixed = true,
            // No id has these.
            path if path.contains(['/', '.']) => {
                let list = fs::read_to_string(path).map_err(|source| CliError::File {
                    action: "read",
                    path: path.to_owned(),
                    source,
                })?;
                let wrong = |error: NotAnId| CliError::usage(flag, format!("`{path}`: {error}"));
                ignore.add_list(&list).map_err(wrong)?;
            }
            id if ignore::is_id(id) => drop(ignore.ids.insert(id.to_owned())),
            other => {
                return Err(CliError::Usage {
                    flag,
                    message: format!("`{other}` is not the id of a vulnerability"),
                    hint: Some("an id such as CVE-2024-1234, `unfixed`, or a file: ./ignored".to_owned()),
                });
            }
        }
    }
    Ok(ignore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let osv = format!("osv:{}", directory.path().display());
        assert_eq!(scanner("--scan", &osv).unwrap(), ScanWith::Osv(directory.path().to_owned()));
        let archive = directory.path().join("all.zip");
        fs::write(&archive, "").unwrap();
        let osv = format!("osv:{}", archive.display());
        assert_eq!(scanner("--scan", &osv).unwrap(), ScanWith::Osv(archive));
        assert_eq!(scanner("--scan", "grype").unwrap(), ScanWith::Scanner(Scanner::Grype));
        for wrong in ["osv:/does/not/exist", "clair", "osv"] {
            assert!(matches!(scanner("--scan", wrong), Err(CliError::Usage { .. })), "{wrong}");
        }
    }

    #[test]
    fn ids_words_and_files_are_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("ignored");
        fs::write(&list, "CVE-2024-2 # because\n").unwrap();
        let given = ["CVE-2024-1".to_owned(), "unfixed".to_owned(), list.display().to_string()];
        let ignore = super::ignore("--scan-ignore", &given).unwrap();
        assert_eq!(ignore.ids.into_iter().collect::<Vec<_>>(), ["CVE-2024-1", "CVE-2024-2"]);
        assert!(ignore.unfixed);
        assert!(matches!(
            super::ignore("--scan-ignore", &["unfixd".to_owned()]),
            Err(CliError::Usage { .. })
        ));
        fs::write(&list, "CVE 2\n").unwrap();
        assert!(super::ignore("--scan-ignore", &given).is_err());
    }
}
