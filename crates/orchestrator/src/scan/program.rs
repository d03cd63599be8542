//! An installed scanner, which is handed a bill of materials and prints JSON.

use std::{io::Write as _, process::Stdio};

use archway_attest::{
    sbom::{self, Format},
    vulnerability::{Vulnerability, scanner::Scanner},
};
use tokio::process::Command;

use super::ScanError;
use crate::bom::Cataloged;

/// How much of a scanner's messages is shown.
const SHOWN: usize = 500;

/// Runs `scanner` for one image.
pub(super) async fn scan(scanner: Scanner, image: &Cataloged) -> Result<Vec<Vulnerability>, ScanError> {
    let program = scanner.program();
    let bill = sbom::document(Format::CycloneDx, &image.described(), &image.catalog);
    let unwritten = |source| ScanError::Bill { program, source };
    let mut file = tempfile::Builder::new().suffix(".cdx.json").tempfile().map_err(unwritten)?;
    file.write_all(bill.predicate().as_bytes()).map_err(unwritten)?;
    let output = Command::new(program)
        .args(scanner.arguments(&file.path().to_string_lossy()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ScanError::Start { program, source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let start = said.trim().char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
        return Err(ScanError::Failed {
            program,
            platform: image.platform.clone(),
            status: output.status,
            message: said.trim()[start..].to_owned(),
        });
    }
    Ok(scanner.read(&output.stdout)?)
}
