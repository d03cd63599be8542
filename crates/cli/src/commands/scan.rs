//! `archway scan`.

use archway_attest::vulnerability::{Severity, Vulnerability};
use archway_orchestrator::{bom, scan::ScanReport};
use archway_report::Events;

use crate::{
    args::{self, Format, RegistryArgs, ScanArgs},
    error::{self, CliError, Exit},
    session::Session,
    table,
};

/// So many vulnerabilities are listed at the end of a build; all of them are in the metadata file.
const SHOWN: usize = 20;

pub(crate) fn run(args: &ScanArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let location = args::location("IMAGE", &args.image)?;
    let (platforms, spec) = (args.platforms()?, args.spec()?);
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    let report =
        super::until_interrupted(&session, bom::scan(&context, &location, &platforms, args.pull, &spec))?;
    match args.format {
        Format::Json => {
            anstream::println!("{}", serde_json::to_string_pretty(&report).expect("plain data"));
        }
        Format::Text => anstream::print!("{}", text(&report)),
    }
    notes(&report);
    match report.verdict() {
        None => Ok(()),
        Some(message) => {
            anstream::eprintln!("{}", error::plain(&message, &[], None));
            Err(CliError::Reported(Exit::Verification))
        }
    }
}

/// What was not looked at: silence would be taken for an answer.
pub(crate) fn notes(report: &ScanReport) {
    for gap in &report.gaps {
        anstream::eprintln!("{}", error::note(gap, &[]));
    }
}

fn text(report: &ScanReport) -> String {
    let mut text = String::new();
    if !report.vulnerabilities.is_empty() {
        text.push_str(&list(report.vulnerabilities.iter()));
        text.push('\n');
    }
    text.push_str(&summary(report));
    text
}

/// What stops the publication, at the end of a build.
pub(crate) fn offending(report: &ScanReport) -> String {
    let offending = report.offending();
    let mut text = list(offending.iter().take(SHOWN).copied());
    if offending.len() > SHOWN {
        text.push_str(&format!("… and {} more\n", offending.len() - SHOWN));
    }
    text
}

fn list<'a>(found: impl Iterator<Item = &'a Vulnerability>) -> String {
    let header = ["SEVERITY", "PACKAGE", "VERSION", "FIXED IN", "ID", "PLATFORMS"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(found.map(|one| {
        let platforms: Vec<String> = one.platforms.iter().map(ToString::to_string).collect();
        let fixed = one.fixed.as_deref().unwrap_or("-");
        let cells = [one.severity.as_str(), &one.package, &one.version, fixed, &one.id, &platforms.join(",")];
        cells.map(error::printable).to_vec()
    }));
    table::render(&rows)
}

/// A line for each platform.
pub(crate) fn summary(report: &ScanReport) -> String {
    let mut rows = vec![["PLATFORM", "PACKAGES"].map(str::to_owned).to_vec()];
    rows[0].extend(Severity::DESCENDING.map(|severity| severity.as_str().to_uppercase()));
    for platform in &report.platforms {
        let mut row = vec![platform.platform.to_string(), platform.packages.to_string()];
        let count = |severity| platform.vulnerabilities.get(&severity).copied().unwrap_or(0).to_string();
        row.extend(Severity::DESCENDING.map(count));
        rows.push(row);
    }
    let mut text = table::render(&rows);
    let ignored = if report.ignored > 0 { format!("; {} ignored", report.ignored) } else { String::new() };
    match &report.database {
        Some(database) => {
            let newest = database.newest.as_deref().map(|newest| format!(", the newest of {newest}"));
            text.push_str(&format!("{} records{}{ignored}\n", database.records, newest.unwrap_or_default()));
        }
        None => text.push_str(&format!("by {}{ignored}\n", report.scanner)),
    }
    text
}
